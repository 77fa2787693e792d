"""Every code that a school can meet is provoked through the real service, and says what to make of it.

Most are what a variation of the file ends with (`test_variations.py`). Here are those that need a past: a school that
imported before, an administrator who waits, a dependency that lost something.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cpro_platform.object_store import ObjectStore
from cpro_siecle_import.config import Config
from cpro_siecle_import.domain import findings, guard, refusals
from cpro_test_support.import_world import YEAR, School, new_school
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.siecle_samples.variations import ALL

Scenario = Callable[[School], Awaitable[tuple[dict[str, Any], tuple[str, ...]]]]
"""Ends with the import in question, and the words that its sentence must hold."""

SCHOOL_YEAR = f"{YEAR}-{YEAR + 1}"


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


async def an_older_export(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    await school.imports(roster(3))
    last, older = school.exported_at, school.exported_at - timedelta(days=1)

    done = await school.imports(school.file(roster(4), exported_at=older))

    return done, (f"{older:%d/%m/%Y}", f"{last:%d/%m/%Y}", "plus récent")


async def a_fault_of_ours(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    await school.imports(roster(3))
    await school.rows("ALTER TABLE pupil RENAME COLUMN boarding_code TO gone")
    try:
        done = await school.imports(roster(4))
    finally:
        await school.rows("ALTER TABLE pupil RENAME COLUMN gone TO boarding_code")
    return done, (done["id"], "rien n'a été modifié", "assistance")


async def a_preview(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    await school.imports(roster(3))

    return await school.imports(roster(4), mode="preview"), ("aperçu", "confirm")


async def a_fifth_gone(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    await school.imports(roster(30))

    return await school.imports(roster(30)[8:]), ("8 élèves", "confirm")


async def half_without_a_class(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    pupils = roster(20)
    await school.imports(pupils)

    done = await school.imports([replace(pupil, division=None) for pupil in pupils[:11]] + pupils[11:])

    return done, ("présents dans le fichier : 9", "moitié", "confirm")


async def a_change_after_the_preview(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    pupils = roster(4)
    await school.imports(pupils)
    preview = await school.imports(pupils[1:], mode="preview")
    await school.rows("UPDATE pupil SET division = 'CHANGÉE' WHERE siecle_id = %s", pupils[2].siecle_id)
    await school.client.post(f"/siecle-imports/{preview['id']}/confirm")

    return await school.rest(preview["id"]), ("aperçu", "nouvelle liste", "confirm")


async def a_file_of_next_year(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    done = await school.imports(school.file(roster(3), school_year=YEAR + 1))

    return done, (f"{YEAR + 1}-{YEAR + 2}", SCHOOL_YEAR, "confirm")


async def a_file_that_does_not_say_its_year(school: School) -> tuple[dict[str, Any], tuple[str, ...]]:
    done = await school.imports(school.file(roster(3), school_year=None))

    return done, ("ne dit pas", SCHOOL_YEAR, "confirm")


WITH_A_PAST: dict[str, tuple[str, Scenario]] = {
    "an-older-export": ("export_outdated", an_older_export),
    "a-fault-of-ours": ("processing_error", a_fault_of_ours),
    "a-preview": ("preview", a_preview),
    "a-fifth-gone": ("mass_deactivation", a_fifth_gone),
    "half-without-a-class": ("few_present", half_without_a_class),
    "a-change-after-the-preview": ("plan_changed", a_change_after_the_preview),
    "a-file-of-next-year": ("other_school_year", a_file_of_next_year),
    "a-file-that-does-not-say-its-year": ("other_school_year", a_file_that_does_not_say_its_year),
}
IN_A_TEST_OF_THEIR_OWN = {
    "confirmation_expired": "test_retention.py::test_a_confirmation_that_never_came_ends_the_import_with_its_reason",
    "establishment_unknown": "test_every_code.py::test_an_upload_or_a_school_that_is_gone_when_its_turn_comes_is_told",
    "file_missing": "test_every_code.py::test_an_upload_or_a_school_that_is_gone_when_its_turn_comes_is_told",
    "ine_held_by_another": "test_every_code.py::test_an_ine_that_another_pupil_holds_is_told_with_both_to_check",
}


@pytest.mark.parametrize(("code", "scenario"), WITH_A_PAST.values(), ids=WITH_A_PAST)
async def test_what_a_school_can_run_into_is_told_with_its_reason_and_writes_nothing(
    school: School, code: str, scenario: Scenario
) -> None:
    done, words = await scenario(school)

    pupils = await school.pupils()
    if done["refusal"] is not None:
        state, found, sentence = "failed", done["refusal"]["code"], done["refusal"]["detail"]
    else:
        state, found, sentence = "awaiting_confirmation", done["awaiting"][0]["code"], done["awaiting"][0]["sentence"]
    assert (done["state"], found) == (state, code)
    assert [word for word in words if word not in sentence] == []
    assert all(str(row["last_import_id"]) != done["id"] for row in pupils.values())
    assert await school.rows("SELECT 1 FROM siecle_import_applied WHERE import_id = %s", done["id"]) == []


async def test_after_a_fault_of_ours_the_same_file_is_looked_at_again(school: School) -> None:
    await school.rows("ALTER TABLE pupil RENAME COLUMN boarding_code TO gone")
    file = school.file(roster(3))
    broken = await school.imports(file)
    await school.rows("ALTER TABLE pupil RENAME COLUMN gone TO boarding_code")

    again = await school.imports(file)

    assert (broken["state"], again["state"], again["id"] != broken["id"]) == ("failed", "completed", True)


async def test_an_ine_that_another_pupil_holds_is_told_with_both_to_check(school: School) -> None:
    first, second = roster(2)
    await school.imports([first, second])
    stranger = replace(first, siecle_id="8888888", birth_date=first.birth_date + timedelta(days=400))

    done = await school.imports([second, stranger])

    (remark,) = await school.items(f"{done['id']}/rejections")
    assert (remark["code"], remark["severity"], remark["siecle_id"]) == ("ine_held_by_another", "warning", "8888888")
    assert [word for word in (str(first.ine), "sans INE", "vérifiez") if word not in remark["sentence"]] == []
    assert (await school.pupils())["8888888"]["ine"] is None


@pytest.fixture
async def waiting_schools(
    config_without_worker: Config, api_only: httpx.ASGITransport, servers: Servers
) -> AsyncIterator[tuple[School, School]]:
    """Two schools whose uploads wait until a worker is started."""
    async with (
        new_school(config_without_worker, api_only, servers) as one,
        new_school(config_without_worker, api_only, servers) as other,
    ):
        yield one, other


async def test_an_upload_or_a_school_that_is_gone_when_its_turn_comes_is_told(
    waiting_schools: tuple[School, School], config_without_worker: Config, worker: Callable[..., object]
) -> None:
    without_file, without_base = waiting_schools
    asked = [(await school.upload(school.file(roster(2)))).json()["id"] for school in waiting_schools]
    store = ObjectStore(config_without_worker.object_store)
    await store.remove(f"{without_file.uai}/{asked[0]}")
    await store.close()
    await forget(without_base)

    worker(config_without_worker)
    missing, unknown = await without_file.rest(asked[0]), await without_base.rest(asked[1])

    assert (missing["state"], missing["refusal"]["code"]) == ("failed", "file_missing")
    assert "Déposez-le à nouveau" in missing["refusal"]["detail"]
    assert (unknown["state"], unknown["refusal"]["code"]) == ("failed", "establishment_unknown")
    assert without_base.uai in unknown["refusal"]["detail"]
    assert (await without_file.pupils(), await without_base.pupils()) == ({}, {})


async def forget(school: School) -> None:
    """The directory no longer has the school."""
    connecting = psycopg.AsyncConnection.connect(school.config.tenants.directory_conninfo, autocommit=True)
    async with await connecting as connection:
        await connection.execute("DELETE FROM tenant WHERE uai = %s", (school.uai,))


def test_there_is_a_case_for_every_code() -> None:
    """Fails when a code is added: give it a variation of the file, or a case here."""
    of_variations = {code for variation in ALL for code in (variation.expected.code, *variation.expected.findings)}
    provoked = of_variations | {code for code, _ in WITH_A_PAST.values()} | set(IN_A_TEST_OF_THEIR_OWN)

    assert provoked - {None} == {*refusals.BY_CODE, *findings.BY_CODE, *guard.StopReason}


@pytest.mark.parametrize(("code", "test"), IN_A_TEST_OF_THEIR_OWN.items(), ids=IN_A_TEST_OF_THEIR_OWN)
def test_the_test_of_a_code_is_where_it_is_said_to_be(code: str, test: str) -> None:
    path, _, name = test.partition("::")
    _, found, body = (Path(__file__).parent / path).read_text().partition(f"async def {name}(")

    assert found
    assert f'"{code}"' in body


@pytest.mark.parametrize("refusal", refusals.ALL, ids=lambda refusal: refusal.code)
def test_a_refusal_says_what_the_school_can_do(refusal: refusals.Refusal) -> None:
    to_do = ("Refaites", "Déposez", "Vérifiez", "Contactez", "contactez")

    assert any(word in refusal.detail for word in to_do)
    assert refusal.title[0].isupper()
    assert not refusal.title.endswith(".")


@pytest.mark.parametrize("finding", findings.ALL, ids=lambda finding: finding.code)
def test_a_remark_says_what_the_school_can_do_and_what_becomes_of_the_pupil(finding: findings.Finding) -> None:
    sentence = finding.sentence_for("X")
    to_do = ("corrigez", "complétez", "vérifiez", "refaites", "affectez", "rien à faire", "demandez")
    outcome = ("importé", "retenue", "ignorée", "changé", "transféré")

    assert any(word in sentence for word in to_do), sentence
    assert any(word in sentence for word in outcome), sentence
    assert sentence[0].isupper() or sentence.startswith("«")
    assert sentence.endswith(".")
