"""Make `configs/regions/*.toml` and the outlines from a folder of collected facts.

    python -m configs.make_regions --data FOLDER

FOLDER holds `regions.json`, `districts.json` and `regions.geojson`. The result is committed; the product never reads
FOLDER. Running it again on the same facts gives the same bytes.

Time zones. The tz database has two zones for the country, "Uzbekistan (west)" = Asia/Samarkand and "(east)" =
Asia/Tashkent, and draws no border between them. We take the usual reading: Jizzakh, Syrdarya, Tashkent and the Fergana
valley are the east, the seven others the west. Both zones have been UTC+5 without summer time since 1992 (a test holds
that), so no bill, day or order depends on where the border is drawn.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.toml_text import Value, comment_text, pairs_text

HERE = Path(__file__).parent
WEST = {"1735", "1706", "1710", "1712", "1718", "1722", "1733"}
"""Karakalpakstan, Bukhara, Kashkadarya, Navoi, Samarkand, Surkhandarya, Khorezm."""
NAMES = ("name_en", "name_uz_latn", "name_uz_cyrl", "name_ru")
HEAD = """\
Made by `python -m configs.make_regions`; edit the facts, not this file. SOATO codes and names are facts of the
official classifier. Coordinates: GeoNames (CC BY 4.0) and, where coord_source says so, OpenStreetMap contributors
(ODbL); see NOTICE. Population and consumers are estimates unless their method says otherwise.
"""


def thousands(value_k: float | None) -> int | None:
    """Persons from thousands of persons."""
    return None if value_k is None else round(value_k * 1000)


def region_pairs(region: Mapping[str, Any]) -> dict[str, Value | None]:
    """The `[region]` table."""
    published = region["consumers_published"]
    return {
        "soato": region["soato"],
        "iso": region["iso_3166_2"],
        **{name: region[name] for name in NAMES},
        "centre": region["centre"],
        "lat": region["lat"],
        "lon": region["lon"],
        "centroid_lat": region["centroid"][0],
        "centroid_lon": region["centroid"][1],
        "time_zone": "Asia/Samarkand" if region["soato"] in WEST else "Asia/Tashkent",
        "population": thousands(region["population_k_2026"]),
        "population_method": "published for 2026-01-01",
        "consumers": region["consumers_est_2026"],
        "consumers_method": "estimate for 2026: the national total by population and published counts",
        "consumers_published": published,
        "consumers_published_note": region["consumers_published_note"],
    }


def district_pairs(district: Mapping[str, Any]) -> dict[str, Value | None]:
    """One `[[district]]` table."""
    published = next(
        ((k, district[f"population_k_{k}"]) for k in ("2025", "2023") if f"population_k_{k}" in district), None
    )
    centroid = district.get("centroid") or [None, None]
    return {
        "soato": district["soato"],
        **{name: district[name] for name in NAMES},
        "kind": district["kind"],
        "seat": district.get("seat"),
        "lat": district["lat"],
        "lon": district["lon"],
        "coord_source": district["coord_source"],
        "centroid_lat": centroid[0],
        "centroid_lon": centroid[1],
        "population": thousands(district["population_k_est_2026"]),
        "population_method": district["population_method"],
        "population_published": thousands(published[1]) if published else None,
        "population_published_year": int(published[0]) if published else None,
        "consumers": district["consumers_est_2026"],
        "consumers_method": "estimate for 2026: the region's consumers by population",
    }


def region_text(region: Mapping[str, Any], districts: list[Mapping[str, Any]]) -> str:
    """The whole file of one region, districts by SOATO."""
    parts = [comment_text(HEAD), "\n[region]\n", pairs_text(region_pairs(region))]
    for district in sorted(districts, key=lambda entry: str(entry["soato"])):
        parts += ["\n[[district]]\n", pairs_text(district_pairs(district))]
    return "".join(parts)


def main() -> None:
    """Read the facts, write the files."""
    parser = argparse.ArgumentParser(description="make configs/regions from collected facts")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with regions.json, districts.json, regions.geojson"
    )
    data: Path = parser.parse_args().data
    regions = json.loads((data / "regions.json").read_text("utf-8"))["regions"]
    districts = json.loads((data / "districts.json").read_text("utf-8"))["districts"]
    for region in regions:
        own = [district for district in districts if district["region_soato"] == region["soato"]]
        path = HERE / "regions" / f"{region['iso_3166_2'].lower()}.toml"
        path.write_text(region_text(region, own), "utf-8")
    (HERE / "regions.geojson").write_bytes((data / "regions.geojson").read_bytes())


if __name__ == "__main__":
    main()
