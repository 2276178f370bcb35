"""All topics of SQL as one transaction's verbs. Floor: central_sync/store; contracts in `port`."""

from central_sync.store.sql_down import SqlDown
from central_sync.store.sql_energy import SqlEnergy
from central_sync.store.sql_field_works import SqlFieldWorks
from central_sync.store.sql_identity import SqlIdentity
from central_sync.store.sql_lanes import SqlLanes
from central_sync.store.sql_money import SqlMoney
from central_sync.store.sql_recovery import SqlRecovery
from central_sync.store.sql_reports import SqlReports
from central_sync.store.statements import Statements
from hosting.rowhash import RowHasher


class SqlTransaction(SqlLanes, SqlEnergy, SqlMoney, SqlReports, SqlFieldWorks, SqlDown, SqlRecovery, SqlIdentity):
    """`HubTransaction` over one connection of either engine, for the length of one verb."""

    def __init__(self, connection: Statements, hasher: RowHasher) -> None:
        self._connection = connection
        self._hasher = hasher


def ledger_hasher(row_key: bytes) -> RowHasher:
    """How the rows of the ledger are hashed, on either engine."""
    return RowHasher(row_key, "hub_ledger")
