"""Keep the four catalogues in step with the sources. Hosting floor; run by a developer: `make i18n`.

    python -m hosting.catalogues update     merge new messages into hosting/locale/*.po, drop those no longer used
    python -m hosting.catalogues check      name what is missing (exit 1 when a complete language lacks something)

After `update`, translate the empty `msgstr` lines. English fills itself where the message is already English; only
labels of enums (`reason.no_debt`) want words there. Uzbek in Cyrillic fills itself from Latin by the rule of the
alphabets (`hosting/uzbek_script.py`) where nobody has written it. `COMPLETE` languages must lack nothing; the others
fall back.
"""

import importlib
import sys
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from enum import Enum
from io import BytesIO
from pathlib import Path
from string import Formatter
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from hosting.i18n import Language, label_id, read_catalogue, spoken, texts
from hosting.uzbek_script import cyrillic

HOUSE = Path(__file__).parent.parent
LOCALE = Path(__file__).parent / "locale"
COMPLETE = (Language.EN, Language.UZ_LATN)
SPEAKING = ("gridmodel", "protocols", "hosting", "edge_node", "central_sync")
"""Folders whose sources and templates are searched for messages."""
METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract"), ("**.txt.j2", "jinja2.ext:babel_extract")]
LABELLED = (
    ("gridmodel.absence", "Absence"),
    ("gridmodel.account", "EntryKind"),
    ("gridmodel.balance", "LossUnknown"),
    ("gridmodel.clock", "ClockDoubt"),
    ("gridmodel.clock", "ClockTrust"),
    ("gridmodel.control", "Cause"),
    ("gridmodel.control", "RelayEvent"),
    ("gridmodel.control", "RelayState"),
    ("gridmodel.event", "AlarmKind"),
    ("gridmodel.field_merge", "WorkState"),
    ("gridmodel.field_work", "LifeState"),
    ("gridmodel.field_work", "WorkKind"),
    ("gridmodel.network", "ConsumerClass"),
    ("gridmodel.network", "SupplyPointKind"),
    ("gridmodel.period", "Period"),
    ("gridmodel.policy", "Action"),
    ("gridmodel.policy", "Reason"),
    ("gridmodel.policy", "Remedy"),
    ("gridmodel.reading", "Channel"),
    ("gridmodel.reading", "Mark"),
    ("gridmodel.reading", "Quality"),
    ("gridmodel.reading", "Estimation"),
    ("gridmodel.record", "NoticeEvidence"),
    ("gridmodel.record", "ProtectionKind"),
    ("edge_node.store.operations", "Outcome"),
    ("central_sync.balance.reading", "Level"),
    ("central_sync.situation.nodes", "NodeState"),
)
"""Enums whose members a face says in words."""
MADE = datetime(2026, 1, 1, tzinfo=UTC)
"""The date in the headers: fixed, so that an update without news changes no byte."""
HEADER = "# Tarmoq: messages of its pages, receipts and notices. Merged by `python -m hosting.catalogues update`."


def label_messages() -> Iterator[str]:
    """The messages of every labelled enum's members."""
    for module, name in LABELLED:
        members: type[Enum] = getattr(importlib.import_module(module), name)
        yield from (label_id(member) for member in members)


def template() -> Catalog:
    """All messages the sources use, untranslated."""
    catalogue = Catalog(project="tarmoq", charset="utf-8", fuzzy=False)
    for folder in SPEAKING:
        options = {"**.html": {"silent": "false", "trimmed": "true"}}
        for name, _, message, comments, _ in extract_from_dir(
            HOUSE / folder, METHODS, options, comment_tags=("i18n:",)
        ):
            catalogue.add(message, locations=[(f"{folder}/{name}", 0)], auto_comments=comments)
    for message in label_messages():
        catalogue.add(message, locations=[("gridmodel", 0)])
    return catalogue


def identity(message: Message) -> str | tuple[str, ...]:
    """The id of a message: one text, or singular and plural."""
    return message.id if isinstance(message.id, str) else tuple(message.id)


def placeholders(text: str) -> set[str]:
    """Names in braces. Raises ValueError for anything but a plain name: attributes, indexes, conversions, formats."""
    found = set()
    for _, name, form, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"not a plain placeholder: {name!r} in {text!r}")
        found.add(name)
    return found


def missing(language: Language, wanted: Catalog) -> list[str]:
    """Messages that `wanted` has and the language's catalogue does not say."""
    have = {
        identity(message): message
        for message in read_catalogue(LOCALE / f"{language.value}.po", language)
        if message.id
    }
    lacking = []
    for message in wanted:
        key = identity(message)
        if key and (key not in have or not spoken(have[key])):
            lacking.append(key if isinstance(key, str) else key[0])
    return lacking


def updated(language: Language, wanted: Catalog) -> bytes:
    """The language's catalogue with exactly the messages of `wanted`, as .po text."""
    catalogue = read_catalogue(LOCALE / f"{language.value}.po", language)
    catalogue.update(deepcopy(wanted), no_fuzzy_matching=True)  # it would share the message objects
    catalogue.obsolete.clear()
    catalogue.header_comment = HEADER
    catalogue.project, catalogue.version = "tarmoq", "0"
    catalogue.creation_date = catalogue.revision_date = MADE
    catalogue.last_translator = catalogue.language_team = "Tarmoq"
    catalogue.fuzzy = False
    source = _own_words(language, wanted)
    for message in catalogue:
        if message.id and not any(texts(message)):
            message.string = source.get(identity(message), message.string)
    text = BytesIO()
    write_po(text, catalogue, width=120, sort_output=True, include_lineno=False, omit_header=False)
    return text.getvalue()


def _own_words(language: Language, wanted: Catalog) -> dict[str | tuple[str, ...], Any]:
    """What a language can say without a translator."""
    if language is Language.UZ_CYRL:
        latin = read_catalogue(LOCALE / f"{Language.UZ_LATN.value}.po", Language.UZ_LATN)
        return {
            identity(message): tuple(map(cyrillic, texts(message)))
            if message.pluralizable
            else cyrillic(texts(message)[0])
            for message in latin
            if spoken(message)
        }
    if language is Language.EN:
        labels = set(label_messages())
        return {identity(message): message.id for message in wanted if message.id and message.id not in labels}
    return {}


def update() -> None:
    """Merge the sources' messages into the four files."""
    wanted = template()
    for language in Language:
        (LOCALE / f"{language.value}.po").write_bytes(updated(language, wanted))


def report() -> int:
    """Say on stderr what is missing; the number of gaps in complete languages."""
    wanted = template()
    gaps = 0
    for language in Language:
        lacking = missing(language, wanted)
        gaps += len(lacking) if language in COMPLETE else 0
        sys.stderr.write(f"{language.value}: {len(lacking)} of {len(wanted)} missing\n")
        sys.stderr.writelines(f"    {message}\n" for message in lacking)
    return gaps


def main() -> int:
    """Run a command; the exit code."""
    if sys.argv[1:] == ["update"]:
        update()
        report()
        return 0
    if sys.argv[1:] == ["check"]:
        return 1 if report() else 0
    sys.stderr.write("usage: python -m hosting.catalogues update|check\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
