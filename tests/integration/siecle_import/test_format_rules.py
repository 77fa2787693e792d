"""Rules of the pupil file that need a school with a past: who is protected, who is recognised, what is not kept."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cpro_siecle_import.domain import findings
from cpro_siecle_import.domain.findings import Severity
from cpro_test_support.import_world import EXPORT_DAY, YEAR, School
from cpro_test_support.siecle_samples import RecordStyle, SampleFile, SamplePupil, bea_ine, generate_pupils, rnie_ine
from cpro_test_support.siecle_samples.variations import ALL, Variation, vary

REJECTING = [
    variation
    for variation in ALL
    if any(findings.BY_CODE[code].severity is Severity.REJECTION for code in variation.expected.findings)
]


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


def file_of(school: School, pupils: list[SamplePupil], *variations: Variation) -> bytes:
    school.exported_at += timedelta(minutes=1)
    file = SampleFile(school.uai, lambda: pupils, school_year=YEAR, exported_at=school.exported_at)
    return vary(file, variations).packed()


async def test_every_rejected_line_leaves_the_pupil_whom_it_names_as_they_are(school: School) -> None:
    pupils = roster(12)
    await school.imports(file_of(school, pupils))
    before, said = await school.rows("SELECT xmin, * FROM pupil ORDER BY id"), await school.outbox()
    wrong: dict[str, Any] = {}
    for variation in REJECTING:
        done = await school.imports(file_of(school, pupils, variation))

        if (
            done["state"] != "completed"
            or not done["counts"]["rejected"]
            or await school.rows("SELECT xmin, * FROM pupil ORDER BY id") != before
        ):
            wrong[variation.name] = done

    assert wrong == {}
    assert await school.outbox() == said
    assert len(REJECTING) > 20


async def test_a_rejection_tells_the_line_the_key_the_name_and_the_ine(school: School) -> None:
    first, second, third = roster(3)
    line = (
        f"<ELEVE ELEVE_ID='77'><ID_NATIONAL>{rnie_ine(5)}</ID_NATIONAL><NOM_DE_FAMILLE>ÉPINARD</NOM_DE_FAMILLE>"
        "<PRENOM>Zoé</PRENOM><DATE_NAISS>31/02/2009</DATE_NAISS></ELEVE>"
    )
    xml = school.xml([first, second, third], raw_pupils=[line])
    stands_at = next(number for number, text in enumerate(xml.splitlines(), 1) if b"ELEVE_ID='77'" in text)

    done = await school.imports(xml)

    (told,) = await school.items(f"{done['id']}/rejections", severity="rejection")
    assert {name: told[name] for name in ("code", "siecle_id", "family_name", "first_name", "ine", "found")} == {
        "code": "birth_date_invalid", "siecle_id": "77", "family_name": "ÉPINARD", "first_name": "Zoé",
        "ine": rnie_ine(5), "found": "31/02/2009",
    }  # fmt: skip
    assert abs(told["line"] - stands_at) <= 1
    assert "31/02/2009" in told["sentence"]


async def test_an_old_number_is_kept_as_an_alias_and_recognises_the_pupil_under_the_new_one(school: School) -> None:
    old, new = bea_ine(77), rnie_ine(88)
    (pupil,) = [replace(each, ine=None, ine_bea=old) for each in roster(1)]
    await school.imports([pupil])
    (row,) = (await school.pupils()).values()
    await school.imports([replace(pupil, siecle_id="555001", ine=new, ine_bea=old)])

    done = await school.imports([replace(pupil, siecle_id="555002", ine=new, ine_bea=None)])
    by_the_old = await school.imports([replace(pupil, siecle_id="555003", ine=old, ine_bea=None)])

    (after,) = (await school.pupils()).values()
    assert (done["counts"]["created"], by_the_old["counts"]["created"], after["id"]) == (0, 0, row["id"])
    assert {alias["ine"] for alias in await school.rows("SELECT ine FROM pupil_ine_alias")} == {old, new}


async def test_two_pupils_whom_a_line_without_an_ine_could_mean_make_a_new_one(school: School) -> None:
    first, second = roster(2)
    twin = replace(first, siecle_id=second.siecle_id, ine=None)
    await school.imports([replace(first, ine=None), twin])

    done = await school.imports([replace(first, ine=None), twin, replace(first, siecle_id="4040", ine=rnie_ine(40))])

    assert (done["counts"]["created"], len(await school.active())) == (1, 3)


async def test_an_eleve_id_with_another_birth_date_is_another_pupil(school: School) -> None:
    first, second = [replace(pupil, ine=None) for pupil in roster(2)]
    await school.imports([first])

    done = await school.imports([replace(second, siecle_id=first.siecle_id)])

    assert (done["counts"]["created"], done["counts"]["deactivated"]) == (1, 1)


async def test_who_comes_back_has_no_leaving_date_any_more(school: School) -> None:
    pupils = roster(6)
    await school.imports(pupils)
    await school.imports([pupils[0].leaves(EXPORT_DAY - timedelta(days=9)), *pupils[1:]])

    await school.imports(pupils)

    row = (await school.pupils())[pupils[0].siecle_id]
    assert (row["active"], row["leaving_date"], row["leaving_reason"]) == (True, None, None)


@pytest.mark.parametrize(
    ("dates", "is_present"),
    [
        ({}, True),
        ({"with_export_date": False}, True),
        ({"with_timestamp": False}, True),
        ({"with_export_date": False, "with_timestamp": False}, False),
    ],
    ids=["both", "timestamp", "export-date", "neither"],
)
async def test_presence_is_judged_on_the_day_of_the_export_and_without_one_on_the_day_of_the_upload(
    school: School, dates: dict[str, bool], is_present: bool
) -> None:
    staying, leaving = roster(2)

    done = await school.imports(school.xml([staying, leaving.leaves(EXPORT_DAY + timedelta(days=1))], **dates))

    assert (leaving.siecle_id in await school.active()) is is_present
    assert (done["reference_date"] == EXPORT_DAY.isoformat()) is is_present


async def test_a_confirmed_file_of_the_next_school_year_is_applied_under_that_year(school: School) -> None:
    pupils = roster(12)
    await school.imports(pupils)
    stopped = await school.imports(school.file([replace(pupil, division=None) for pupil in pupils[1:]] + pupils[:1],
        school_year=YEAR + 1))  # fmt: skip

    await school.client.post(f"/siecle-imports/{stopped['id']}/confirm")
    done = await school.rest(stopped["id"])

    assert [reason["code"] for reason in stopped["awaiting"]] == ["other_school_year", "few_present"]
    assert (done["state"], done["school_year"], done["counts"]["not_arrived"]) == ("completed", YEAR + 1, 11)
    assert len(await school.active()) == 12


async def test_what_the_system_has_no_use_for_is_kept_nowhere(school: School) -> None:
    pupils = roster(8)
    file = SampleFile(
        school.uai, lambda: pupils, school_year=YEAR, exported_at=school.exported_at, style=RecordStyle.FULL,
        blocks=("ELEVES", "OPTIONS", "STRUCTURES", "BOURSES", "ADRESSES"),
    )  # fmt: skip
    unread = ("IMAGINAIRE", "exemple.invalid", "019900", "063998", "BÂTIMENT", "030201", "CODE_PARENTE", "COLLEGE")

    done = await school.imports(file.packed())

    kept = await everything(school.conninfo) + await everything(school.config.database.conninfo)
    text = file.xml().decode("iso-8859-15")
    assert (done["counts"]["created"], [word for word in unread if word not in text]) == (8, [])
    assert pupils[0].family_name in kept
    assert [word for word in unread if word in kept] == []


async def everything(conninfo: str) -> str:
    """Every row of every table of a database, as text."""
    async with (
        await psycopg.AsyncConnection.connect(conninfo, row_factory=dict_row) as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute("SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")  # fmt: skip
        rows: list[str] = []
        for table in await cursor.fetchall():
            await cursor.execute(f"SELECT row_to_json(t)::text AS row FROM {table['name']} t".encode())
            rows += [row["row"] for row in await cursor.fetchall()]
    return "\n".join(rows)
