"""Make `docs/glossary.md` from `configs/glossary.json` and the project's own words.

    python -m configs.make_glossary [--data FOLDER]

With --data the collected terms are copied from FOLDER/glossary.json first. A test holds the page to its sources.
"""

import argparse
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "glossary.md"


def page() -> str:
    """The glossary as it should stand in docs."""
    words = tomllib.loads((HERE / "words.toml").read_text("utf-8"))
    terms = json.loads((HERE / "glossary.json").read_text("utf-8"))["terms"]
    parts = ["# Glossary\n\n", words["about"].strip(), "\n"]
    for section in words["section"]:
        parts.append(f"\n## {section['title']}\n\n")
        if "about" in section:
            parts.append(section["about"].strip() + "\n\n")
        parts.append("| word | meaning here | never |\n|---|---|---|\n")
        parts += [f"| **{word['word']}** | {word['means']} | {word.get('never', '')} |\n" for word in section["word"]]
    parts += ["\n## In four languages\n\n", words["about_terms"].strip(), "\n\n", table(terms)]
    return "".join(parts)


def table(terms: list[Mapping[str, Any]]) -> str:
    """The collected terms in the order of their English."""
    rows = sorted(terms, key=lambda term: str(term["en"]).lower())
    head = "| English | oʻzbekcha | ўзбекча | русский |\n|---|---|---|---|\n"
    return head + "".join(f"| {t['en']} | {t['uz_Latn']} | {t['uz_Cyrl']} | {t['ru']} |\n" for t in rows)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="make docs/glossary.md")
    parser.add_argument("--data", type=Path, help="folder with a newer glossary.json")
    data: Path | None = parser.parse_args().data
    if data is not None:
        (HERE / "glossary.json").write_bytes((data / "glossary.json").read_bytes())
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
