"""The shipped list of territories is whole and agrees with itself."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from hosting.territory import Country, DistrictEntry, RegionEntry, country

HOUSE = Path(__file__).parent.parent
ISO = {
    "UZ-AN", "UZ-BU", "UZ-FA", "UZ-JI", "UZ-NG", "UZ-NW", "UZ-QA",
    "UZ-QR", "UZ-SA", "UZ-SI", "UZ-SU", "UZ-TK", "UZ-TO", "UZ-XO",
}  # fmt: skip
SHARED_POINTS_MAX = 6
"""District and city of one name stand on one point in six pairs of the source."""


@pytest.fixture
def land() -> Country:
    return country()


def places(land: Country) -> list[RegionEntry | DistrictEntry]:
    return [*land.regions, *land.district_by_soato.values()]


def test_fourteen_regions_and_206_districts(land: Country) -> None:
    assert {region.iso for region in land.regions} == ISO
    assert len(land.district_by_soato) == 206
    kinds = Counter(district.kind for district in land.district_by_soato.values())
    assert kinds == {"district": 163, "city": 31, "city_district": 12}


def test_file_names_are_the_iso_codes() -> None:
    assert {path.stem.upper() for path in (HOUSE / "configs" / "regions").glob("*.toml")} == ISO


def test_soato_codes_carry_region_and_kind(land: Country) -> None:
    for region in land.regions:
        assert len(region.soato) == 4
        assert region.soato.startswith("17")
        for district in region.districts:
            assert len(district.soato) == 7
            assert district.soato.isdigit()
            assert district.soato.startswith(region.soato)
            assert district.soato[4] == ("4" if district.kind == "city" else "2")


def test_every_place_has_four_names_in_their_own_scripts(land: Country) -> None:
    for place in places(land):
        names = place.names
        for latin in (names.en, names.uz_latn):
            assert latin
            assert not any("Ѐ" <= letter <= "ӿ" for letter in latin), latin
        for cyrillic in (names.uz_cyrl, names.ru):
            assert cyrillic
            assert not any("a" <= letter.lower() <= "z" for letter in cyrillic), cyrillic
        assert "'" not in names.uz_latn, "the letters are U+02BB and U+02BC"


def test_every_place_lies_inside_the_country(land: Country) -> None:
    for place in places(land):
        assert 37.1 < place.lat_deg < 45.6, place.soato
        assert 55.9 < place.lon_deg < 73.2, place.soato
    points = Counter((district.lat_deg, district.lon_deg) for district in land.district_by_soato.values())
    assert sum(count - 1 for count in points.values()) <= SHARED_POINTS_MAX


def test_a_district_lies_near_its_region(land: Country) -> None:
    for region in land.regions:
        for district in region.districts:
            assert abs(district.lat_deg - region.lat_deg) < 4.5, district.soato
            assert abs(district.lon_deg - region.lon_deg) < 4.5, district.soato


def test_sums_agree_with_the_regions(land: Country) -> None:
    for region in land.regions:
        population = sum(district.population for district in region.districts)
        consumers = sum(district.consumers for district in region.districts)
        assert population == pytest.approx(region.population, rel=0.01), region.iso
        assert consumers == pytest.approx(region.consumers, rel=0.01), region.iso
    assert 8_600_000 < sum(region.consumers for region in land.regions) < 8_800_000


def test_estimates_say_that_they_are_estimates(land: Country) -> None:
    for place in places(land):
        assert "estimate" in place.consumers_method.lower()
        assert place.population_method


def test_both_time_zones_have_been_one_since_1992(land: Country) -> None:
    zones = {region.time_zone for region in land.regions}
    assert zones == {"Asia/Tashkent", "Asia/Samarkand"}
    day = datetime(1992, 6, 1, tzinfo=UTC)
    while day.year < 2040:
        assert {day.astimezone(ZoneInfo(zone)).utcoffset() for zone in zones} == {timedelta(hours=5)}
        day += timedelta(days=31)


def test_every_region_has_its_outline(land: Country) -> None:
    document = json.loads((HOUSE / "configs" / "regions.geojson").read_text("utf-8"))
    assert "Natural Earth" in document["source"]
    outlines = {feature["properties"]["soato"] for feature in document["features"]}
    assert outlines == {region.soato for region in land.regions}
