"""Schools between which pupils move, export after export: the import sees exactly what happened."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from cpro_test_support.import_world import EXPORTED, YEAR, School
from cpro_test_support.siecle_samples import Mobility, SamplePupil, academy
from cpro_test_support.siecle_samples.mobility import ChangeKind, Round
from cpro_test_support.siecle_samples.variations import Written, written

BUSY = Mobility(leaving=0.1, returning=0.5, changing_class=0.1, changing_name=0.1, with_mistaken_ine=0.05)


def rounds(*uais: str) -> Iterator[Round]:
    first = EXPORTED - timedelta(days=30)
    return academy(2, 80, 11, mobility=BUSY, rounds=4, school_year=YEAR, first_export=first, days_between=10, uais=uais)


async def test_four_exports_of_two_schools_leave_each_with_who_is_there(school: School, other_school: School) -> None:
    schools = {one.uai: one for one in (school, other_school)}
    for number, made in enumerate(rounds(*schools)):
        for export in made.exports:
            at = schools[export.uai]
            file = export.file(school_year=YEAR, exported_at=made.exported_at)

            done = await at.imports(file.packed())

            assert (done["state"], done["counts"]["rejected"]) == ("completed", 0)
            assert await active(at) == {
                pupil.siecle_id: written(pupil) for pupil in export.pupils if pupil.leaving_date is None
            }
            if number:
                assert gained_and_lost(done) == happened(made, at.uai), number


async def active(school: School) -> dict[str, Written]:
    rows = await school.rows(f"SELECT {', '.join(Written._fields)} FROM pupil WHERE active")
    return {row["siecle_id"]: Written(**row) for row in rows}


def gained_and_lost(done: dict[str, Any]) -> tuple[int, int]:
    return done["counts"]["created"] + done["counts"]["reactivated"], done["counts"]["deactivated"]


def happened(made: Round, uai: str) -> tuple[int, int]:
    """How many came and how many went, from the generator's own account."""
    kinds = [change.kind for change in made.changes if change.uai == uai]
    return (
        kinds.count(ChangeKind.ARRIVED) + kinds.count(ChangeKind.RETURNED),
        kinds.count(ChangeKind.LEFT),
    )


def test_pupils_go_both_ways_between_the_schools() -> None:
    made = list(rounds("9980000B", "9980001C"))[-1]
    origins = {change.other_uai for change in made.changes if change.kind is ChangeKind.ARRIVED}
    pupils: list[SamplePupil] = [pupil for export in made.exports for pupil in export.pupils]

    assert {"9980000B", "9980001C"} <= origins
    assert len(pupils) > 160
