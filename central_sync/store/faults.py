"""What a store of the hub tells when it cannot work. Floor: central_sync/store; on no walk."""

from http import HTTPStatus

from gridmodel.fault import Fault


class StoreFault(Fault):
    """A store that cannot be opened, or cannot do its work now.

    Codes: TQ-HB-01 an address of no database, -02 the server does not answer, -03 it lets nobody in by this login,
    -04 it has no such database, -05 it has no room, -06 the row key is not that of these rows, -07 it may not be
    written, -08 other writers hold what is needed, -09 it is damaged, -12 hub processes kept crossing each
    other, -13 the library for PostgreSQL is not installed, -14 a database that cannot be the hub's.
    """

    @property
    def status(self) -> int:
        """For an asker over HTTP: come again later, nothing was taken in."""
        return HTTPStatus.SERVICE_UNAVAILABLE
