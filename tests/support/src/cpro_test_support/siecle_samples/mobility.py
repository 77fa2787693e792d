"""A set of schools over successive exports: who leaves, who arrives from where, and what is corrected meanwhile.

From one seed, the same for ever. A pupil who goes from one school of the set to another is one person in two files, as
in life: the INE stays, the ELEVE_ID often not, the origin says it with a leaving date or just no longer, and the
destination mostly knows where the pupil comes from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import islice
from random import Random
from typing import TypeVar, Unpack

from cpro_contracts.identifiers import uai_key
from cpro_test_support.siecle_samples.files import EXPORTED_AT, PARIS, FileOptions, SampleFile
from cpro_test_support.siecle_samples.pupils import SamplePupil, division_name, generate_pupils

_CLASS_OF = 28
_LEAVING_REASONS = ("06", "11", "16", "20")
_FIRST_SCHOOL = 9_980_000
"""No department has this number."""
_MORE_THAN_EVER = 10**9
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mobility:
    """Shares. Those of pupils are of a school's present pupils, from one export to the next."""

    leaving: float = 0.10
    """Pupils who leave; about as many arrive."""
    within_the_set: float = 0.80
    """Of those who leave, who goes to another school of the set."""
    with_leaving_date: float = 0.70
    """Of those who leave, whose line says so; the others are no longer in the file."""
    with_last_school: float = 0.85
    """Of those who arrive, whose line names the school that they come from."""
    created_again: float = 0.50
    """Of those who arrive at a school where they never were, who gets another ELEVE_ID."""
    returning: float = 0.05
    """Of those who left the set in an earlier round, who comes back to the school that they left."""
    changing_class: float = 0.03
    changing_name: float = 0.01
    without_ine: float = 0.03
    """Pupils whose INE no file gives yet."""
    with_mistaken_ine: float = 0.005
    """Pupils whose first file gives another number than theirs."""
    numbers_put_right: float = 0.30
    """Of the two kinds before, whose number the next file gives."""


