"""A planned grid as the registry that a node is given, and as a file that fleets are started from. Floor: simulate.

On the reading walk. Demand meters and supply meters stand at addresses that `Listen` gives out in the order of
`Grid.meters`: one loopback address per meter on one port, or units behind gateways.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Any

from gridmodel.fault import Fault
from gridmodel.identity import DistrictId, NodeId
from gridmodel.network import (
    Account,
    ConsumerClass,
    Feeder,
    FeederLink,
    Installation,
    Meter,
    Substation,
    SupplyPoint,
    SupplyPointKind,
    Transformer,
    TransformerLink,
    UsagePoint,
)
from gridmodel.period import INTERVAL_MINUTES
from gridmodel.quantity import Multiplier
from gridmodel.reading import Channel
from gridmodel.registry import Registry
from protocols.dlms.concentrators import METERS_FROM
from simulate.grid import FEEDERS_PER_DISTRICT_MIN, Grid, GridSpec, SupplyPlan
from simulate.loads import Climate

UNITS_PER_GATEWAY_MAX = 247
"""Modbus units behind one address."""
METERS_PER_CONCENTRATOR_MAX = 1_000
"""Wrapper ports behind one concentrator; a large one serves as many."""


PERCENT = 100
POINTS_MAX = 5_000_000
"""Beside one another in one process: each costs a kilobyte."""
NOWHERE_ELSE: Mapping[str, "Listen"] = MappingProxyType({})


class GridFault(Fault):
    """A grid file or address that cannot be used; codes TQ-SM-1n."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the meters of a fleet are reached."""

    host: str
    """The first address, IPv4; raised by one for each meter or gateway."""
    port: int
    """The same for all; below 32768, where no outgoing connection takes it."""
    units: int = 1
    """Meters behind one address: unit 1, 2, … up to 247, or up to 1,000 wrapper ports of a concentrator."""
    via: str | None = None
    """The model of the concentrators that stand before them, as configs/concentrators names it; None: none do."""

    def place(self, index: int) -> tuple[str, int, int]:
        """Host, port and unit of the meter with that index. Raises GridFault TQ-SM-10."""
        most = UNITS_PER_GATEWAY_MAX if self.via is None else METERS_PER_CONCENTRATOR_MAX
        if not 1 <= self.units <= most:
            raise GridFault("TQ-SM-10", f"{self.units} units behind one address", f"use 1 to {most}")
        try:
            host = IPv4Address(self.host) + index // self.units
        except ValueError as error:
            raise GridFault(
                "TQ-SM-10", f"{self.host!r:.40} is no IPv4 address to count from", "try 127.1.0.1"
            ) from error
        return str(host), self.port, 1 + index % self.units

    def address(self, index: int) -> tuple[str, int]:
        """Address and unit of the meter with that index as the registry writes them. Raises GridFault TQ-SM-10."""
        host, port, unit = self.place(index)
        if self.via is None:
            return f"{host}:{port}", unit
        return f"wrapper://{host}:{port}?server={METERS_FROM + unit - 1}&via={self.via}", 1


def registry_of(
    grid: Grid, listen: Listen, version: int = 1, *, elsewhere: Mapping[str, Listen] = NOWHERE_ELSE
) -> Registry:
    """The registry of the grid's node, everything installed since the origin. Raises RegistryFault, GridFault.

    `elsewhere`: where meters are reached whose profile is named there.
    """
    spec = grid.spec
    since = spec.origin
    return Registry(
        node=NodeId(spec.node),
        version=version,
        zone=spec.zone,
        interval_minutes=spec.interval_minutes,
        districts=tuple(DistrictId(district) for district in spec.districts),
        substations=tuple(Substation(one.id, one.district, one.name) for one in grid.substations),
        feeders=tuple(Feeder(one.id, grid.substations[one.substation].id, one.name) for one in grid.feeders),
        transformers=tuple(Transformer(one.id, one.district, one.name, one.rated_kva) for one in grid.transformers),
        usage_points=tuple(
            UsagePoint(
                one.id,
                one.district,
                ConsumerClass.HOUSEHOLD if one.household else ConsumerClass.COMPANY,
                None,
                one.address,
            )
            for one in grid.points
        ),
        supply_points=tuple(_supply_point(grid, one) for one in grid.supplies),
        accounts=tuple(Account(one.account, one.id, one.person) for one in grid.points),
        meters=tuple(
            _meter(grid, elsewhere.get(grid.profile_of(index), listen), index) for index in range(len(grid.meters))
        ),
        installations=_installations(grid),
        transformer_links=tuple(
            TransformerLink(one.id, grid.transformers[one.transformer].id, since) for one in grid.points
        ),
        feeder_links=tuple(FeederLink(one.id, grid.feeders[one.feeder].id, since) for one in grid.transformers),
    )


