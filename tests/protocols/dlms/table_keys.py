"""Keys for as many meters as a test has, each with its own, made from the meter's name."""

import hashlib

from gridmodel.identity import MeterId
from protocols.dlms.keys import MeterSecrets


class TableKeys:
    """An implementation of `MeterKeys`; what stands in `given` goes first."""

    def __init__(self, given: dict[str, MeterSecrets] | None = None) -> None:
        self.given = given or {}

    def client_title(self) -> bytes:
        return bytes.fromhex("544D5100000000A1")

    def title_of(self, meter: MeterId) -> bytes:
        """The meter's own system title."""
        return b"TMQ" + self._made("title", meter, 5)

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        if meter in self.given:
            return self.given[meter]
        return MeterSecrets(
            password=self._made("password", meter, 8),
            block_key=self._made("block", meter, 16),
            authentication_key=self._made("authentication", meter, 16),
            meter_title=self.title_of(meter),
        )

    def _made(self, what: str, meter: MeterId, size: int) -> bytes:
        return hashlib.sha256(f"{what} {meter}".encode()).digest()[:size]
