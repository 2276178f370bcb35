"""A small grid from a seed: what stands where, which meter measures it, and what it loses. Floor: simulate; reading.

For one node: its districts, a substation in each, feeders, transformers of about 80 usage points (fewer in small
rehearsals), households and companies, a few producers and a few thieves; meters at transformers, feeder heads, a plant,
and between two districts of one node. This page only plans; `simulate/truth.py` lets time pass over the plan.

The crossing: with two districts or more, the last transformer of the second one hangs on a feeder of the first. What it
draws passes the first one's feeder head and then the boundary meter, so "feeder heads + generation + boundary in - out"
is right for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from gridmodel.identity import (
    AccountId,
    DistrictId,
    FeederId,
    MeterId,
    PersonId,
    SubstationId,
    SupplyPointId,
    TransformerId,
    UsagePointId,
)
from gridmodel.network import SupplyPointKind
from simulate.loads import Climate, draw_consumers

POINTS_PER_TRANSFORMER = 80
"""Published ratio of the model country: 78 to 97."""
POINTS_PER_FEEDER = 351
FEEDERS_PER_DISTRICT_MIN = 2
SMALL_TRANSFORMER_POINTS = 25
"""Small rehearsals get transformers of this size, so that each feeder has two where it can."""

RATINGS_KVA = {
    25: (130, 600),
    40: (175, 880),
    63: (240, 1280),
    100: (330, 1970),
    160: (510, 2650),
    250: (740, 3700),
    400: (950, 5500),
    630: (1310, 7600),
    1000: (1900, 10500),
}
"""Rated power to (no-load, load) losses in W of the old TM series."""
CT_MULTIPLIERS = (1, 10, 20, 40, 60, 80, 120, 200, 400, 800, 1200, 2000, 6000)
COMPANY_CT = 40
"""200/5 A."""
RELAY_PROFILE = "dds238_2_zn_sr"
THREE_PHASE_PROFILE = "sdm630"


@dataclass(frozen=True, slots=True)
class GridSpec:
    """All that a grid follows from. JSON-able by `simulate/grid_registry.py`."""

    node: str
    zone: str
    districts: tuple[str, ...]
    """SOATO codes, at least one."""
    points: int
    """Usage points."""
    seed: int
    origin: int
    """UTC seconds of a local midnight: where the truth begins and every meter is installed."""
    interval_minutes: int = 60
    planted_pct: float = 4.0
    """Exact loss of the node's first feeder, in percent of its supply."""
    company_pct: float = 6.0
    producer_pct: float = 2.0
    thief_pct: float = 2.0
    climate: Climate | None = None
    profile: str | None = None
    """Every usage point's meter, without CT, instead of the usual ones."""
    home_profile: str | None = None
    """Every household's meter instead of the usual one; it has a relay."""


@dataclass(frozen=True, slots=True)
class PointPlan:
    """A usage point with its consumer and meter."""

    id: UsagePointId
    district: DistrictId
    transformer: int
    household: bool
    address: str
    account: AccountId
    person: PersonId
    meter: MeterId
    serial: str
    profile: str
    multiplier: int
    read_pct: int
    """What the meter counts of the truth: 100, or 30-80 at a thief's."""
    solar_w: int
    """Peak of the consumer's own plant; 0 for nearly all."""
    start_wh: int
    """Meter-side register at the origin."""


@dataclass(frozen=True, slots=True)
class TransformerPlan:
    """A transformer with its losses."""

    id: TransformerId
    district: DistrictId
    feeder: int
    name: str
    rated_kva: int
    no_load_w: int
    load_loss_w: int
    line_loss_bp: int
    """Low-voltage line losses in hundredths of a percent of what its points take."""


@dataclass(frozen=True, slots=True)
class FeederPlan:
    """A feeder with its losses."""

    id: FeederId
    substation: int
    name: str
    line_loss_bp: int
    """Line losses in hundredths of a percent of what its transformers take."""
    planted: Fraction | None
    """Loss of the whole feeder as a part of its supply, exact; None where physics decides."""
    plant_share_bp: int
    """A plant feeds in this part (hundredths of a percent) of the load at noon; 0 nearly everywhere."""


@dataclass(frozen=True, slots=True)
class SubstationPlan:
    """A substation of a district."""

    id: SubstationId
    district: DistrictId
    name: str


