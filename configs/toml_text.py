"""TOML as text, for the scripts that make configuration (the standard library reads TOML and does not write it).

Not a floor of the house: run by a developer, imported by no product code.
"""

import json
from collections.abc import Mapping, Sequence

Scalar = str | int | float | bool
Value = Scalar | Sequence[Scalar]


def value_text(value: Value) -> str:
    """One TOML value. Text is escaped as JSON is, which TOML basic strings allow; floats keep their shortest form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return repr(value)
    return "[" + ", ".join(value_text(item) for item in value) + "]"


def pairs_text(pairs: Mapping[str, Value | None]) -> str:
    """`key = value` lines; None leaves the key out, because an absent key is TOML's null."""
    return "".join(f"{key} = {value_text(value)}\n" for key, value in pairs.items() if value is not None)


def comment_text(text: str, width: int = 110) -> str:
    """`text` as comment lines no longer than `width`."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append("# " + word)
    return "".join(line + "\n" for line in lines)
