"""Every way in which schools' files differ, through the reader and the rules: each ends as its variation says."""

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cpro_contracts.identifiers import IneStatus
from cpro_siecle_import.adapters.packaging import ExpansionLimits, opened_export
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_siecle_import.domain.export import accept, school_year_of
from cpro_siecle_import.domain.guard import GuardLimits, PlannedEffect, reasons_to_stop
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine
from cpro_siecle_import.domain.plan import Kind, KnownPupil, plan
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_test_support.depth import examples
from cpro_test_support.siecle_samples import SampleFile, SamplePupil, generate_pupils
from cpro_test_support.siecle_samples.variations import (
    ALL,
    End,
    Variation,
    Written,
    positions,
    vary,
    written,
)

UAI = "0752387M"
RECEIVED = datetime(2026, 9, 16, 9, 0)  # noqa: DTZ001 - the school's local time, as files have it
ROSTER = list(generate_pupils(12, 3, with_bea_ratio=0.2))
AS_THE_PLAIN_ONE = {"iso-8859-15"}
# The one undoes the other, or takes away what it needs.
NOT_TOGETHER = (
    {"letters-of-iso-8859-15", "iso-8859-1"},
    {"malformed-last-year", "full-records"},
    {"legacy-name-too", "legacy-names"},
)
KNOWN = [
    KnownPupil(
        id=UUID(int=rank + 1),
        rank=rank,
        siecle_id=pupil.siecle_id,
        ine=pupil.ine,
        ine_status=IneStatus.TRUSTED,
        aliases=frozenset(),
        family_name=pupil.family_name,
        first_name=pupil.first_name,
        birth_date=pupil.birth_date,
        active=True,
        from_siecle=True,
    )
    for rank, pupil in enumerate(ROSTER)
]
READ_TO_THE_END = [variation for variation in ALL if variation.expected.end is End.COMPLETED]
BENIGN = [variation for variation in ALL if variation.expected.is_benign]


def varied(variations: Iterable[Variation], roster: Sequence[SamplePupil] = ROSTER) -> bytes:
    return vary(SampleFile(UAI, lambda: roster), variations).packed()


def imported(content: bytes) -> tuple[End, str | None, set[str], dict[str, Written]]:
    """What the rules make of a file that is the first one of its school: the end, its code, remarks, who is present."""
    try:
        lines, divisions, reference = _read(content)
    except FileRefusedError as refused:
        return End.REFUSED, refused.code, set(), {}
    if isinstance(reference, str):
        return End.AWAITING, reference, set(), {}
    planned = plan([], lines, divisions, reference.date())
    by_id = {line.siecle_id: line for line in lines}
    classes: dict[str | None, set[str]] = {}
    for place in divisions:
        classes.setdefault(place.siecle_id, set()).update(place.divisions)
    found: dict[str, Written] = {}
    for outcome in planned.outcomes:
        assert (outcome.kind, outcome.pupil_id) == (Kind.CREATED, None)
        line = by_id[outcome.siecle_id]
        own = classes[outcome.siecle_id]
        said = line._asdict() | {"ine": outcome.ine, "division": next(iter(own)) if len(own) == 1 else None}
        row = Written(**{name: said[name] for name in Written._fields})
        found[row.siecle_id] = row
    return End.COMPLETED, None, {code for code, _ in planned.remarks}, found


def _read(content: bytes) -> tuple[list[PupilLine], list[DivisionLine], datetime | str]:
    """The lines, and the moment that presence is judged at, or why the import would wait."""
    lines: list[PupilLine] = []
    divisions: list[DivisionLine] = []
    with opened_export(io.BytesIO(content), ExpansionLimits()) as stream:
        reader = SiecleReader(stream)
        for batch in reader.batches():
            lines += batch.pupils
            divisions += batch.divisions
    export = accept(reader.header, expected_uai=UAI, received_on=RECEIVED)
    reasons = reasons_to_stop(
        PlannedEffect(0, 0, 0),
        GuardLimits(),
        first_of_school_year=True,
        other_school_year=export.school_year != school_year_of(RECEIVED.date()),
        preview=False,
    )
    if reasons:
        return lines, divisions, str(reasons[0])
    return lines, divisions, datetime.combine(export.reference_date, datetime.min.time())


def rows(pupils: Mapping[int, SamplePupil]) -> dict[str, Written]:
    return {pupil.siecle_id: written(pupil) for pupil in pupils.values()}


@pytest.mark.parametrize("variation", ALL, ids=lambda variation: variation.name)
def test_a_variation_ends_as_it_says(variation: Variation) -> None:
    expected = variation.expected

    found = imported(varied([variation]))

    assert found == (
        expected.end,
        expected.code,
        set(expected.findings),
        rows(expected.present(dict(enumerate(ROSTER)), 0)),
    )


@pytest.mark.parametrize("variation", READ_TO_THE_END, ids=lambda variation: variation.name)
def test_a_variation_never_makes_a_second_pupil_of_one_who_is_known(variation: Variation) -> None:
    lines, divisions, reference = _read(varied([variation]))
    assert isinstance(reference, datetime)
    stay = variation.expected.present(dict(enumerate(ROSTER)), 0)
    has_left = {KNOWN[position].id for position in range(len(ROSTER)) if position not in stay}

    planned = plan(KNOWN, lines, divisions, reference.date())

    # Who is not written any more has left, or is protected by a remark.
    deactivated = {outcome.pupil_id for outcome in planned.outcomes if outcome.kind is Kind.DEACTIVATED}
    assert {outcome.kind for outcome in planned.outcomes} <= {Kind.KEPT, Kind.DEACTIVATED}
    assert deactivated == (set() if variation.expected.findings else has_left)


def test_the_names_of_variations_are_unique_and_fit_for_the_command_line() -> None:
    names = [variation.name for variation in ALL]

    assert len(set(names)) == len(names)
    assert not [name for name in names if not name.replace("-", "").isalnum() or name != name.lower()]


def test_the_same_variation_gives_the_same_bytes_and_other_ones_than_the_plain_file() -> None:
    plain = SampleFile(UAI, lambda: ROSTER)

    for variation in ALL:
        file = vary(SampleFile(UAI, lambda: ROSTER), [variation])
        assert file.packed() == varied([variation])
        assert (file.packed(), file.name) != (plain.packed(), plain.name) or variation.name in AS_THE_PLAIN_ONE


@settings(max_examples=examples(200), deadline=None)
@given(chosen=st.lists(st.sampled_from(BENIGN), min_size=2, max_size=8, unique_by=lambda variation: variation.name))
def test_any_combination_of_benign_variations_reads_to_the_same_pupils(chosen: list[Variation]) -> None:
    assume(not any(pair <= {variation.name for variation in chosen} for pair in NOT_TOGETHER))
    roster = list(generate_pupils(2 * len(chosen), 5))
    expected: Mapping[int, SamplePupil] = dict(enumerate(roster))
    for variation, at in positions(chosen):
        expected = variation.expected.present(expected, at)

    assert imported(varied(chosen, roster)) == (End.COMPLETED, None, set(), rows(expected))
