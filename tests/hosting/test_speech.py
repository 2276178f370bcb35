"""Speaking four languages: fallback, numbers, dates, and what a browser asks for."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po

from gridmodel.control import RelayState
from gridmodel.quantity import rounded
from gridmodel.reading import Quality
from hosting.i18n import (
    ABSENT,
    DEFAULT,
    I18nFault,
    Language,
    Translator,
    label_id,
    negotiate,
    read_catalogue,
    translations,
    translator,
)
from hosting.uzbek_script import cyrillic

EN, LATN, CYRL, RU = Language.EN, Language.UZ_LATN, Language.UZ_CYRL, Language.RU
PO = """
msgid ""
msgstr ""
"Language: {language}\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "Good day, {name}"
msgstr "{text}"

#, fuzzy
msgid "guess"
msgstr "a bad guess"

msgid "{number} meter"
msgid_plural "{number} meters"
msgstr[0] "{one}"
msgstr[1] "{many}"
"""


def made_up(language: Language, text: str, one: str = "", many: str = "") -> Translator:
    source = PO.replace("{language}", language.value).replace("{text}", text)
    source = source.replace("{one}", one).replace("{many}", many)
    return Translator(language, translations(read_po(BytesIO(source.encode()), locale=language.value)))


def test_a_text_with_its_values() -> None:
    assert made_up(LATN, "Assalomu alaykum, {name}").gettext("Good day, {name}", name="<Aziz>") == (
        "Assalomu alaykum, <Aziz>"
    )


def test_what_is_empty_or_guessed_falls_back() -> None:
    speaker = made_up(LATN, "")
    assert speaker.gettext("Good day, {name}", name="A") == "Good day, A"
    assert speaker.gettext("guess") == "guess"
    assert speaker.ngettext("{number} meter", "{number} meters", 5) == "5 meters"


def test_plural_forms_and_grouped_number() -> None:
    speaker = made_up(EN, "", "{number} meter", "{number} meters")
    assert [speaker.ngettext("{number} meter", "{number} meters", number) for number in (1, 42_000)] == [
        "1 meter",
        "42,000 meters",
    ]


def test_the_chain_of_fallbacks_ends_in_english() -> None:
    chain = []
    messages: Any = translator(CYRL).messages
    while messages is not None:
        chain.append(messages.info()["language"])
        messages = getattr(messages, "_fallback", None)
    assert chain == ["uz_Cyrl", "uz_Latn", "en"]


def test_members_of_enums_are_said_in_words() -> None:
    assert label_id(RelayState.READY_FOR_RECONNECTION) == "relay_state.ready_for_reconnection"
    assert label_id(Quality.ACTUAL) == "quality.actual"
    assert translator(EN).label(Quality.ACTUAL) == "measured"
    assert translator(RU).word("relay_state", "connected") == "подключён"
    assert translator(RU).word("relay_state", "<script>") == "<script>"


@pytest.mark.parametrize(
    ("language", "energy", "money", "percent"),
    [
        (EN, "1,234.567 kWh", "12,500.50 soʻm", "4.3 %"),
        (LATN, "1\xa0234,567 kVt·soat", "12\xa0500,50 soʻm", "4,3 %"),
        (CYRL, "1\xa0234,567 кВт·соат", "12\xa0500,50 сўм", "4,3 %"),
        (RU, "1\xa0234,567 кВт·ч", "12\xa0500,50 сум", "4,3 %"),
    ],
)
def test_quantities(language: Language, energy: str, money: str, percent: str) -> None:
    speaker = translator(language)
    assert speaker.energy(1_234_567, exact=True) == energy
    assert speaker.money(1_250_050) == money
    assert speaker.percent(4.26) == percent


def test_large_sums_lose_no_watt_hour() -> None:
    assert translator(EN).energy(98_765_432_109_876_543, exact=True) == "98,765,432,109,876.543 kWh"
    assert translator(EN).money(-100) == "-1 soʻm"
    assert translator(EN).power(2_300) == "2.3 kW"


@pytest.mark.parametrize(
    ("energy_wh", "said"),
    [
        (0, "0 kWh"),
        (40, "0.04 kWh"),
        (1_049, "1.0 kWh"),
        (-12_345, "-12.3 kWh"),
        (999_940, "999.9 kWh"),
        (1_200_789, "1,201 kWh"),
    ],
)
def test_energy_has_no_more_digits_than_help(energy_wh: int, said: str) -> None:
    assert translator(EN).energy(energy_wh) == said


def test_a_share_is_rounded_once_and_everywhere_alike() -> None:
    loss_pct = 100.0 * 799 / 20_000  # 3.995: half, which binary fractions and decimal ones round apart
    assert translator(EN).percent(loss_pct, 2) == f"{rounded(loss_pct, 2)} %" == "4.00 %"
    assert translator(EN).percent(99.96, down=True) == f"{rounded(99.96, 1, down=True)} %" == "99.9 %"
    assert translator(EN).percent(57.3, down=True) == "57.3 %", "no digit is lost to a binary fraction"
    assert str(rounded(-0.001, 2)) == "0.00"


def test_absence_is_shown_and_never_a_zero() -> None:
    speaker = translator(EN)
    said = [
        speaker.energy(None),
        speaker.money(None),
        speaker.percent(None),
        speaker.power(None),
        speaker.integer(None),
    ]
    assert {*said, speaker.moment(None, "Asia/Tashkent"), speaker.duration(None)} == {ABSENT}


@pytest.mark.parametrize(
    ("language", "moment", "day", "month"),
    [
        (EN, "24 Nov 2026, 00:00", "24 November 2026", "November 2026"),
        (LATN, "24 noy 2026, 00:00", "24-noyabr, 2026", "Noyabr 2026"),
        (RU, "24 нояб. 2026, 00:00", "24 ноября 2026\u202fг.", "ноябрь 2026"),
    ],
)
def test_dates_in_the_place_of_the_meter(language: Language, moment: str, day: str, month: str) -> None:
    speaker = translator(language)
    assert speaker.moment(1_795_460_400, "Asia/Tashkent") == moment
    assert speaker.clock_time(1_795_460_400, "Asia/Samarkand") == "00:00"
    assert speaker.day("2026-11-24") == day
    assert speaker.month("2026-11") == month


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_durations(seconds: int, said: str) -> None:
    assert translator(EN).duration(seconds) == said


@pytest.mark.parametrize(
    ("accept", "asked", "language"),
    [
        (None, None, DEFAULT),
        ("ru-RU,ru;q=0.9,en;q=0.8", None, RU),
        ("de,en;q=0.5,ru;q=0.7", None, RU),
        ("uz", None, LATN),
        ("uz-Cyrl-UZ,en", None, CYRL),
        ("en", "uz_Cyrl", CYRL),
        ("en", "klingon", EN),
        ("en;q=0,ru;q=0.1", None, RU),
        ("en;q=nan,ru;q=x,;;;,", None, DEFAULT),
        ("en;q=9e99", None, DEFAULT),
        ("x" * 10_000 + ",en", None, DEFAULT),
        ("," * 5_000, "r" * 5_000, DEFAULT),
    ],
)
def test_negotiation(accept: str | None, asked: str | None, language: Language) -> None:
    assert negotiate(accept, asked) is language


def test_tags_for_html() -> None:
    assert [translator(language).tag for language in Language] == ["en", "uz-Latn", "uz-Cyrl", "ru"]


@pytest.mark.parametrize("text", [None, b'msgid "a"\nnonsense', b'msgid "a"\nmsgstr "\xff\xfe"'])
def test_a_catalogue_that_cannot_be_read_is_named(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "ru.po"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(I18nFault) as caught:
        read_catalogue(path, RU)
    assert caught.value.code == "TQ-LN-01"
    assert "ru.po" in caught.value.what


@pytest.mark.parametrize(
    ("latin", "letters"),
    [
        ("Oʻzbekiston energetikasi", "Ўзбекистон энергетикаси"),
        ("Gʻijduvon, Yangiyoʻl, Isteʼmolchi", "Ғиждувон, Янгийўл, Истеъмолчи"),
        ("choʻchqa shahri poeziya", "чўчқа шаҳри поэзия"),
        ("{number} kVt·soat", "{number} кВт·соат"),
    ],
)
def test_uzbek_in_its_other_script(latin: str, letters: str) -> None:
    assert cyrillic(latin) == letters
