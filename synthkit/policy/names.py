"""Names that people tell apart by eye: two that look the same must not mean different things."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

LONGEST = 200  # characters, as in the ledger

# Scripts that are written together in one word (Unicode TS 39, "highly restrictive", without its Latin).
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}

# Small letters of other scripts that look like Latin ones, and what they look like.
_ALIKE = str.maketrans(
    "авгеѕзіјкмнопрстухһԁԛԝӏ" "αβγεηικνορτυχω" "օոսհցզ" "ɑɡıɩʟ",
    "abresзijkmhonpctyxhdqwl" "abyenikvoptuxw" "onuhgq" "agiil",
)  # fmt: skip


def trouble(name: str, *, symbols: str | None = "-_.") -> str | None:
    """What is wrong with a name, in words that follow it; None where it is fine.

    Letters, marks and digits of one script are fine (Latin beside Chinese, Japanese or Korean, too).

    Args:
        name: as written.
        symbols: what else may stand in it; None: any visible sign but ``*``, and single spaces.
    """
    if not name:
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name)} characters; at most {LONGEST}"
    if name != name.strip():
        return "begins or ends with a blank"
    for character in name:
        category = unicodedata.category(character)
        if category[0] in "LMN" or character in (symbols or ""):
            continue
        if symbols is None and (character == " " or category[0] in "PS") and character != "*":
            continue
        return f"holds a character that no name may have (U+{ord(character):04X}); write letters, digits, -, _ or ."
    if "  " in name:
        return "holds two blanks in a row"
    if unicodedata.normalize("NFKC", name) != name:
        return "holds characters that only look like others (wide, joined or decomposed); write the plain ones"
    scripts = {unicodedata.name(character, "?").split()[0] for character in name if character.isalpha()}
    western = scripts - _EAST_ASIAN
    if len(western) > 1 or (western - {"LATIN"} and scripts & _EAST_ASIAN):
        return f"mixes scripts ({', '.join(sorted(scripts)).lower()}), so that it can look like another name"
    return None


@lru_cache(maxsize=4096)
def folded(name: str) -> str:
    """A spelling that names share if they are easily taken for each other: no case, accents, signs or look-alikes."""
    plain = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", name).casefold())
    letters = "".join(
        character if character.isalnum() or character == "*" else "-"
        for character in plain
        if unicodedata.category(character) not in ("Mn", "Cf")
    )
    return letters.translate(_ALIKE)


__all__ = ["LONGEST", "folded", "trouble"]
