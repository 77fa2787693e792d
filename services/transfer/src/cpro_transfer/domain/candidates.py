"""Which pupil of the destination may be the one who is to come. Pure: no clock, no I/O.

Support decides; this only puts the likely ones first, says why each is there, and shows what differs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from cpro_transfer.domain.identity import Identity, are_one_person, names_agree


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an establishment's database says of a pupil."""

    pupil_id: UUID
    identity: Identity
    ine: str | None
    active: bool
    division: str | None = None


class Likeness(StrEnum):
    """Why a pupil is proposed, the best reason first."""

    SAME_INE = "same_ine"
    SAME_NAMES_AND_BIRTH_DATE = "same_names_and_birth_date"
    SAME_BIRTH_DATE = "same_birth_date"
    """And one of the names agrees."""
    SAME_NAMES = "same_names"


class Difference(StrEnum):
    """What the two sheets do not say alike."""

    INE = "ine"
    BIRTH_DATE = "birth_date"
    FAMILY_NAME = "family_name"
    FIRST_NAME = "first_name"
    NOT_PRESENT = "not_present"
    """The pupil is no longer active there: nothing can be moved to them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pupil of the destination, with why and with what differs."""

    sheet: Sheet
    likeness: Likeness
    differs: tuple[Difference, ...]


def rank(leaver: Sheet, found: Iterable[Sheet]) -> list[Candidate]:
    """The candidates among these pupils, the likeliest first. Those who are not like the leaver are left out."""
    candidates = [
        Candidate(sheet, likeness, differences(leaver, sheet))
        for sheet in found
        if (likeness := likeness_of(leaver, sheet)) is not None
    ]
    order = list(Likeness)
    return sorted(
        candidates,
        key=lambda one: (not one.sheet.active, order.index(one.likeness), len(one.differs), str(one.sheet.pupil_id)),
    )


def likeness_of(leaver: Sheet, other: Sheet) -> Likeness | None:
    """Why this pupil may be the leaver, if there is a reason."""
    if leaver.ine is not None and leaver.ine == other.ine:
        return Likeness.SAME_INE
    if are_one_person(leaver.identity, other.identity):
        return Likeness.SAME_NAMES_AND_BIRTH_DATE
    family, first = _families_agree(leaver, other), _first_names_agree(leaver, other)
    if leaver.identity.birth_date == other.identity.birth_date and (family or first):
        return Likeness.SAME_BIRTH_DATE
    return Likeness.SAME_NAMES if family and first else None


def differences(leaver: Sheet, other: Sheet) -> tuple[Difference, ...]:
    """What the sheets do not say alike. An INE that one of them lacks is no difference."""
    unlike = {
        Difference.INE: bool(leaver.ine and other.ine and leaver.ine != other.ine),
        Difference.BIRTH_DATE: leaver.identity.birth_date != other.identity.birth_date,
        Difference.FAMILY_NAME: not _families_agree(leaver, other),
        Difference.FIRST_NAME: not _first_names_agree(leaver, other),
        Difference.NOT_PRESENT: not other.active,
    }
    return tuple(difference for difference, is_so in unlike.items() if is_so)


def _families_agree(one: Sheet, other: Sheet) -> bool:
    return any(
        names_agree(mine, theirs)
        for mine in (one.identity.family_name, one.identity.usage_name)
        for theirs in (other.identity.family_name, other.identity.usage_name)
        if mine and theirs
    )


def _first_names_agree(one: Sheet, other: Sheet) -> bool:
    return names_agree(one.identity.first_name, other.identity.first_name)
