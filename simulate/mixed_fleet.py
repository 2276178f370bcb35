"""The meters of one grid that speak both: Modbus at one port, DLMS at another, one truth behind them. Floor: simulate.

On the reading and payment walks. A relay that a DLMS command moved shows in the registers of the Modbus meter at the
transformer, as in a street. What befalls meters befalls them here, whatever they speak.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gridmodel.clock import Entropy, UtilityClock
from protocols.modbus.codec import Framing
from simulate.concentrator_fleet import ConcentratorFleet
from simulate.dlms_fleet import DlmsFleet, DlmsOptions
from simulate.face import MeterFaces
from simulate.fleet import MeterFleet, MeterPort
from simulate.grid_registry import Listen
from simulate.meters import Fleet
from simulate.relay_memory import RelayMemory

MODBUS, DLMS = "modbus", "dlms"


class MixedFleet(MeterFleet):
    """The meters of one grid, each by its own protocol; those of the DLMS model are the DLMS ones."""

    def __init__(
        self,
        faces: MeterFaces,
        listens: Mapping[str, Listen],
        clock: UtilityClock,
        dlms: DlmsOptions,
        *,
        entropy: Entropy,
        framing: Framing = Framing.TCP,
        memory: RelayMemory | None = None,
    ) -> None:
        """`listens` by protocol: ``modbus`` and ``dlms``. The memory has been replayed into the truth of `faces`."""
        super().__init__(faces.truth, listens[MODBUS], clock, count=None, memory=memory)
        self._model = dlms.shape.name
        self._modbus = Fleet(faces, listens[MODBUS], clock, framing=framing, memory=self.memory)
        make = DlmsFleet if listens[DLMS].via is None else ConcentratorFleet
        self._dlms = make(faces.truth, listens[DLMS], clock, dlms, entropy=entropy, count=0, memory=self.memory)
        for part in (self._modbus, self._dlms):
            part.share(self)

    def part(self, index: int) -> MeterFleet:
        """The fleet of that meter's protocol."""
        return self._dlms if self.grid_truth.grid.profile_of(index) == self._model else self._modbus

    def places(self, indices: Iterable[int]) -> dict[tuple[str, int], dict[int, int]]:
        """See `MeterFleet.places`."""
        wanted = list(indices)
        return {
            place: units
            for one in (self._modbus, self._dlms)
            for place, units in one.places([index for index in wanted if self.part(index) is one]).items()
        }

    def port(self, units: dict[int, int]) -> MeterPort:
        """See `MeterFleet.port`; all that stand at one place speak alike."""
        return self.part(next(iter(units.values()))).port(units)

    def renewed(self, index: int) -> None:
        """See `MeterFleet.renewed`."""
        self.part(index).renewed(index)

    def meddle(self, index: int, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """See `MeterFleet.meddle`."""
        return self.part(index).meddle(index, what, given)
