"""The 14 regions as drawing outlines: schematic, from configs/regions.geojson. Room: web; on no walk.

Degrees become units of the drawing once, at start: an equirectangular picture at the country's middle latitude. Borders
are Natural Earth's, good for a look and for nothing legal; the page says so.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import cos, radians
from typing import Any

WIDTH = 1000.0
"""Units of the drawing."""
MARGIN = 12.0
MIDDLE_LAT_DEG = 41.3
DECIMALS = 1
LABEL_SHIFTS: Mapping[str, tuple[float, float]] = {
    "1735": (-10.0, 0.0),
    "1733": (-30.0, 24.0),
    "1706": (-10.0, 14.0),
    "1712": (-30.0, -18.0),
    "1708": (-4.0, -14.0),
    "1724": (10.0, 34.0),
    "1727": (34.0, -64.0),
    "1726": (-64.0, -34.0),
    "1714": (-2.0, -34.0),
    "1703": (-8.0, -24.0),
    "1730": (6.0, 40.0),
    "1718": (-14.0, 6.0),
    "1710": (0.0, 10.0),
    "1722": (10.0, 6.0),
}
"""Where a name would lie on its neighbour's: units to move it from the outline's middle."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One region."""

    soato: str
    path: str
    """The `d` of an SVG path."""
    label_x: float
    label_y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """All regions in one picture."""

    width: float
    height: float
    outlines: tuple[Outline, ...]
    _west_deg: float
    _north_deg: float
    _unit: float

    def place(self, lat_deg: float, lon_deg: float) -> tuple[float, float]:
        """Where a point lies in the drawing."""
        return _place(self._west_deg, self._north_deg, self._unit, lat_deg, lon_deg)


@cache
def drawing() -> Drawing:
    """The country as shipped; read once per process."""
    document: dict[str, Any] = json.loads(files("configs").joinpath("regions.geojson").read_text("utf-8"))
    shapes = {str(one["properties"]["soato"]): list(_rings(one["geometry"])) for one in document["features"]}
    lons = [lon for rings in shapes.values() for ring in rings for lon, _ in ring]
    lats = [lat for rings in shapes.values() for ring in rings for _, lat in ring]
    west, north = min(lons), max(lats)
    unit = (WIDTH - 2 * MARGIN) / ((max(lons) - west) * cos(radians(MIDDLE_LAT_DEG)))
    outlines = []
    for soato, rings in sorted(shapes.items(), key=lambda item: -_area(max(item[1], key=_area))):
        placed = [[_place(west, north, unit, lat, lon) for lon, lat in ring] for ring in rings]
        x, y = _middle(max(placed, key=_area))
        shift_x, shift_y = LABEL_SHIFTS.get(soato, (0.0, 0.0))
        path = "".join(
            "M" + "L".join(f"{px:.{DECIMALS}f} {py:.{DECIMALS}f}" for px, py in ring) + "Z" for ring in placed
        )
        outlines.append(Outline(soato, path, round(x + shift_x, DECIMALS), round(y + shift_y, DECIMALS)))
    return Drawing(WIDTH, round((north - min(lats)) * unit + 2 * MARGIN, DECIMALS), tuple(outlines), west, north, unit)


def _place(west_deg: float, north_deg: float, unit: float, lat_deg: float, lon_deg: float) -> tuple[float, float]:
    return (
        round(MARGIN + (lon_deg - west_deg) * cos(radians(MIDDLE_LAT_DEG)) * unit, DECIMALS),
        round(MARGIN + (north_deg - lat_deg) * unit, DECIMALS),
    )


def _rings(geometry: Mapping[str, Any]) -> Iterable[list[tuple[float, float]]]:
    """Outer rings; holes matter to nobody at this size."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        yield [(float(point[0]), float(point[1])) for point in polygon[0]]


def _area(ring: list[tuple[float, float]]) -> float:
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True))) / 2


def _middle(ring: list[tuple[float, float]]) -> tuple[float, float]:
    xs, ys = [x for x, _ in ring], [y for _, y in ring]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
