"""Uzbek in Cyrillic letters from Uzbek in Latin letters. Hosting floor; the catalogues stand on it.

The rule of the official alphabets, letter by letter. Words of foreign origin break it (ц, щ, ь): a translator's own
text always wins, this only fills what nobody has written yet. Names in braces are left alone.
"""

import re

_PAIRS = {"oʻ": "ў", "gʻ": "ғ", "sh": "ш", "ch": "ч", "yo": "ё", "yu": "ю", "ya": "я", "ye": "е"}
_SINGLE = dict(zip("abdefghijklmnopqrstuvxyzʼ", "абдефгҳижклмнопқрстувхйзъ", strict=True))
_VOWELS = frozenset("aeiou")
_LETTER = re.compile(r"\{[^}]*\}|oʻ|gʻ|sh|ch|yo(?!ʻ)|yu|ya|ye|[a-zʼ]", re.IGNORECASE)


def cyrillic(latin: str) -> str:
    """`latin` in Cyrillic letters: oʻ gʻ with U+02BB, the tutuq belgisi as U+02BC."""

    def letter(match: re.Match[str]) -> str:
        text = match.group()
        if text.startswith("{"):
            return text
        small = text.lower()
        before = latin[match.start() - 1].lower() if match.start() else " "
        if small == "e" and (not before.isalpha() or before in _VOWELS or before == "ʻ"):
            new = "э"
        else:
            new = _PAIRS.get(small) or _SINGLE.get(small, text)
        return new.upper() if text[0].isupper() else new

    return _LETTER.sub(letter, latin)


_MARKS = {ord(mark): None for mark in "ʻʼ'`‘’ʹ"}
_FOLDED = {
    **{new: old for old, new in _SINGLE.items() if old != "ʼ"},
    **{new: old for old, new in _PAIRS.items()},
    "э": "e", "ц": "s", "щ": "sh", "ы": "i", "ъ": "", "ь": "", "ў": "o", "ғ": "g",
}  # fmt: skip
_FOLDING = str.maketrans(_FOLDED)


def folded(text: str) -> str:
    """`text` for searching: small Latin letters whatever the script, without the marks of oʻ, gʻ and the tutuq belgisi.

    "Қарши кўчаси" and "Qarshi koʻchasi" become the same; nothing is shown in this form.
    """
    return text.casefold().translate(_FOLDING).translate(_MARKS)
