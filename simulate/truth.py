"""What every meter of a grid truly counted, and what its display shows, at any interval end. Floor: simulate; reading.

The one truth that fleets on sockets and the driver in memory serve alike, and that reports compare edges and hub with.
Registers step at interval ends only; *truth is the register as served*, with the resolution of the meter's profile. A
relay moved in the middle of an interval scales that interval by its connected seconds; what has passed stays.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np

from gridmodel.fault import Fault
from gridmodel.identity import MeterId
from gridmodel.period import day_bounds, interval_end, local_day
from gridmodel.reading import Channel
from protocols.profile import MeterProfile
from simulate.flows import Network
from simulate.grid import Grid
from simulate.image import Display, ProfileImage
from simulate.loads import SLOTS, Ints, draw_consumers, energies_wh, solar_shape

HISTORY_DAYS_MAX = 45
"""How far back truth is kept: longer than any story, and 1,000 meters at 15 minutes take 35 MB."""
DAY_S = 86_400


class TruthFault(Fault):
    """A question that the truth cannot answer; codes TQ-SM-nn."""


@dataclass(frozen=True, slots=True)
class Registers:
    """A meter's energy registers as served, meter-side Wh."""

    import_wh: int
    export_wh: int


NO_SHIFT = Registers(0, 0)


@dataclass(frozen=True, slots=True)
class Stay:
    """A meter that was put where another had counted."""

    meter: MeterId
    serial: str
    since: int
    """UTC seconds."""
    shift: Registers
    """What its exact registers are ahead of those of the meter that was there first, Wh."""
    start: Registers
    """What it showed when it came."""
    before: Registers
    """What its place had counted by then, as the meters before it served it."""


@dataclass(frozen=True, slots=True)
class _Step:
    """All registers at one interval end, meter-side and exact, in the order of `Grid.meters`."""

    imported: Ints
    exported: Ints


