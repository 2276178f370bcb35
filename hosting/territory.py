"""Names and places of the country's regions and districts, read from `configs/regions`. Hosting floor.

Stands on no walk: the hub's map and balances, an office's pages and the simulator's worlds all ask it what a SOATO code
is called and where it lies. A SOATO code of 4 digits is a region, one of 7 digits a district or city inside it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from gridmodel.fault import Fault

DistrictKind = Literal["district", "city", "city_district"]
NAME_KEYS = {"en": "name_en", "uz_Latn": "name_uz_latn", "uz_Cyrl": "name_uz_cyrl", "ru": "name_ru"}
"""Our language codes and the keys of the files."""


class TerritoryFault(Fault):
    """A territory that is not in the country's list, or a list that cannot be read."""


@dataclass(frozen=True, slots=True)
class Names:
    """One name in the four languages."""

    en: str
    uz_latn: str
    uz_cyrl: str
    ru: str

    def in_language(self, language: str) -> str:
        """The name for one of `NAME_KEYS`; English for any other."""
        return {"uz_Latn": self.uz_latn, "uz_Cyrl": self.uz_cyrl, "ru": self.ru}.get(language, self.en)


@dataclass(frozen=True, slots=True)
class DistrictEntry:
    """A district, a city, or a district of the capital: what one office serves."""

    soato: str
    """7 digits; the first 4 are the region's."""
    region: str
    names: Names
    kind: DistrictKind
    seat: str | None
    """Where the office stands; None where the list does not say (districts of a city)."""
    lat_deg: float
    lon_deg: float
    coord_source: str
    """Whence the coordinates are: GeoNames, an OpenStreetMap centroid, or an approximation of ±10 km."""
    population: int
    population_method: str
    consumers: int
    consumers_method: str


@dataclass(frozen=True, slots=True)
class RegionEntry:
    """One of the 14 first-level regions, with its districts by SOATO."""

    soato: str
    iso: str
    """ISO 3166-2, e.g. UZ-AN."""
    names: Names
    centre: str
    lat_deg: float
    lon_deg: float
    time_zone: str
    """Asia/Tashkent or Asia/Samarkand."""
    population: int
    population_method: str
    consumers: int
    consumers_method: str
    districts: tuple[DistrictEntry, ...]


@dataclass(frozen=True, slots=True)
class Country:
    """All regions, with look-ups that refuse an unknown code by name."""

    regions: tuple[RegionEntry, ...]
    region_by_soato: Mapping[str, RegionEntry]
    district_by_soato: Mapping[str, DistrictEntry]

    def region(self, soato: str) -> RegionEntry:
        """The region of a 4-digit code. Raises `TerritoryFault` TQ-TE-01."""
        try:
            return self.region_by_soato[soato]
        except KeyError:
            raise TerritoryFault(
                "TQ-TE-01",
                f"no region has the SOATO code {soato[:16]!r}",
                "region codes have 4 digits: configs/regions",
            ) from None

    def district(self, soato: str) -> DistrictEntry:
        """The district or city of a 7-digit code. Raises `TerritoryFault` TQ-TE-02."""
        try:
            return self.district_by_soato[soato]
        except KeyError:
            raise TerritoryFault(
                "TQ-TE-02",
                f"no district or city has the SOATO code {soato[:16]!r}",
                "district codes have 7 digits and begin with their region's 4: configs/regions",
            ) from None

    def region_of(self, district_soato: str) -> RegionEntry:
        """The region a district lies in. Raises `TerritoryFault` TQ-TE-02."""
        return self.region(self.district(district_soato).region)


def country_from(folder: Traversable) -> Country:
    """Read every `*.toml` of a folder. Raises `TerritoryFault` TQ-TE-03 for a file that does not fit."""
    regions = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        try:
            regions.append(_region(tomllib.loads(entry.read_text("utf-8"))))
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise TerritoryFault(
                "TQ-TE-03",
                f"{entry.name} does not describe a region: {type(error).__name__} {error}",
                "restore the file from the release, or make it again: make configs",
            ) from error
    regions.sort(key=lambda region: region.soato)
    districts = {district.soato: district for region in regions for district in region.districts}
    if len(districts) != sum(len(region.districts) for region in regions):
        raise TerritoryFault("TQ-TE-04", "a district stands in two region files", "restore configs/regions")
    return Country(tuple(regions), {region.soato: region for region in regions}, districts)


@cache
def country() -> Country:
    """The country as shipped. Read once per process: 14 small files, about 100 kB."""
    return country_from(files("configs").joinpath("regions"))


def _names(table: Mapping[str, Any]) -> Names:
    return Names(*(str(table[key]) for key in NAME_KEYS.values()))


def _region(document: Mapping[str, Any]) -> RegionEntry:
    table = document["region"]
    soato = str(table["soato"])
    return RegionEntry(
        soato=soato,
        iso=str(table["iso"]),
        names=_names(table),
        centre=str(table["centre"]),
        lat_deg=float(table["lat"]),
        lon_deg=float(table["lon"]),
        time_zone=str(table["time_zone"]),
        population=int(table["population"]),
        population_method=str(table["population_method"]),
        consumers=int(table["consumers"]),
        consumers_method=str(table["consumers_method"]),
        districts=tuple(_district(soato, entry) for entry in document["district"]),
    )


def _district(region: str, table: Mapping[str, Any]) -> DistrictEntry:
    soato = str(table["soato"])
    kind = table["kind"]
    if kind not in ("district", "city", "city_district"):
        raise ValueError(f"kind {kind!r} of {soato}")
    if not soato.startswith(region):
        raise ValueError(f"{soato} does not lie in region {region}")
    return DistrictEntry(
        soato=soato,
        region=region,
        names=_names(table),
        kind=kind,
        seat=table.get("seat"),
        lat_deg=float(table["lat"]),
        lon_deg=float(table["lon"]),
        coord_source=str(table["coord_source"]),
        population=int(table["population"]),
        population_method=str(table["population_method"]),
        consumers=int(table["consumers"]),
        consumers_method=str(table["consumers_method"]),
    )