def _installations(grid: Grid) -> tuple[Installation, ...]:
    """Valid from one interval before the origin's end, so that the register at the origin itself is a start."""
    since = grid.spec.origin - grid.spec.interval_minutes * 60
    demand = [
        Installation(
            one.meter,
            one.id,
            (Channel.IMPORT, Channel.EXPORT) if one.solar_w else (Channel.IMPORT,),
            Multiplier(one.multiplier),
            since,
        )
        for one in grid.points
    ]
    supply = [
        Installation(one.meter, one.id, (Channel.IMPORT,), Multiplier(one.multiplier), since) for one in grid.supplies
    ]
    return (*demand, *supply)


def _meter(grid: Grid, listen: Listen, index: int) -> Meter:
    address, unit = listen.address(index)
    return Meter(grid.meters[index], grid.serial_of(index), grid.profile_of(index), address, unit)


def _supply_point(grid: Grid, plan: SupplyPlan) -> SupplyPoint:
    match plan.kind:
        case SupplyPointKind.TRANSFORMER:
            return SupplyPoint(plan.id, plan.kind, plan.district, transformer=grid.transformers[plan.of].id)
        case SupplyPointKind.FEEDER_HEAD | SupplyPointKind.GENERATOR:
            return SupplyPoint(plan.id, plan.kind, plan.district, feeder=grid.feeders[plan.of].id)
        case SupplyPointKind.BOUNDARY:
            return SupplyPoint(plan.id, plan.kind, plan.district, to_district=plan.to_district)


def spec_to_document(spec: GridSpec) -> dict[str, Any]:
    """The spec as a JSON-able dict."""
    return asdict(spec)


def spec_from_document(document: object) -> GridSpec:
    """The spec of a JSON document. Raises GridFault TQ-SM-11 that names the wrong key."""
    if not isinstance(document, Mapping):
        raise GridFault("TQ-SM-11", "a grid file holds one JSON object", "write it with the demo or by its example")
    given = dict(document)
    climate = given.pop("climate", None)
    districts = given.pop("districts", ())
    try:
        spec = GridSpec(**given, districts=tuple(districts), climate=None if climate is None else Climate(**climate))
    except TypeError as error:
        raise GridFault("TQ-SM-11", f"the grid file does not fit: {error}", "compare its keys with GridSpec") from error
    wrong = _unsound(spec)
    if wrong is not None:
        raise GridFault("TQ-SM-11", f"the grid file does not fit: {wrong}", "mend the grid file")
    return spec


def _unsound(spec: GridSpec) -> str | None:
    """Why no grid can be built after it; None: one can."""
    whole = (spec.points, spec.seed, spec.origin, spec.interval_minutes)
    shares = (spec.planted_pct, spec.company_pct, spec.producer_pct, spec.thief_pct)
    texts = (spec.node, spec.zone, spec.profile or "", spec.home_profile or "", *spec.districts)
    if not all(type(one) is int and one >= 0 for one in whole):
        return "points, seed, origin and interval_minutes are whole numbers"
    if not all(type(one) in {int, float} and 0 <= one <= PERCENT for one in shares):
        return f"planted, company, producer and thief_pct are numbers from 0 to {PERCENT}"
    if not all(isinstance(one, str) for one in texts):
        return "node, zone, districts and profiles are texts"
    if not spec.districts or not FEEDERS_PER_DISTRICT_MIN * len(spec.districts) <= spec.points <= POINTS_MAX:
        return f"{spec.points} points cannot be spread over {len(spec.districts)} districts"
    if spec.interval_minutes not in INTERVAL_MINUTES:
        return f"intervals of {spec.interval_minutes} minutes"
    return None
