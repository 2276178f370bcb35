"""What hangs below what, for links downwards: republic, region, district, substation, feeder, transformer. Room: web.

On the reading walk. From the newest registries; names of regions and districts in the reader's language.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from central_sync.balance.reading import REPUBLIC, Level
from central_sync.balance.topology import KnownRegistry
from gridmodel.identity import NodeId
from hosting.i18n import Translator
from hosting.territory import TerritoryFault, country

BELOW: Mapping[Level, Level | None] = {
    Level.REPUBLIC: Level.REGION,
    Level.REGION: Level.DISTRICT,
    Level.DISTRICT: Level.SUBSTATION,
    Level.SUBSTATION: Level.FEEDER,
    Level.FEEDER: Level.TRANSFORMER,
    Level.TRANSFORMER: None,
}
"""The next level down."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One area."""

    level: Level
    id: str


class Tree:
    """Parents of every area that the newest registries name."""

    def __init__(self, registries: Mapping[NodeId, KnownRegistry], now: int) -> None:
        self._parent: dict[Spot, Spot] = {}
        self._names: dict[Spot, str] = {}
        top = Spot(Level.REPUBLIC, REPUBLIC)
        for known in registries.values():
            registry = known.registry
            for district in registry.districts:
                below, region = Spot(Level.DISTRICT, district), Spot(Level.REGION, district[:4])
                self._parent[below], self._parent[region] = region, top
            for substation in registry.substations:
                spot = Spot(Level.SUBSTATION, substation.id)
                self._parent[spot] = Spot(Level.DISTRICT, substation.district)
                self._names[spot] = substation.name
            for feeder in registry.feeders:
                spot = Spot(Level.FEEDER, feeder.id)
                self._parent[spot] = Spot(Level.SUBSTATION, feeder.substation)
                self._names[spot] = feeder.name
            feeder_of = registry.topology(now).feeder_of
            for transformer in registry.transformers:
                spot = Spot(Level.TRANSFORMER, transformer.id)
                self._names[spot] = transformer.name
                above = feeder_of.get(transformer.id)
                if above is not None:
                    self._parent[spot] = Spot(Level.FEEDER, above)

    def inside(self, spot: Spot, area: Spot) -> bool:
        """Whether `spot` is `area` or hangs below it."""
        at: Spot | None = spot
        while at is not None and at.level is not area.level:
            at = self.parent(at)
        return at == area

    def parent(self, spot: Spot) -> Spot | None:
        """The area above; regions and districts are known by their codes, registry or not."""
        match spot.level:
            case Level.REPUBLIC:
                return None
            case Level.REGION:
                return Spot(Level.REPUBLIC, REPUBLIC)
            case Level.DISTRICT:
                return Spot(Level.REGION, spot.id[:4])
            case _:
                return self._parent.get(spot)

    def path(self, spot: Spot) -> list[Spot]:
        """From the republic down to `spot`."""
        found = [spot]
        while (above := self.parent(found[-1])) is not None:
            found.append(above)
        return found[::-1]

    def name(self, t: Translator, spot: Spot) -> str:
        """What an area is called in the reader's language."""
        match spot.level:
            case Level.REPUBLIC:
                return t.gettext("Uzbekistan")
            case Level.REGION | Level.DISTRICT:
                return territory_name(t, spot.id)
            case _:
                return self._names.get(spot) or spot.id


def territory_name(t: Translator, soato: str) -> str:
    """A region or district in the reader's language; the code where a rehearsal made it up."""
    try:
        found = country().region(soato) if len(soato) == 4 else country().district(soato)
    except TerritoryFault:
        return soato
    return found.names.in_language(t.language.value)
