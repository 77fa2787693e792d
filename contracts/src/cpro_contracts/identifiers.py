"""National identifiers of establishments (UAI) and pupils (INE), and the pseudonym under which pupils are joined.

Pure: pydantic and the standard library only. The rules are those of the SIECLE specification, and, where there is no
official source (the RNIE key), those found from data; `docs/explanation/identifiers.md` says which is which.
"""

import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, NamedTuple, NewType
from uuid import UUID

from pydantic import AfterValidator, WithJsonSchema

_KEY_ALPHABET = "ABCDEFGHJKLMNPRSTUVWXYZ"
_UAI_FORM = re.compile(r"[0-9]{7}[A-Z]")
_BEA_FORM = re.compile(r"[0-9]{10}[A-Z]")
_RNIE_FORM = re.compile(r"[0-9]{9}[A-Z]{2}")
_APPRENTICE_FORM = re.compile(r"[0-9]{4}A[0-9]{5}[A-Z]")
_UNIVERSITY_FORM = re.compile(r"[0-9A-Z]{10}[0-9]")
_RNIE_LETTERS = "ABCDEFGHJK"
_RNIE_KEYS = tuple(_RNIE_LETTERS[(97 - rest) // 10] + _RNIE_LETTERS[(97 - rest) % 10] for rest in range(97))


class MalformedUaiError(ValueError):
    """This is not a UAI: seven digits, then the letter that the digits call for."""


@lru_cache(maxsize=20_000)
def parse_uai(text: str) -> str:
    """The UAI in its normal form (stripped, upper case). The same ten thousand come again with every event.

    Raises:
        MalformedUaiError: the form is wrong, or the letter is not the key of the digits.
    """
    uai = text.strip().upper()
    if not _UAI_FORM.fullmatch(uai) or uai[7] != uai_key(int(uai[:7])):
        raise MalformedUaiError(text)
    return uai


def uai_key(number: int) -> str:
    """The key letter of a UAI or an INE-BEA number: a 23-letter alphabet, number modulo 23."""
    return _KEY_ALPHABET[number % 23]


Uai = Annotated[
    str,
    AfterValidator(parse_uai),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{7}[A-Z]$", "examples": ["0752387M"]}),
]
"""The national code of an establishment (UAI, formerly RNE)."""

PupilId = NewType("PupilId", UUID)
"""The key of a pupil inside one establishment's database."""


class IneKind(StrEnum):
    """The families of INE, told apart by their form."""

    BEA = "bea"
    RNIE = "rnie"
    APPRENTICE = "apprentice"
    UNIVERSITY = "university"


class Ine(NamedTuple):
    """A well-formed national pupil number. `key_holds` is False where the control key contradicts the number."""

    value: str
    kind: IneKind
    key_holds: bool


def parse_ine(text: str | None) -> Ine | None:
    """The INE read from `text`, or None where `text` has the form of none of its families.

    Spaces around it are dropped and letters upper-cased. The apprentices' key is unknown: the form is enough.
    """
    value = (text or "").strip().upper()
    if _RNIE_FORM.fullmatch(value):
        return Ine(value, IneKind.RNIE, value[9:] == rnie_key(value[:9]))
    if _BEA_FORM.fullmatch(value):
        return Ine(value, IneKind.BEA, value[10] == uai_key(int(value[:10])))
    if _APPRENTICE_FORM.fullmatch(value):
        return Ine(value, IneKind.APPRENTICE, True)
    if _UNIVERSITY_FORM.fullmatch(value):
        return Ine(value, IneKind.UNIVERSITY, int(value[:10], 36) % 10 == int(value[10]))
    return None


def rnie_key(digits: str) -> str:
    """The two key letters of nine INE-RNIE digits: 97 minus the number modulo 97, its digits written as letters."""
    return _RNIE_KEYS[int(digits) % 97]


class IneStatus(StrEnum):
    """Whether a pupil's INE can be joined on."""

    TRUSTED = "trusted"
    ABSENT = "absent"
    NOT_TRUSTED = "not_trusted"
    """Malformed, with a wrong key, given to two pupils of one file, or held by another pupil of the establishment."""


@dataclass(frozen=True, slots=True)
class MatchSecret:
    """The secret that turns an INE into a pseudonym, and the version that says which secret it was."""

    version: int
    key: bytes


INE_KEY_PREFIX = "ine:"
PUPIL_KEY_PREFIX = "pupil:"
AUTHORISATION_KEY_PREFIX = "authorisation:"


def match_key_of_ine(ine: str, secret: MatchSecret) -> str:
    """`ine:<version>:<HMAC-SHA256>`: the same pupil in two establishments gets the same key, and no topic an INE."""
    digest = hmac.digest(secret.key, ine.encode("ascii"), "sha256").hex()
    return f"{INE_KEY_PREFIX}{secret.version}:{digest}"


def match_key_of_pupil(uai: str, pupil_id: UUID) -> str:
    """`pupil:<UAI>:<pupil id>`: of a pupil without an INE that can be trusted. By construction never joined."""
    return f"{PUPIL_KEY_PREFIX}{uai}:{pupil_id}"


def match_key_of_authorisation(authorisation_id: UUID) -> str:
    """`authorisation:<id>`: of a support replay, which the ordinary join then serves."""
    return f"{AUTHORISATION_KEY_PREFIX}{authorisation_id}"


def is_joined(match_key: str) -> bool:
    """Whether enrolments under this match key may be joined across establishments."""
    return not match_key.startswith(PUPIL_KEY_PREFIX)
