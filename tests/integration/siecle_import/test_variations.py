"""Every way in which schools' files differ, through the real service: each ends as its variation says."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from cpro_siecle_import.domain import refusals
from cpro_test_support.depth import in_part
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.siecle_samples import SampleFile, SamplePupil, generate_pupils
from cpro_test_support.siecle_samples.variations import ALL, End, Variation, Written, vary, written

FILES_AT_A_SCHOOL = 30
ROSTER = list(generate_pupils(12, 3, school_year=YEAR, with_bea_ratio=0.2))
_GROUPS = [ALL[start : start + FILES_AT_A_SCHOOL] for start in range(0, len(ALL), FILES_AT_A_SCHOOL)]


@pytest.mark.parametrize("variations", in_part(_GROUPS), ids=lambda group: f"{group[0].name}-to-{group[-1].name}")
async def test_each_variation_ends_as_it_says(school: School, variations: Sequence[Variation]) -> None:
    wrong: dict[str, list[str]] = {}
    for variation in variations:
        differences = await differences_of(school, variation)
        if differences:
            wrong[variation.name] = differences
        if differences or variation.expected.end is End.COMPLETED:
            await as_new(school)

    assert not wrong


async def differences_of(school: School, variation: Variation) -> list[str]:
    """What the service made of the file and the variation does not say."""
    file = vary(SampleFile(school.uai, lambda: ROSTER, school_year=YEAR, exported_at=school.exported_at), [variation])
    form = {"file": (file.name, file.packed(), "application/octet-stream")}
    answer = await school.client.post("/siecle-imports", files=form, params={"force": True})
    assert answer.status_code == 202, answer.text
    done = await school.rest(answer.json()["id"])
    remarks = await school.items(f"{done['id']}/rejections") if done["state"] == "completed" else []
    expected = variation.expected
    present = {pupil.siecle_id: written(pupil) for pupil in expected.present(dict(enumerate(ROSTER)), 0).values()}
    pairs: list[tuple[str, object, object]] = [
        ("state", End(done["state"]), expected.end),
        ("code", code_of(done), expected.code),
        ("remarks", Counter(remark["code"] for remark in remarks), Counter(expected.findings)),
        ("untold", [word for word in expected.told if word not in sentences_of(done, remarks)], []),
        ("pupils", await active(school), present),
        ("events", len(await school.outbox()), len(present)),
    ]
    return [f"{name}: {found} instead of {wanted}" for name, found, wanted in pairs if found != wanted]


async def as_new(school: School) -> None:
    """A school that has no pupil yet and never imported one, without the cost of making another."""
    await school.rows("""
        WITH aliases AS (DELETE FROM pupil_ine_alias), pupils AS (DELETE FROM pupil), said AS (DELETE FROM outbox)
        DELETE FROM siecle_import_applied
    """)


async def active(school: School) -> dict[str, Written]:
    columns = ", ".join(Written._fields)
    rows = await school.rows(f"SELECT {columns} FROM pupil WHERE active")
    return {row["siecle_id"]: Written(**row) for row in rows}


def code_of(done: dict[str, Any]) -> str | None:
    """Of the refusal, or the first reason to wait."""
    if done["refusal"] is not None:
        assert done["refusal"]["title"] == refusals.BY_CODE[done["refusal"]["code"]].title
        return str(done["refusal"]["code"])
    return next((str(reason["code"]) for reason in done["awaiting"]), None)


def sentences_of(done: dict[str, Any], remarks: list[dict[str, Any]]) -> str:
    """All that a secretary reads of this import."""
    said = [remark["sentence"] for remark in remarks] + [reason["sentence"] for reason in done["awaiting"]]
    if done["refusal"] is not None:
        said.append(done["refusal"]["detail"])
    return "\n".join(said)


def test_the_roster_is_one_that_a_school_could_have() -> None:
    pupils: list[SamplePupil] = ROSTER

    assert len({pupil.ine for pupil in pupils} | {pupil.siecle_id for pupil in pupils}) == 2 * len(pupils)
