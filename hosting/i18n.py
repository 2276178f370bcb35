"""Four languages for every face: texts by gettext catalogues, numbers and dates by Babel. Hosting floor.

Stands on no walk: the office's and the hub's pages, printed receipts and notices ask it. The catalogues are
`hosting/locale/<language>.po`, read at start; `python -m hosting.catalogues update` merges new messages into them.

How to mark a text: `_("Paid at the office: {sum}", sum=t.money(entry.amount_tiyin))` in Python and in Jinja alike, with
`_ = translator.gettext`. Placeholders are plain names in braces. A member of one of our enums is said by
`translator.label(member)`, or by `translator.word("reason", "no_debt")` where only its value is at hand; its message is
`reason.no_debt`. A language that lacks a message falls back: Uzbek in
Cyrillic to Uzbek in Latin script to English; Russian to English.
"""

import gettext
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import BytesIO
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import PoFileError, read_po
from babel.numbers import format_decimal

from gridmodel.fault import Fault
from gridmodel.quantity import rounded

ACCEPT_LENGTH_MAX = 256
"""Characters of an Accept-Language header that are read; browsers send under 100."""
ACCEPT_TAGS_MAX = 16
"""Languages in it that are weighed."""
ABSENT = "—"
"""What a face shows where there is no value: never a zero."""


class I18nFault(Fault):
    """A catalogue that cannot be read."""


class Language(StrEnum):
    """The languages of the house, in CLDR's spelling."""

    EN = "en"
    UZ_LATN = "uz_Latn"
    UZ_CYRL = "uz_Cyrl"
    RU = "ru"


FALLBACK: dict[Language, Language | None] = {
    Language.UZ_CYRL: Language.UZ_LATN,
    Language.UZ_LATN: Language.EN,
    Language.RU: Language.EN,
    Language.EN: None,
}
OWN_NAMES = {Language.UZ_LATN: "Oʻzbekcha", Language.UZ_CYRL: "Ўзбекча", Language.RU: "Русский", Language.EN: "English"}
"""What each language calls itself, in the order a page offers them."""
FORMATS = {Language.EN: "en_GB", Language.UZ_LATN: "uz_Latn", Language.UZ_CYRL: "uz_Cyrl", Language.RU: "ru"}
"""Babel locales; en_GB for its 24-hour clock."""
DEFAULT = Language.UZ_LATN
"""The office's own language, when a browser asks for nothing we speak."""


def language_of(tag: str) -> Language | None:
    """Our language for a BCP 47 tag (`uz-Cyrl-UZ`, `ru`, `en_US`), or None."""
    parts = tag.strip().replace("_", "-").lower().split("-")
    if parts[0] == "uz":
        return Language.UZ_CYRL if "cyrl" in parts[1:] else Language.UZ_LATN
    return {"ru": Language.RU, "en": Language.EN}.get(parts[0])


def negotiate(accept: str | None, asked: str | None = None, default: Language = DEFAULT) -> Language:
    """The language to answer in: `asked` (from ?lang= or a cookie) first, then the browser's own order, then `default`.

    Hostile or broken headers are never an error: what cannot be read is skipped.
    """
    if asked and (language := language_of(asked[:ACCEPT_LENGTH_MAX])):
        return language
    ranked: list[tuple[float, int, Language]] = []
    for place, part in enumerate((accept or "")[:ACCEPT_LENGTH_MAX].split(",")[:ACCEPT_TAGS_MAX]):
        tag, _, weight = part.partition(";")
        language = language_of(tag)
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language and 0 < quality <= 1:
            ranked.append((-quality, place, language))
    return min(ranked)[2] if ranked else default