@dataclass(frozen=True, slots=True)
class SupplyPlan:
    """A supply point and its meter."""

    id: SupplyPointId
    kind: SupplyPointKind
    district: DistrictId
    of: int
    """Index of the transformer (also at a boundary: the crossing one) or of the feeder (also of a plant)."""
    to_district: DistrictId | None
    meter: MeterId
    serial: str
    multiplier: int
    start_wh: int


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole plan. Indices in it point into these tuples."""

    spec: GridSpec
    substations: tuple[SubstationPlan, ...]
    feeders: tuple[FeederPlan, ...]
    transformers: tuple[TransformerPlan, ...]
    points: tuple[PointPlan, ...]
    supplies: tuple[SupplyPlan, ...]
    meters: tuple[MeterId, ...] = field(init=False)
    """Usage points' meters first, then supply points', each in their order."""

    def __post_init__(self) -> None:
        meters = tuple(point.meter for point in self.points) + tuple(supply.meter for supply in self.supplies)
        object.__setattr__(self, "meters", meters)

    def profile_of(self, index: int) -> str:
        """The profile of the meter with that index in `meters`."""
        return self.points[index].profile if index < len(self.points) else THREE_PHASE_PROFILE

    def serial_of(self, index: int) -> str:
        """The serial number of the meter with that index in `meters`."""
        points = len(self.points)
        return self.points[index].serial if index < points else self.supplies[index - points].serial


def build_grid(spec: GridSpec) -> Grid:
    """The grid of that seed. Raises ValueError for a spec without districts or with too few points."""
    count = len(spec.districts)
    if count == 0 or spec.points < FEEDERS_PER_DISTRICT_MIN * count:
        raise ValueError(f"{spec.points} points cannot be spread over {count} districts")
    return _Builder(spec).grid()


class _Builder:
    """Draws the plan district by district; all dice are one generator, so the order of draws is the plan."""

    def __init__(self, spec: GridSpec) -> None:
        self.spec = spec
        self.dice = np.random.Generator(np.random.PCG64([spec.seed, 0x6E1D]))
        self.substations: list[SubstationPlan] = []
        self.feeders: list[FeederPlan] = []
        self.transformers: list[TransformerPlan] = []
        self.points: list[PointPlan] = []

    def grid(self) -> Grid:
        """Everything, then the meters that follow from it."""
        count = len(self.spec.districts)
        for number, district in enumerate(self.spec.districts):
            points = self.spec.points // count + (number < self.spec.points % count)
            self._district(DistrictId(district), points)
        power_w = self._drawn_w()
        return Grid(
            spec=self.spec,
            substations=tuple(self.substations),
            feeders=tuple(self.feeders),
            transformers=tuple(_sized(one, mean_w) for one, mean_w in zip(self.transformers, power_w, strict=True)),
            points=tuple(self.points),
            supplies=tuple(self._supplies(power_w)),
        )

    def _district(self, district: DistrictId, points: int) -> None:
        substation = len(self.substations)
        number = substation + 1
        self.substations.append(
            SubstationPlan(SubstationId(f"{self.spec.node}-ss{number}"), district, f"Substation {number}")
        )
        feeders = max(FEEDERS_PER_DISTRICT_MIN, round(points / POINTS_PER_FEEDER))
        first = len(self.feeders)
        self.feeders.extend(self._feeder(substation, first + n) for n in range(feeders))
        wanted = max(-(-points // POINTS_PER_TRANSFORMER), min(2 * feeders, points // SMALL_TRANSFORMER_POINTS))
        transformers = min(points, max(feeders, wanted))
        for n in range(transformers):
            share = points // transformers + (n < points % transformers)
            crosses = substation == 1 and n == transformers - 1 and n >= feeders
            self._transformer(district, FEEDERS_PER_DISTRICT_MIN - 1 if crosses else first + n % feeders, share)

    def _feeder(self, substation: int, index: int) -> FeederPlan:
        planted = index == 0 and self.spec.planted_pct > 0
        has_plant = index == 1
        return FeederPlan(
            id=FeederId(f"{self.spec.node}-f{index + 1}"),
            substation=substation,
            name=f"F-{index + 1}",
            line_loss_bp=int(self.dice.integers(100, 260)),
            planted=Fraction(str(self.spec.planted_pct)) / 100 if planted else None,
            plant_share_bp=2_000 if has_plant else 0,
        )

    def _transformer(self, district: DistrictId, feeder: int, points: int) -> None:
        index = len(self.transformers)
        planted = self.feeders[feeder].planted is not None
        first = len(self.points)
        for n in range(points):
            self._point(district, index, first + n, honest=planted)
        self.transformers.append(
            TransformerPlan(
                id=TransformerId(f"{self.spec.node}-t{index + 1}"),
                district=district,
                feeder=feeder,
                name=f"TP-{index + 1}",
                rated_kva=0,  # sized when all consumers are drawn
                no_load_w=0,
                load_loss_w=0,
                line_loss_bp=100 if planted else int(self.dice.integers(80, 250)),
            )
        )

    def _point(self, district: DistrictId, transformer: int, index: int, *, honest: bool) -> None:
        dice, spec = self.dice, self.spec
        company, producer, thief = (dice.random() * 100 for _ in range(3))
        household = company >= spec.company_pct
        on_ct = not household and spec.profile is None
        steals = household and not honest and thief < spec.thief_pct
        produces = household and not honest and not steals and producer < spec.producer_pct
        read_pct, solar_w = int(dice.integers(30, 81)), int(dice.integers(10, 31)) * 100
        start_kwh = int(dice.integers(800, 9_000 if on_ct else 24_000))
        number = index + 1
        self.points.append(
            PointPlan(
                id=UsagePointId(f"{spec.node}-u{number}"),
                district=district,
                transformer=transformer,
                household=household,
                address=f"Street {transformer + 1}, house {number}",
                account=AccountId(f"{spec.node}-a{number}"),
                person=PersonId(f"{spec.node}-p{number}"),
                meter=MeterId(f"{spec.node}-m{number}"),
                serial=f"{10_000_000 + (spec.seed % 89) * 1_000_000 + number}",
                profile=spec.profile or (THREE_PHASE_PROFILE if on_ct else spec.home_profile or RELAY_PROFILE),
                multiplier=COMPANY_CT if on_ct else 1,
                read_pct=read_pct if steals else 100,
                solar_w=solar_w if produces else 0,
                start_wh=start_kwh * 1000,
            )
        )

    def _drawn_w(self) -> list[float]:
        """Mean power through each transformer, of the very consumers that will draw it: one may outweigh all others."""
        households = np.array([point.household for point in self.points], dtype=np.bool_)
        day_wh = draw_consumers(households, self.spec.seed, self.spec.climate).day_wh
        power_w = [0.0] * len(self.transformers)
        for point, wh in zip(self.points, day_wh, strict=True):
            power_w[point.transformer] += float(wh) / 24
        return power_w

    def _supplies(self, power_w: Sequence[float]) -> list[SupplyPlan]:
        """A meter at each transformer and feeder head, at the crossing and at the plant."""
        places = [
            _Place(SupplyPointKind.TRANSFORMER, one.district, n, None, power_w[n])
            for n, one in enumerate(self.transformers)
        ]
        for n, feeder in enumerate(self.feeders):
            home = self.substations[feeder.substation].district
            mine = [t for t, one in enumerate(self.transformers) if one.feeder == n]
            flow_w = sum(power_w[t] for t in mine)
            places.append(_Place(SupplyPointKind.FEEDER_HEAD, home, n, None, flow_w))
            if feeder.plant_share_bp:
                places.append(_Place(SupplyPointKind.GENERATOR, home, n, None, flow_w / 10))
            places.extend(
                _Place(SupplyPointKind.BOUNDARY, self.transformers[t].district, t, home, power_w[t])
                for t in mine
                if self.transformers[t].district != home
            )
        return [self._supply(n + 1, place) for n, place in enumerate(places)]

    def _supply(self, number: int, place: "_Place") -> SupplyPlan:
        """With the largest CT whose single watt-hour stays below 0.1 % of an hour: hours can still be compared."""
        node = self.spec.node
        return SupplyPlan(
            id=SupplyPointId(f"{node}-s{number}"),
            kind=place.kind,
            district=place.district,
            of=place.of,
            to_district=place.to_district,
            meter=MeterId(f"{node}-sm{number}"),
            serial=f"{90_000_000 + (self.spec.seed % 9) * 1_000_000 + number}",
            multiplier=max((one for one in CT_MULTIPLIERS if one <= place.flow_w / 1000), default=1),
            start_wh=int(self.dice.integers(100, 4_000)) * 1000,
        )


class _Place(NamedTuple):
    """Where a supply meter will hang, and how much flows there."""

    kind: SupplyPointKind
    district: DistrictId
    of: int
    to_district: DistrictId | None
    flow_w: float


def _sized(transformer: TransformerPlan, mean_w: float) -> TransformerPlan:
    """With the smallest rating that carries the evening peak, and its losses."""
    rated = next((kva for kva in RATINGS_KVA if kva * 1000 >= 2.8 * mean_w), 1000)
    no_load_w, load_loss_w = RATINGS_KVA[rated]
    return replace(
        transformer,
        rated_kva=rated,
        no_load_w=min(no_load_w, max(1, int(mean_w * 0.02))),
        load_loss_w=load_loss_w,
    )
