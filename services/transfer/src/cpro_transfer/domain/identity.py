"""Decide whether two sheets are of one person. An INE alone never moves data (SIECLE specification: the ministry warns
that one is sometimes given to another pupil).

Birth dates must be equal. Names are compared as letters only: no accents, case, hyphens, apostrophes or particles.
Family and usage names count alike. Two names are near enough when one is contained in the other word by word ("Marie"
and "Marie Louise"), or when their similarity (Ratcliff-Obershelp, 0 to 1) is at least `NEAR_ENOUGH`.
"""

import unicodedata
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher

NEAR_ENOUGH = 0.75
_PARTICLES = frozenset({"DE", "DU", "DES", "D", "LE", "LA", "LES", "L", "VAN", "VON", "EL", "AL", "BEN", "DA", "DOS"})
_LIGATURES = {"Œ": "OE", "Æ": "AE", "ß": "SS", "ẞ": "SS", "Ø": "O", "Ł": "L"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What a pupil's sheet says of who the pupil is."""

    birth_date: date
    family_name: str
    usage_name: str | None
    first_name: str


def are_one_person(one: Identity, other: Identity) -> bool:
    """Whether both sheets may be of one person: same birth date, family (or usage) and first names near enough."""
    if one.birth_date != other.birth_date:
        return False
    families = (
        names_agree(mine, theirs)
        for mine in (one.family_name, one.usage_name)
        for theirs in (other.family_name, other.usage_name)
        if mine and theirs
    )
    return any(families) and names_agree(one.first_name, other.first_name)


def names_agree(one: str, other: str) -> bool:
    """Whether two names are near enough to be one name written twice."""
    mine, theirs = _words(one), _words(other)
    if not mine or not theirs:
        return False
    if mine == theirs or set(mine) <= set(theirs) or set(theirs) <= set(mine):
        return True
    return SequenceMatcher(None, "".join(mine), "".join(theirs), autojunk=False).ratio() >= NEAR_ENOUGH


def _words(name: str) -> tuple[str, ...]:
    upper = "".join(_LIGATURES.get(letter, letter) for letter in name.upper())
    plain = unicodedata.normalize("NFD", upper)
    spaced = "".join(letter if letter.isalpha() else "" if unicodedata.combining(letter) else " " for letter in plain)
    words = spaced.split()
    return tuple(word for word in words if word not in _PARTICLES) or tuple(words)