@dataclass(frozen=True, slots=True)
class Translator:
    """Speaks one language."""

    language: Language
    messages: gettext.NullTranslations

    @property
    def tag(self) -> str:
        """The BCP 47 tag for `<html lang>`."""
        return self.language.value.replace("_", "-")

    def gettext(self, message: str, /, **values: object) -> str:
        """`message` in this language, its placeholders filled."""
        return self.messages.gettext(message).format_map(values)

    def ngettext(self, singular: str, plural: str, number: int, /, **values: object) -> str:
        """The form that fits `number`, which fills the placeholder `{number}`."""
        text = self.messages.ngettext(singular, plural, number)
        return text.format_map({"number": self.integer(number), **values})

    def label(self, member: Enum) -> str:
        """A member of one of our enums in words."""
        return self.gettext(label_id(member))

    def word(self, kind: str, value: str) -> str:
        """The same by the enum's name in snake case and the member's value; an unknown value is shown as it is."""
        message = f"{kind}.{value}"
        text = self.messages.gettext(message)
        return value if text == message else text

    def integer(self, number: int | None) -> str:
        """Thousands grouped as the language does."""
        return ABSENT if number is None else format_decimal(number, "#,##0", self._locale)

    def energy(self, energy_wh: int | None, *, exact: bool = False) -> str:
        """Watt-hours as kWh with no more digits than help; `exact` to the watt-hour, for columns that are added up."""
        if energy_wh is None:
            return ABSENT
        size = abs(energy_wh)
        pattern = "#,##0.000" if exact else "#,##0.###" if size < 1_000 else "#,##0.0" if size < 1_000_000 else "#,##0"
        return self.gettext("{number} kWh", number=self._decimal(energy_wh, 1000, pattern))

    def power(self, power_w: int | None) -> str:
        """Watts as kW, exact."""
        if power_w is None:
            return ABSENT
        return self.gettext("{number} kW", number=self._decimal(power_w, 1000, "#,##0.###"))

    def money(self, amount_tiyin: int | None) -> str:
        """Tiyin as soʻm; the hundredths only where there are any."""
        if amount_tiyin is None:
            return ABSENT
        pattern = "#,##0" if amount_tiyin % 100 == 0 else "#,##0.00"
        return self.gettext("{number} soʻm", number=self._decimal(amount_tiyin, 100, pattern))

    def percent(self, value_pct: float | None, digits: int = 1, *, down: bool = False) -> str:
        """A percentage that is already one, rounded here alone: 4.26 gives 4.3 %; see `gridmodel.quantity.rounded`."""
        if value_pct is None:
            return ABSENT
        pattern = "#,##0." + "0" * digits if digits else "#,##0"
        shown = format_decimal(rounded(value_pct, digits, down=down), pattern, self._locale)
        return self.gettext("{number} %", number=shown)

    def moment(self, at: int | None, zone: str, *, seconds: bool = False) -> str:
        """UTC seconds as local date and time."""
        return ABSENT if at is None else format_datetime(_local(at, zone), _MOMENT[seconds], locale=self._locale)

    def clock_time(self, at: int | None, zone: str) -> str:
        """UTC seconds as local hours and minutes."""
        return ABSENT if at is None else _local(at, zone).strftime("%H:%M")

    def day(self, day: str) -> str:
        """`2026-11-24` in words."""
        return format_date(date.fromisoformat(day), "long", locale=self._locale)

    def month(self, month: str) -> str:
        """`2026-11` in words."""
        return format_date(date.fromisoformat(month + "-01"), "LLLL y", locale=self._locale)

    def duration(self, seconds: int | None) -> str:
        """A length of time in its two largest units: 3 d 4 h, 5 min, 12 s."""
        if seconds is None:
            return ABSENT
        days, rest = divmod(max(0, seconds), 86_400)
        hours, rest = divmod(rest, 3600)
        minutes, rest = divmod(rest, 60)
        if days:
            return self.gettext("{days} d {hours} h", days=self.integer(days), hours=hours)
        if hours:
            return self.gettext("{hours} h {minutes} min", hours=hours, minutes=minutes)
        if minutes:
            return self.gettext("{minutes} min", minutes=minutes)
        return self.gettext("{seconds} s", seconds=rest)

    @property
    def _locale(self) -> Locale:
        return Locale.parse(FORMATS[self.language])

    def _decimal(self, amount: int, divisor: int, pattern: str) -> str:
        return format_decimal(Decimal(amount) / divisor, pattern, self._locale)


_MOMENT = {False: "d MMM y, HH:mm", True: "d MMM y, HH:mm:ss"}


def _local(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(zone))


def label_id(member: Enum) -> str:
    """The message that names an enum's member: `relay_state.connected`, `quality.actual`."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(member).__name__).lower()
    return f"{kind}.{member.value if isinstance(member, StrEnum) else member.name.lower()}"


def read_catalogue(path: Traversable, language: Language) -> Catalog:
    """One .po file. Raises `I18nFault` TQ-LN-01 when it is missing or cannot be parsed."""
    try:
        return read_po(BytesIO(path.read_bytes()), locale=language.value, abort_invalid=True)
    except (OSError, PoFileError, ValueError) as error:
        raise I18nFault(
            "TQ-LN-01", f"the catalogue {path.name} cannot be read: {error}", "restore hosting/locale from the release"
        ) from error


def texts(message: Message) -> tuple[str, ...]:
    """The translated forms of a message: one, or one for each plural form; empty where nobody has translated it."""
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ())


def spoken(message: Message) -> bool:
    """Whether a message is translated in all its forms, and by more than a guess."""
    return bool(message.id) and not message.fuzzy and bool(texts(message)) and all(texts(message))


def translations(catalogue: Catalog) -> gettext.GNUTranslations:
    """A catalogue as a look-up table; what is not spoken stays out, so that the fallback speaks."""
    ready = Catalog(locale=catalogue.locale, fuzzy=False)
    for message in catalogue:
        if spoken(message):
            ready.add(message.id, message.string)
    binary = BytesIO()
    write_mo(binary, ready)
    binary.seek(0)
    return gettext.GNUTranslations(binary)


@cache
def translator(language: Language) -> Translator:
    """The speaker of one language with its chain of fallbacks. Read once per process."""
    folder = files("hosting").joinpath("locale")
    messages = translations(read_catalogue(folder.joinpath(f"{language.value}.po"), language))
    behind = FALLBACK[language]
    if behind is not None:
        messages.add_fallback(translator(behind).messages)
    return Translator(language, messages)
