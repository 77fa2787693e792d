"""What a variation is, and what it says the import must make of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from cpro_test_support.siecle_samples.files import PupilEdit, SampleFile, TextEdit
from cpro_test_support.siecle_samples.pupils import SamplePupil


class End(StrEnum):
    """Where the import of a file comes to rest, in the words of its job."""

    COMPLETED = "completed"
    AWAITING = "awaiting_confirmation"
    REFUSED = "failed"


Roster: TypeAlias = Mapping[int, SamplePupil]
"""Pupils by their position in the file."""
Present: TypeAlias = Callable[[Roster, int], Roster]


def as_they_are(pupils: Roster, _: int) -> Roster:
    """Every pupil of the plain file, unchanged."""
    return pupils


def nobody(_: Roster, __: int) -> Roster:
    """Nothing is written."""
    return {}


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of a file with this variation alone, imported into a school that has no pupil yet."""

    end: End = End.COMPLETED
    code: str | None = None
    """Of the refusal, or the reason why it waits."""
    findings: tuple[str, ...] = ()
    """The code of each remark on a line, sorted."""
    present: Present = as_they_are
    """The pupils who are then active in the school, from those of the plain file and the position."""
    told: tuple[str, ...] = ()
    """What the French sentences must name."""

    @property
    def is_benign(self) -> bool:
        """Applied, and nobody has anything to look at."""
        return self.end is End.COMPLETED and not self.findings


@dataclass(frozen=True, slots=True)
class Variation:
    """A way in which schools' files differ from the plain one. `apply` takes the position of the pupil concerned.

    Those that concern two pupils take the next one too.
    """

    name: str
    says: str
    apply: Callable[[SampleFile, int], None]
    expected: Expected


class Written(NamedTuple):
    """What a pupil's row says after the import."""

    siecle_id: str
    ine: str | None
    family_name: str
    usage_name: str | None
    first_name: str
    other_first_names: str | None
    birth_date: date
    sex: str | None
    division: str | None
    entry_date: date | None
    leaving_date: date | None
    leaving_reason: str | None
    previous_uai: str | None
    school_number: str | None
    mef_code: str | None
    status_code: str | None
    boarding_code: str | None
    repeating: bool | None


def written(pupil: SamplePupil) -> Written:
    """The row that this pupil is to have."""
    return Written(
        siecle_id=pupil.siecle_id,
        ine=pupil.ine or pupil.ine_rnie or pupil.ine_bea,
        family_name=pupil.family_name,
        usage_name=pupil.usage_name,
        first_name=pupil.first_name,
        other_first_names=" ".join(pupil.other_first_names) or None,
        birth_date=pupil.birth_date,
        sex=pupil.sex,
        division=pupil.division,
        entry_date=pupil.entry_date,
        leaving_date=pupil.leaving_date,
        leaving_reason=pupil.leaving_reason,
        previous_uai=pupil.previous_uai,
        school_number=pupil.school_number,
        mef_code=pupil.mef_code,
        status_code=pupil.status_code,
        boarding_code=pupil.boarding_code,
        repeating=pupil.repeating,
    )


def of_file(
    name: str, says: str, apply: Callable[[SampleFile, int], None], *, present: Present = as_they_are
) -> Variation:
    """The file is deformed, and still read to its end without a remark."""
    return Variation(name, says, apply, Expected(present=present))


def of_pupil(
    name: str,
    says: str,
    *remarks: str,
    edit: PupilEdit | None = None,
    record: TextEdit | None = None,
    structures: TextEdit | None = None,
    becomes: PupilEdit | None = None,
    gone: bool = False,
    told: tuple[str, ...] = (),
) -> Variation:
    """One pupil's line is deformed.

    Args:
        name: of the variation.
        says: what is the matter, in a few words.
        remarks: the codes that the import remarks on.
        edit: what the file says of the pupil instead.
        record: what is done to the text of the pupil's `ELEVE`.
        structures: the same for `STRUCTURES_ELEVE`.
        becomes: how the pupil is written, where that is not what the file was made to say.
        gone: the pupil is not written at all.
        told: what the sentences must name.
    """

    def apply(file: SampleFile, at: int) -> None:
        if edit is not None:
            file.pupil_edits[at].append(edit)
        if record is not None:
            file.record_edits["ELEVES", at].append(record)
        if structures is not None:
            file.record_edits["STRUCTURES", at].append(structures)

    def present(pupils: Roster, at: int) -> Roster:
        if gone:
            return without(pupils, at)
        change = becomes or edit
        return pupils if change is None else {**pupils, at: change(pupils[at])}

    return Variation(name, says, apply, Expected(findings=tuple(sorted(remarks)), present=present, told=told))


def of_two(
    name: str,
    says: str,
    *remarks: str,
    apply: Callable[[SampleFile, int], None],
    told: tuple[str, ...] = (),
) -> Variation:
    """Two pupils' lines contradict each other: neither is written."""

    def present(pupils: Roster, at: int) -> Roster:
        return without(pupils, at, at + 1)

    return Variation(name, says, apply, Expected(findings=tuple(sorted(remarks)), present=present, told=told))


def without(pupils: Roster, *gone: int) -> Roster:
    """All but those at these positions."""
    return {position: pupil for position, pupil in pupils.items() if position not in gone}


def refused(
    name: str, says: str, code: str, apply: Callable[[SampleFile, int], None], *, told: tuple[str, ...] = ()
) -> Variation:
    """The file is refused as a whole."""
    return Variation(name, says, apply, Expected(End.REFUSED, code, present=nobody, told=told))


def waits(
    name: str, says: str, code: str, apply: Callable[[SampleFile, int], None], *, told: tuple[str, ...] = ()
) -> Variation:
    """The import asks before it does anything."""
    return Variation(name, says, apply, Expected(End.AWAITING, code, present=nobody, told=told))
