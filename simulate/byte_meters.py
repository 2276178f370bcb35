"""The meters of one site behind the bytes they really speak, in memory: fleets at wires, drivers before them.

Floor: simulate; walks: reading, payment. The product's own drivers connect through `Wires` to the very fleets that
`simulate meters` serves on sockets. What befalls meters (silence, slowness, lost answers) is done to the fleets; the
drivers meet it as they would in the field.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from gridmodel.clock import Entropy, Rng, UtilityClock
from gridmodel.identity import MeterId
from protocols.dlms.keys import MeterSecrets
from protocols.profile import MeterProfile
from simulate.dlms_fleet import DlmsOptions
from simulate.dlms_keys import FleetSecrets, Security
from simulate.dlms_models import shape_of
from simulate.driver import MeterFaults
from simulate.face import MeterFaces
from simulate.fleet import MeterPort
from simulate.grid_registry import Listen
from simulate.image import Display
from simulate.mixed_fleet import MixedFleet
from simulate.wires import Wires

REHEARSED = FleetSecrets()
"""Well known, as in every demo."""

SLOW_S_MAX = 0.95
"""There and back to a slow meter: shorter than the shortest patience of a profile, whatever befalls the meter twice."""


@dataclass(frozen=True, slots=True)
class RehearsedKeys:
    """The secrets of all DLMS meters of a rehearsal; an implementation of `protocols.dlms.keys.MeterKeys`."""

    title: bytes
    """Of the node's client."""

    def client_title(self) -> bytes:
        """See `MeterKeys`."""
        return self.title

    def secrets_of(self, meter: MeterId) -> MeterSecrets:
        """See `MeterKeys`; the same for all."""
        del meter
        keys = REHEARSED.keys
        return MeterSecrets(
            password=REHEARSED.password, block_key=keys.block_key, authentication_key=keys.authentication_key
        )


class ByteMeters:
    """See the module."""

    def __init__(
        self,
        owner: str,
        faces: MeterFaces,
        *,
        listens: Mapping[str, Listen],
        model: MeterProfile,
        wires: Wires,
        clock: UtilityClock,
        state: MeterFaults,
        entropy: Entropy,
        rng: Rng,
    ) -> None:
        """`listens`: where the meters of each protocol are; `model`: of the DLMS meters; `clock` is the world's.

        `state` has the latency, which may change at any time.
        """
        self._truth = faces.truth
        self._model = model.name
        self._state = state
        self._rng = rng
        self._owner = owner
        self._wires = wires
        self._swapped: dict[int, int] = {}
        self._late_s: dict[tuple[str, int], float] = {}
        options = DlmsOptions(shape_of(model), Security.GMAC, REHEARSED)
        self._fleet = MixedFleet(faces, listens, clock, options, entropy=entropy)
        self._place: dict[int, tuple[str, int]] = {}
        for place, units in self._fleet.places(range(self._fleet.count)).items():
            self._place |= dict.fromkeys(units.values(), place)
            wires.listen(owner, place, partial(self._port, units), partial(self._delay, place))

    def fall_silent(self, meters: frozenset[str]) -> None:
        """They do not answer any more."""
        self._fleet.silent.update(map(self._truth.index, meters))

    def answer_again(self, meters: frozenset[str]) -> None:
        """They do."""
        self._fleet.silent.difference_update(map(self._truth.index, meters))

    @contextmanager
    def losing(self, meter: str, *, arrives: bool) -> Iterator[None]:
        """Within the block a command to the meter is lost, or its answer is: from the moment it obeys."""
        index, fleet = self._truth.index(meter), self._fleet
        was_silent = index in fleet.silent
        (fleet.tongue_tied if arrives else fleet.silent).add(index)
        try:
            yield
        finally:
            fleet.tongue_tied.discard(index)
            if not was_silent:
                fleet.silent.discard(index)

    def swap(self, one: str, other: str) -> None:
        """Two meters of one model change places, or back; whoever is connected is cut off."""
        first, second = self._truth.index(one), self._truth.index(other)
        if self._swapped.pop(first, None) is None:
            self._swapped |= {first: second, second: first}
        else:
            del self._swapped[second]
        self._wires.cut(self._owner)

    def renewed(self, index: int) -> None:
        """Another meter stands there now; whoever is connected is cut off."""
        self._fleet.renewed(index)
        self._wires.cut(self._owner)

    def set_clocks(self, error_s: int) -> None:
        """Every DLMS meter's clock is wrong by so much from now on; 0: right again, but for its drift."""
        for index in self._place:
            if self._truth.grid.profile_of(index) == self._model:
                self._fleet.meddle(index, "clock", {"error_s": error_s, "drift_ppm": 0})

    def delay(self, meter: str, seconds: float) -> None:
        """Everything at the meter's address takes so much longer, one way; 0: as usual again."""
        self._late_s[self._place[self._truth.index(meter)]] = seconds

    def neighbours(self, meter: str) -> frozenset[str]:
        """All meters at that meter's address."""
        place, meters = self._place[self._truth.index(meter)], self._truth.grid.meters
        return frozenset(str(meters[index]) for index, one in self._place.items() if one == place)

    def _port(self, units: Mapping[int, int]) -> MeterPort:
        """Whoever stands at these units now."""
        return self._fleet.port({unit: self._swapped.get(index, index) for unit, index in units.items()})

    def _delay(self, place: tuple[str, int]) -> float:
        """One way to a meter of the site."""
        latency_s = min(self._state.latency_s, SLOW_S_MAX)
        usual_s = latency_s * self._rng.uniform(0.25, 0.5) if latency_s else 0.0
        return usual_s + self._late_s.get(place, 0.0)


def displays_of(names: Iterable[str], profiles: Mapping[str, MeterProfile]) -> dict[str, Display]:
    """What the truth has to know of the DLMS models among `names`."""
    return {name: shape_of(profiles[name]) for name in names if profiles[name].protocol == "dlms"}
