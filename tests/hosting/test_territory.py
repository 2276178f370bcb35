"""The reader of configs/regions: look-ups, and what it says to a file that does not fit."""

from pathlib import Path

import pytest

from hosting.territory import TerritoryFault, country, country_from

REGION = """
[region]
soato = "1799"
iso = "UZ-XX"
name_en = "Test"
name_uz_latn = "Sinov"
name_uz_cyrl = "Синов"
name_ru = "Проба"
centre = "Sinov"
lat = 41.0
lon = 69.0
time_zone = "Asia/Tashkent"
population = 1
population_method = "made up"
consumers = 1
consumers_method = "made up"
"""
DISTRICT = """
[[district]]
soato = "1799201"
name_en = "Test district"
name_uz_latn = "Sinov tumani"
name_uz_cyrl = "Синов тумани"
name_ru = "Пробный район"
kind = "district"
lat = 41.0
lon = 69.0
coord_source = "made up"
population = 1
population_method = "made up"
consumers = 1
consumers_method = "made up"
"""


def test_look_ups_by_code() -> None:
    assert country().region("1703").iso == "UZ-AN"
    chilonzor = country().district("1726294")
    assert chilonzor.region == "1726"
    assert country().region_of(chilonzor.soato).names.ru == "город Ташкент"


def test_names_in_four_languages_and_english_for_a_fifth() -> None:
    names = country().region("1714").names
    assert [names.in_language(code) for code in ("en", "uz_Latn", "uz_Cyrl", "ru", "de")] == [
        "Namangan Region",
        "Namangan viloyati",
        "Наманган вилояти",
        "Наманганская область",
        "Namangan Region",
    ]


@pytest.mark.parametrize(("verb", "code", "soato"), [("region", "TQ-TE-01", "1799"), ("district", "TQ-TE-02", "1703")])
def test_an_unknown_code_is_refused_by_name(verb: str, code: str, soato: str) -> None:
    with pytest.raises(TerritoryFault) as caught:
        getattr(country(), verb)(soato)
    assert caught.value.code == code
    assert soato in caught.value.what


def test_a_good_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "uz-xx.toml").write_text(REGION + DISTRICT, "utf-8")
    (tmp_path / "README.md").write_text("not a region", "utf-8")
    assert [district.seat for district in country_from(tmp_path).regions[0].districts] == [None]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[region", "TOMLDecodeError"),
        (REGION, "district"),
        (REGION.replace('iso = "UZ-XX"\n', "") + DISTRICT, "iso"),
        (REGION + DISTRICT.replace("1799201", "1703201"), "1703201"),
        (REGION + DISTRICT.replace('kind = "district"', 'kind = "galaxy"'), "galaxy"),
        (REGION.replace("lat = 41.0", 'lat = "north"') + DISTRICT, "north"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "uz-xx.toml").write_text(text, "utf-8")
    with pytest.raises(TerritoryFault) as caught:
        country_from(tmp_path)
    assert caught.value.code == "TQ-TE-03"
    assert "uz-xx.toml" in caught.value.what
    assert word in caught.value.what


def test_one_district_in_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(REGION + DISTRICT, "utf-8")
    (tmp_path / "b.toml").write_text(REGION + DISTRICT, "utf-8")
    with pytest.raises(TerritoryFault) as caught:
        country_from(tmp_path)
    assert caught.value.code == "TQ-TE-04"