class GridTruth:
    """Time passing over a grid. `now` never goes back; every question moves it forward first."""

    def __init__(
        self, grid: Grid, profiles: Mapping[str, MeterProfile], displays: Mapping[str, Display] | None = None
    ) -> None:
        """`displays`: models that are no Modbus profile, by the name the grid uses."""
        self.grid = grid
        names = sorted(set(map(grid.profile_of, range(len(grid.meters)))))
        given = {} if displays is None else displays
        self.images = {name: ProfileImage(profiles[name]) for name in names if name not in given}
        """The register maps of the Modbus profiles in this grid."""
        self.displays: dict[str, Display] = {name: given.get(name) or self.images[name] for name in names}
        """What each model shows."""
        self._display_of = [self.displays[grid.profile_of(index)] for index in range(len(grid.meters))]
        spec = grid.spec
        self._step_s = spec.interval_minutes * 60
        self._index = {meter: n for n, meter in enumerate(grid.meters)}
        households = np.array([point.household for point in grid.points], dtype=np.bool_)
        self._stays: dict[int, list[Stay]] = {}
        self._consumers = draw_consumers(households, spec.seed, spec.climate)
        self._network = Network(grid)
        points = len(grid.points)
        meters = [(one.multiplier, one.start_wh) for one in grid.points]
        meters += [(one.multiplier, one.start_wh) for one in grid.supplies]
        self._multiplier, self._start = np.array(meters, dtype=np.int64).T
        self._imported = np.zeros(len(meters), dtype=np.int64)
        self._exported = np.zeros(len(meters), dtype=np.int64)
        self._steps: deque[_Step] = deque(maxlen=HISTORY_DAYS_MAX * DAY_S // self._step_s + 1)
        self._end = spec.origin
        self._day = ""
        self._day_loads: Ints = np.zeros((points, 1), dtype=np.int64)
        self._day_sun: list[float] = []
        self._running_w: tuple[int, list[int]] = (-1, [])
        """Mean power (meter-side W) behind each point's contact in the interval that begins at that time."""
        self._open_since: dict[int, int] = {}
        self._open_s = np.zeros(points, dtype=np.int64)
        self._keep()

    @property
    def end(self) -> int:
        """The latest interval end that has passed."""
        return self._end

    def advance(self, now: int) -> None:
        """Let time pass until `now` (UTC seconds)."""
        while self._end + self._step_s <= now:
            self._step()

    def place_of(self, meter: str) -> int | None:
        """The meter's place in `Grid.meters` if it stands in this grid, stood or is to stand."""
        return self._index.get(MeterId(meter))

    def index(self, meter: str) -> int:
        """The meter's place in `Grid.meters`. Raises TruthFault TQ-SM-01."""
        found = self._index.get(MeterId(meter))
        if found is None:
            raise TruthFault("TQ-SM-01", f"there is no meter {meter!r:.60} in this grid", "ask for its meters first")
        return found

    def announce(self, index: int, meter: MeterId) -> None:
        """`meter` belongs to this place, whether it stands there already or not; questions may name it."""
        self._index[meter] = index

    def exchange(self, index: int, meter: MeterId, serial: str, start: Registers, at: int) -> Stay:
        """Another meter of the same model counts from `at` (UTC seconds) on, and its contact is as the old one's was.

        `start`: what it has on its registers, meter-side Wh.
        """
        before = self.registers_at(index, at)
        step = self._steps[self._position(at)]
        exact = Registers(start.import_wh - int(step.imported[index]), start.export_wh - int(step.exported[index]))
        shown = self._served(index, at, exact)
        stay = Stay(meter, serial, at, exact, shown, before)
        self._stays.setdefault(index, []).append(stay)
        self.announce(index, meter)
        return stay

    def meter_at(self, index: int) -> MeterId:
        """The meter that stands there now."""
        stays = self._stays.get(index)
        return stays[-1].meter if stays else self.grid.meters[index]

    def serial_of(self, index: int) -> str:
        """The serial number of the meter that stands there now."""
        stays = self._stays.get(index)
        return stays[-1].serial if stays else self.grid.serial_of(index)

    def stands_since(self, index: int) -> int:
        """Since when that meter stands there; its memory knows nothing of what was before. UTC seconds."""
        stays = self._stays.get(index)
        return stays[-1].since if stays else self.grid.spec.origin

    def shown_at(self, index: int, at: int) -> Registers:
        """What the meter there had on its registers at the latest interval end up to `at`, meter-side Wh."""
        stay = self._stay(index, at)
        return self._served(index, at, NO_SHIFT if stay is None else stay.shift)

    def registers(self, meter: str, at: int) -> Registers:
        """The meter's registers as served at the latest interval end up to `at`. Raises TruthFault TQ-SM-01, 02."""
        return self.registers_at(self.index(meter), at)

    def registers_at(self, index: int, at: int) -> Registers:
        """As `registers`, by the meter's index; they go on over an exchange as if one meter had counted all of it."""
        stay = self._stay(index, at)
        if stay is None:
            return self._served(index, at, NO_SHIFT)
        shown = self._served(index, at, stay.shift)
        return Registers(
            stay.before.import_wh + shown.import_wh - stay.start.import_wh,
            stay.before.export_wh + shown.export_wh - stay.start.export_wh,
        )

    def _stay(self, index: int, at: int) -> Stay | None:
        """Who stood there at `at`; None while it was the first meter."""
        if index not in self._stays:
            return None
        return next((one for one in reversed(self._stays[index]) if one.since <= at), None)

    def _served(self, index: int, at: int, shift: Registers) -> Registers:
        self.advance(at)
        step = self._steps[-1 if at >= self._end else self._position(at)]
        display = self._display_of[index]
        return Registers(
            display.served_wh(Channel.IMPORT, int(step.imported[index]) + shift.import_wh),
            display.served_wh(Channel.EXPORT, int(step.exported[index]) + shift.export_wh),
        )

    def register_wh(self, meter: str, at: int) -> int:
        """The meter's import register as served, meter-side Wh."""
        return self.registers(meter, at).import_wh

    def primary_wh(self, meter: str, begin: int, end: int) -> int:
        """Primary energy that the served import register books from `begin` to `end` (UTC seconds)."""
        multiplier = int(self._multiplier[self.index(meter)])
        return (self.register_wh(meter, end) - self.register_wh(meter, begin)) * multiplier

    def multiplier(self, index: int) -> int:
        """CT ratio of the meter."""
        return int(self._multiplier[index])

    def connected(self, index: int) -> bool:
        """Whether the meter's relay is closed; meters without one always are."""
        return index not in self._open_since

    def dark(self) -> frozenset[int]:
        """The meters whose relay is open."""
        return frozenset(self._open_since)

    def move_relay(self, meter: str, *, closed: bool, at: int) -> None:
        """Open or close the meter's relay at `at`, or at the last interval end if that is later.

        Raises TruthFault TQ-SM-01, 03 (no relay).
        """
        index = self.index(meter)
        if not self._display_of[index].has_relay:
            raise TruthFault("TQ-SM-03", f"meter {meter} has no relay", "its profile says so")
        self.advance(at)
        at = max(at, self._end)
        if closed and index in self._open_since:
            self._open_s[index] += at - max(self._open_since.pop(index), self._end)
        elif not closed:
            self._open_since.setdefault(index, at)

    def load_w(self, index: int, at: int) -> int:
        """Mean active power through the meter in the interval that is running at `at`, meter-side W."""
        self.advance(at)
        if index >= len(self.grid.points):
            last, before = self._steps[-1], self._steps[-2] if len(self._steps) > 1 else self._steps[-1]
            return int(last.imported[index] - before.imported[index]) * 3600 // self._step_s
        if not self.connected(index):
            return 0
        begin, watts = self._running_w
        if begin != self._end:
            loads = (
                self._loads(self._end + self._step_s)
                * 3600
                // self._step_s
                // self._multiplier[: len(self.grid.points)]
            )
            watts = loads.tolist()
            self._running_w = (self._end, watts)
        return watts[index]

    def _position(self, at: int) -> int:
        back = (self._end - max(interval_end(at, self._step_s // 60), self.grid.spec.origin)) // self._step_s
        position = len(self._steps) - 1 - back
        if position < 0:
            raise TruthFault(
                "TQ-SM-02", f"the truth at {at} is no longer kept", f"ask for the last {HISTORY_DAYS_MAX} days"
            )
        return position

    def _step(self) -> None:
        end = self._end + self._step_s
        loads = self._loads(end)
        connected_s = self._step_s - self._open_s
        for index, since in self._open_since.items():
            connected_s[index] -= end - max(since, self._end)
        slot = self._slot(end)
        sun = self._day_sun[slot]
        flow = self._network.flow(loads * connected_s // self._step_s, sun, sun, self._step_s)
        points = len(self.grid.points)
        self._imported[:points] += flow.imported
        self._exported[:points] += flow.exported
        self._imported[points:] += flow.supplied
        self._open_s[:] = 0
        self._end = end
        self._keep()

    def _keep(self) -> None:
        self._steps.append(_Step(self._start + self._imported // self._multiplier, self._exported // self._multiplier))

    def _loads(self, end: int) -> Ints:
        """What each point's appliances draw in the interval ending at `end`, connected or not."""
        slot = self._slot(end)
        return self._day_loads[:, slot]

    def _slot(self, end: int) -> int:
        """The interval's place in its local day; works out that day's loads when it begins."""
        day = local_day(end, self.grid.spec.zone)
        if day != self._day:
            calendar = date.fromisoformat(day)
            per_step = SLOTS * self._step_s // DAY_S
            quarters = energies_wh(self._consumers, calendar, self.grid.spec.climate)
            self._day_loads = quarters.reshape(len(self._consumers), -1, per_step).sum(axis=2)
            self._day_sun = [float(part) for part in solar_shape(calendar).reshape(-1, per_step).mean(axis=1)]
            self._day = day
        begin, _ = day_bounds(day, self.grid.spec.zone)
        return (end - begin) // self._step_s - 1
