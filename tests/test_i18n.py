"""The four catalogues say everything that the sources ask of them."""

from collections import Counter
from io import BytesIO

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from hosting.catalogues import COMPLETE, LOCALE, identity, label_messages, missing, placeholders, template, updated
from hosting.i18n import Language, read_catalogue, spoken, texts, translator


@pytest.fixture(scope="module")
def wanted() -> Catalog:
    return template()


def test_the_sources_were_searched(wanted: Catalog) -> None:
    found = {identity(message) for message in wanted}
    assert "{number} kWh" in found
    assert "reason.no_debt" in found
    assert set(label_messages()) <= found


@pytest.mark.parametrize("language", COMPLETE)
def test_complete_languages_lack_nothing(language: Language, wanted: Catalog) -> None:
    assert missing(language, wanted) == [], "run `make i18n`, then fill the empty msgstr lines"


def test_a_gap_would_be_seen() -> None:
    wanted = Catalog()
    wanted.add("a sentence that no catalogue has")
    assert missing(Language.EN, wanted) == ["a sentence that no catalogue has"]


@pytest.mark.parametrize("language", Language)
def test_placeholders_are_plain_and_agree(language: Language) -> None:
    for message in read_catalogue(LOCALE / f"{language.value}.po", language):
        if not spoken(message):
            continue
        ids = (message.id,) if isinstance(message.id, str) else message.id
        asked = set().union(*(placeholders(one) for one in ids))
        for text in texts(message):
            assert placeholders(text) == asked, f"{language.value}: {ids[0]}"


@pytest.mark.parametrize("text", ["{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{0}"])
def test_only_plain_names_are_placeholders(text: str) -> None:
    with pytest.raises(ValueError, match="plain placeholder"):
        placeholders(text)


@pytest.mark.parametrize("language", Language)
def test_no_catalogue_keeps_a_message_nobody_uses(language: Language, wanted: Catalog) -> None:
    catalogue = read_catalogue(LOCALE / f"{language.value}.po", language)
    unused = {identity(message) for message in catalogue if message.id} - {identity(message) for message in wanted}
    assert unused == set(), "run `make i18n`"


def test_uzbek_letters_are_the_right_ones() -> None:
    for message in read_catalogue(LOCALE / "uz_Latn.po", Language.UZ_LATN):
        for text in texts(message):
            assert not set(text) & set("'`‘’"), f"oʻ gʻ want U+02BB, the tutuq belgisi U+02BC: {text}"


def test_labels_are_words_and_not_codes() -> None:
    codes = set(label_messages())
    for language in COMPLETE:
        said = Counter(translator(language).gettext(code) for code in codes)
        assert not codes & set(said)


def test_one_language_does_not_leak_into_another() -> None:
    wanted = Catalog()
    wanted.add("a sentence that no catalogue has")
    assert b'msgstr "a sentence that no catalogue has"' in updated(Language.EN, wanted)
    assert b'msgstr "a sentence that no catalogue has"' not in updated(Language.RU, wanted)


@pytest.mark.parametrize("language", Language)
def test_an_update_without_news_keeps_every_text(language: Language, wanted: Catalog) -> None:
    again = read_po(BytesIO(updated(language, wanted)), locale=language.value)
    for message in read_catalogue(LOCALE / f"{language.value}.po", language):
        if spoken(message):
            kept = again.get(message.id if isinstance(message.id, str) else message.id[0])
            assert kept is not None
            assert texts(kept) == texts(message)