class ChangeKind(StrEnum):
    """What happened to a pupil between two exports."""

    LEFT = "left"
    ARRIVED = "arrived"
    RETURNED = "returned"
    CLASS_CHANGED = "class_changed"
    NAME_CHANGED = "name_changed"
    INE_COMPLETED = "ine_completed"
    INE_CORRECTED = "ine_corrected"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened at one school. `other_uai` is where an arriver comes from or a leaver goes to."""

    kind: ChangeKind
    uai: str
    siecle_id: str
    other_uai: str | None = None


@dataclass(frozen=True, slots=True)
class SchoolExport:
    """What one school exports in one round."""

    uai: str
    pupils: tuple[SamplePupil, ...]

    def file(self, **options: Unpack[FileOptions]) -> SampleFile:
        """The export, to be written."""
        return SampleFile(self.uai, lambda: self.pupils, **options)


@dataclass(frozen=True, slots=True)
class Round:
    """The exports of all schools at one time, and what happened since the round before."""

    exported_at: datetime
    exports: tuple[SchoolExport, ...]
    changes: tuple[Change, ...]


def academy(
    schools: int,
    pupils: int,
    seed: int,
    *,
    mobility: Mobility | None = None,
    rounds: int = 2,
    school_year: int = 2026,
    first_export: datetime = EXPORTED_AT,
    days_between: int = 21,
    uais: Sequence[str] | None = None,
) -> Iterator[Round]:
    """The exports of a set of schools, round after round.

    Args:
        schools: how many schools.
        pupils: how many pupils each has at first.
        seed: below 500; the same seed gives the same rounds.
        mobility: how much changes from one round to the next.
        rounds: how many exports each school makes.
        school_year: of all exports.
        first_export: aware.
        days_between: from one export to the next.
        uais: of the schools; invented where they are not given.
    """
    newcomers = generate_pupils(_MORE_THAN_EVER, seed, school_year=school_year)
    moving = _Moving(Random(seed), mobility or Mobility(), newcomers)
    named = uais or [f"{number}{uai_key(number)}" for number in range(_FIRST_SCHOOL, _FIRST_SCHOOL + schools)]
    moving.open_schools(named[:schools], pupils)
    moment = first_export
    yield moving.round(moment)
    for _ in range(1, rounds):
        moment += timedelta(days=days_between)
        moving.live_until(moment, days_between)
        yield moving.round(moment)


@dataclass(slots=True)
class _School:
    uai: str
    size: int
    lines: dict[str, SamplePupil] = field(default_factory=dict)
    """The file, by ELEVE_ID, leavers with a date included."""
    present: dict[str, None] = field(default_factory=dict)
    """ELEVE_IDs in the order of arrival."""
    known: dict[str, str] = field(default_factory=dict)
    """The ELEVE_ID of everyone who was ever here, by their true INE: a school that has the record takes it up again."""
    numbers_given: int = 0

    def takes(self, pupil: SamplePupil, true_ine: str) -> None:
        """The pupil is there from now on, under a school number of their own."""
        self.known[true_ine] = pupil.siecle_id
        self.lines[pupil.siecle_id] = replace(pupil, school_number=str(100 + self.numbers_given))
        self.present[pupil.siecle_id] = None
        self.numbers_given += 1

    def any_division(self, random: Random) -> str:
        return division_name(random.randrange(max(1, self.size // _CLASS_OF)))


class _Moving:
    """The schools, and what happens in them between two exports."""

    def __init__(self, random: Random, mobility: Mobility, newcomers: Iterator[SamplePupil]) -> None:
        self._random = random
        self._mobility = mobility
        self._newcomers = newcomers
        self._schools: list[_School] = []
        self._true_ine: dict[str, str] = {}
        """By ELEVE_ID, of those whose file gives no number or a mistaken one."""
        self._out: list[tuple[_School, SamplePupil]] = []
        """Who left the set, and from where."""
        self._changes: list[Change] = []

    def open_schools(self, uais: Sequence[str], pupils: int) -> None:
        for uai in uais:
            school = _School(uai, size=pupils)
            for index, pupil in enumerate(islice(self._newcomers, pupils)):
                placed = self._as_first_known(replace(pupil, division=division_name(index // _CLASS_OF)))
                school.takes(placed, self._true_ine_of(placed))
            self._schools.append(school)

    def round(self, moment: datetime) -> Round:
        exports = tuple(SchoolExport(school.uai, tuple(school.lines.values())) for school in self._schools)
        changes, self._changes = tuple(self._changes), []
        return Round(moment, exports, changes)

    def live_until(self, moment: datetime, days: int) -> None:
        """All that happens in the days before the export of this moment."""
        last_day = moment.astimezone(PARIS).date()
        returning = self._some(self._out, self._mobility.returning)
        leaving = [
            (school, siecle_id)
            for school in self._schools
            for siecle_id in self._some(list(school.present), self._mobility.leaving)
        ]
        for school, siecle_id in leaving:
            self._leave(school, siecle_id, last_day - timedelta(days=self._random.randrange(days)))
        for school, pupil in returning:
            self._out.remove((school, pupil))
            self._take(ChangeKind.RETURNED, school, pupil, last_day, None)
        for school in self._schools:
            for _ in range(school.size - len(school.present)):
                self._take(ChangeKind.ARRIVED, school, self._as_first_known(next(self._newcomers)), last_day, None)
            for siecle_id in list(school.present):
                self._put_right(school, siecle_id)

    def _leave(self, school: _School, siecle_id: str, on: date) -> None:
        pupil = school.lines.pop(siecle_id)
        del school.present[siecle_id]
        destination = self._destination(school)
        if self._happens(self._mobility.with_leaving_date):
            on = max(on, pupil.entry_date or on)
            school.lines[siecle_id] = pupil.leaves(on, self._random.choice(_LEAVING_REASONS))
        self._note(ChangeKind.LEFT, school, siecle_id, destination.uai if destination else None)
        if destination is None:
            self._out.append((school, pupil))
        else:
            self._take(ChangeKind.ARRIVED, destination, pupil, on, school.uai)

    def _destination(self, origin: _School) -> _School | None:
        if len(self._schools) == 1 or not self._happens(self._mobility.within_the_set):
            return None
        chosen = self._schools[self._random.randrange(len(self._schools) - 1)]
        return self._schools[-1] if chosen is origin else chosen

    def _take(self, kind: ChangeKind, school: _School, pupil: SamplePupil, on: date, origin: str | None) -> None:
        true_ine = self._true_ine_of(pupil)
        siecle_id = school.known.get(true_ine, pupil.siecle_id)
        if origin is not None and true_ine not in school.known and self._happens(self._mobility.created_again):
            siecle_id = next(self._newcomers).siecle_id
        if pupil.siecle_id in self._true_ine:
            self._true_ine[siecle_id] = self._true_ine.pop(pupil.siecle_id)
        known_origin = origin if self._happens(self._mobility.with_last_school) else None
        arrived = pupil.arrives(siecle_id, school.any_division(self._random), previous_uai=known_origin)
        school.lines.pop(siecle_id, None)
        school.takes(replace(arrived, entry_date=on), true_ine)
        self._note(kind, school, siecle_id, origin)

    def _put_right(self, school: _School, siecle_id: str) -> None:
        """What the school corrects in the line of a pupil who is there."""
        before = school.lines[siecle_id]
        pupil = before
        if siecle_id in self._true_ine and self._happens(self._mobility.numbers_put_right):
            kind = ChangeKind.INE_COMPLETED if pupil.ine is None else ChangeKind.INE_CORRECTED
            pupil = replace(pupil, ine=self._true_ine.pop(siecle_id))
            self._note(kind, school, siecle_id)
        if self._happens(self._mobility.changing_class):
            pupil = replace(pupil, division=school.any_division(self._random))
            if pupil.division != before.division:
                self._note(ChangeKind.CLASS_CHANGED, school, siecle_id)
        if self._happens(self._mobility.changing_name):
            pupil = replace(pupil, usage_name=next(self._newcomers).family_name)
            if pupil.usage_name != before.usage_name:
                self._note(ChangeKind.NAME_CHANGED, school, siecle_id)
        school.lines[siecle_id] = pupil

    def _as_first_known(self, pupil: SamplePupil) -> SamplePupil:
        """Some numbers are missing at first, and a few are mistaken."""
        assert pupil.ine is not None
        chance, missing = self._random.random(), self._mobility.without_ine
        if chance >= missing + self._mobility.with_mistaken_ine:
            return pupil
        self._true_ine[pupil.siecle_id] = pupil.ine
        return replace(pupil, ine=None if chance < missing else next(self._newcomers).ine)

    def _true_ine_of(self, pupil: SamplePupil) -> str:
        return self._true_ine.get(pupil.siecle_id) or pupil.ine or ""

    def _note(self, kind: ChangeKind, school: _School, siecle_id: str, other_uai: str | None = None) -> None:
        self._changes.append(Change(kind, school.uai, siecle_id, other_uai))

    def _happens(self, share: float) -> bool:
        return self._random.random() < share

    def _some(self, candidates: Sequence[_T], share: float) -> list[_T]:
        return [candidate for candidate in candidates if self._happens(share)]
