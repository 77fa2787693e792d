"""The life of an import: refusals, stops, confirmation, repetition, lists, progress."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cpro_platform.clock import SystemClock
from cpro_test_support.import_world import EXPORT_DAY, YEAR, School
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils, siecle_zip, zipped


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


async def endless() -> AsyncIterator[bytes]:
    """A body that does not say how long it is."""
    while True:
        yield b"x" * 65_536


async def snapshot(school: School) -> tuple[list[dict[str, Any]], ...]:
    """Everything that an import could have touched."""
    tables = ("pupil", "pupil_ine_alias", "outbox", "siecle_import_applied", "siecle_import_finding")
    return tuple([await school.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables])


async def test_a_file_of_another_school_is_refused_and_both_are_named(school: School) -> None:
    await school.imports(roster(3))
    before = await snapshot(school)

    done = await school.imports(siecle_zip("0750680G", roster(3), school_year=YEAR, exported_at=school.exported_at))

    assert (done["state"], done["refusal"]["code"]) == ("failed", "uai_of_another_school")
    assert "0750680G" in done["refusal"]["detail"]
    assert school.uai in done["refusal"]["detail"]
    assert await snapshot(school) == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"nom;prenom\nA;B\n", "wrong_kind_of_file"),
        (b"<BEE_RESPONSABLES/>", "wrong_kind_of_file"),
        (b"<BEE_ELEVES><PARAMETRES>", "xml_malformed"),
        (b"PK\x03\x04 and nothing else", "zip_corrupt"),
        (zipped({"a.xml": b"<a/>", "b.xml": b"<b/>"}), "zip_several_files"),
    ],
    ids=["csv", "guardians", "truncated", "corrupt-zip", "two-files"],
)
async def test_a_file_that_is_no_pupil_file_is_refused_with_its_reason(
    school: School, content: bytes, code: str
) -> None:
    before = await snapshot(school)

    done = await school.imports(content)

    assert (done["state"], done["refusal"]["code"]) == ("failed", code)
    assert await snapshot(school) == before


async def test_a_file_truncated_after_thousands_of_pupils_leaves_nothing_behind(school: School) -> None:
    whole = school.xml(roster(5_000))
    before = await snapshot(school)

    done = await school.imports(zipped({"ElevesSansAdresses.xml": whole[: len(whole) * 2 // 3]}))

    assert (done["state"], done["refusal"]["code"]) == ("failed", "xml_malformed")
    assert await snapshot(school) == before


async def test_an_older_export_than_the_last_applied_is_refused(school: School) -> None:
    await school.imports(roster(3))

    done = await school.imports(school.file(roster(4), exported_at=school.exported_at - timedelta(hours=1)))

    assert (done["state"], done["refusal"]["code"]) == ("failed", "export_outdated")
    assert len(await school.pupils()) == 3


async def test_an_export_from_the_future_is_refused(school: School) -> None:
    tomorrow = SystemClock().now() + timedelta(days=1)

    done = await school.imports(school.file(roster(3), exported_at=tomorrow))

    assert (done["state"], done["refusal"]["code"]) == ("failed", "export_in_future")


async def test_deactivating_more_than_a_fifth_stops_shows_the_list_and_goes_on_once_confirmed(school: School) -> None:
    pupils = roster(30)
    await school.imports(pupils)
    ids = {row["siecle_id"]: row["id"] for row in (await school.pupils()).values()}
    await school.rows(
        "INSERT INTO report (pupil_id, title) VALUES (%s, 'a'), (%s, 'b')", *[ids[pupils[0].siecle_id]] * 2
    )
    before = await school.pupils()

    stopped = await school.imports(pupils[7:])
    shown = await school.items(f"{stopped['id']}/changes", kind="deactivated")
    untouched = await school.pupils()
    answer = await school.client.post(f"/siecle-imports/{stopped['id']}/confirm")
    done = await school.rest(stopped["id"])

    assert (stopped["state"], [r["code"] for r in stopped["awaiting"]]) == (
        "awaiting_confirmation",
        ["mass_deactivation"],
    )
    assert {c["siecle_id"] for c in shown} == {pupil.siecle_id for pupil in pupils[:7]}
    assert {c["siecle_id"]: c["record_count"] for c in shown}[pupils[0].siecle_id] == 2
    assert untouched == before
    assert (answer.status_code, done["state"], done["confirmed_by"]) == (202, "completed", "admin-1")
    assert done["confirmed_at"] is not None
    assert await school.active() == {pupil.siecle_id for pupil in pupils[7:]}


async def test_a_cancelled_import_changes_nothing_and_the_same_file_may_come_again(school: School) -> None:
    pupils = roster(30)
    await school.imports(pupils)
    file = school.file(pupils[10:])
    stopped = await school.imports(file)

    answer = await school.client.post(f"/siecle-imports/{stopped['id']}/cancel")
    late = await school.client.post(f"/siecle-imports/{stopped['id']}/confirm")
    again = await school.imports(file)

    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert (late.status_code, late.json()["code"]) == (409, "import_not_awaiting_confirmation")
    assert len(await school.active()) == 30
    assert again["id"] != stopped["id"]


async def test_half_the_pupils_missing_stops_even_where_nobody_would_be_deactivated(school: School) -> None:
    pupils = roster(20)
    await school.imports(pupils)

    stopped = await school.imports([replace(pupil, division=None) for pupil in pupils[:11]] + pupils[11:])

    assert [reason["code"] for reason in stopped["awaiting"]] == ["few_present"]


async def test_the_first_import_of_a_school_year_may_deactivate_more(school: School) -> None:
    pupils = roster(30)
    await school.imports(pupils)
    await school.rows("UPDATE siecle_import_applied SET school_year = school_year - 1")

    done = await school.imports(pupils[12:] + roster(12, seed=2))

    assert (done["state"], done["counts"]["deactivated"]) == ("completed", 12)


async def test_a_file_of_another_school_year_waits_for_a_confirmation(school: School) -> None:
    stopped = await school.imports(school.file(roster(3), school_year=YEAR + 1))

    assert (stopped["state"], [r["code"] for r in stopped["awaiting"]]) == (
        "awaiting_confirmation",
        ["other_school_year"],
    )


async def test_a_preview_shows_what_would_change_and_what_is_confirmed_is_what_was_shown(school: School) -> None:
    pupils = roster(10)
    await school.imports(pupils)
    preview = await school.imports([*pupils[1:], *roster(1, seed=2)], mode="preview")
    kinds = [change["kind"] for change in await school.items(f"{preview['id']}/changes")]
    before = await school.active()

    await school.client.post(f"/siecle-imports/{preview['id']}/confirm")
    done = await school.rest(preview["id"])

    assert (preview["state"], [r["code"] for r in preview["awaiting"]]) == ("awaiting_confirmation", ["preview"])
    assert (kinds, len(before)) == (["created", "deactivated"], 10)
    assert (done["state"], done["counts"]["created"], done["counts"]["deactivated"]) == ("completed", 1, 1)


async def test_a_plan_that_changed_since_it_was_shown_is_shown_again_instead_of_applied(school: School) -> None:
    pupils = roster(10)
    await school.imports(pupils)
    preview = await school.imports(pupils[1:], mode="preview")
    await school.rows("UPDATE pupil SET division = 'CHANGÉE' WHERE siecle_id = %s", pupils[5].siecle_id)

    await school.client.post(f"/siecle-imports/{preview['id']}/confirm")
    again = await school.rest(preview["id"])

    assert (again["state"], again["awaiting"][0]["code"]) == ("awaiting_confirmation", "plan_changed")
    assert len(await school.active()) == 10


async def test_the_same_file_is_the_same_import_unless_forced(school: School) -> None:
    file = school.file(roster(3))
    first = await school.imports(file)

    again, forced = await school.upload(file), await school.upload(file, force=True)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.headers["location"] == f"/v1/establishments/{school.uai}/siecle-imports/{first['id']}"
    assert forced.json()["id"] != first["id"]
    assert (await school.rest(forced.json()["id"]))["counts"]["unchanged"] == 3


async def test_a_forced_upload_that_is_repeated_under_its_key_is_one_import(school: School) -> None:
    file = school.file(roster(3))
    first = await school.imports(file)
    key = {"Idempotency-Key": "button-1"}

    async def forced(content: bytes, headers: dict[str, str], **query: Any) -> Any:
        return await school.client.post(
            "/siecle-imports", content=content, params={"force": True, **query}, headers=headers
        )

    answers = [*await asyncio.gather(*(forced(file, key) for _ in range(3))), await forced(file, key)]
    other_file, other_mode = await forced(school.file(roster(4)), key), await forced(file, key, mode="preview")
    next_button = await forced(file, {"Idempotency-Key": "button-2"})

    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == 1
    assert first["id"] not in ids
    assert [(answer.status_code, answer.json()["code"]) for answer in (other_file, other_mode)] == [
        (422, "idempotency_key_reused")
    ] * 2
    assert next_button.json()["id"] not in {first["id"], *ids}
    assert len((await school.client.get("/siecle-imports")).json()["items"]) == 3


async def test_a_refused_file_is_refused_once_but_one_from_the_future_is_looked_at_again(school: School) -> None:
    future = school.file(roster(3), exported_at=SystemClock().now() + timedelta(days=1))

    bad = [(await school.imports(b"<BEE_COMMUN/>"))["id"] for _ in range(2)]
    early = [(await school.imports(future))["id"] for _ in range(2)]

    assert bad[0] == bad[1]
    assert early[0] != early[1]


async def test_a_form_with_a_file_is_taken_like_a_raw_body(school: School) -> None:
    form = {"file": ("export.zip", school.file(roster(4)), "application/zip")}

    answer = await school.client.post("/siecle-imports", files=form)
    missing = await school.client.post("/siecle-imports", files={"other": b"x"})

    assert (await school.rest(answer.json()["id"]))["counts"]["created"] == 4
    assert (missing.status_code, missing.json()["code"]) == (422, "upload_field_missing")


async def test_nothing_and_too_much_are_refused_at_the_door(school: School) -> None:
    empty = await school.upload(b"")
    too_much = await school.upload(b"x" * 2_000_001)
    unannounced = await school.client.post("/siecle-imports", content=endless())

    assert (empty.status_code, empty.json()["code"]) == (422, "upload_empty")
    assert (too_much.status_code, too_much.json()["code"]) == (413, "payload_too_large")
    assert (unannounced.status_code, unannounced.json()["code"]) == (413, "payload_too_large")
    assert (await school.client.get("/siecle-imports")).json()["items"] == []


async def test_an_administrator_sees_no_import_of_another_school(school: School, other_school: School) -> None:
    theirs = await other_school.imports(roster(2))

    through_own_path = await school.client.get(f"/siecle-imports/{theirs['id']}/rejections")
    through_their_path = await school.client.get(f"http://test/v1/establishments/{other_school.uai}/siecle-imports")

    assert (through_own_path.status_code, through_own_path.json()["code"]) == (404, "import_unknown")
    assert (through_their_path.status_code, through_their_path.json()["code"]) == (403, "forbidden")


async def test_a_school_without_a_database_is_told_so(school: School) -> None:
    headers = {"Authorization": f"Bearer {school.servers.tokens.token('a', ['administrator'], '0931434D')}"}

    answer = await school.client.post(
        "http://test/v1/establishments/0931434D/siecle-imports", content=b"x", headers=headers
    )

    assert (answer.status_code, answer.json()["code"]) == (404, "establishment_unknown")


async def test_imports_are_listed_page_by_page_the_newest_first(school: School) -> None:
    ids = [(await school.imports(roster(n)))["id"] for n in (1, 2, 3)]

    first = (await school.client.get("/siecle-imports", params={"limit": 2})).json()
    second = (await school.client.get("/siecle-imports", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None


async def test_the_rejections_open_in_a_spreadsheet_and_hold_no_formula(school: School) -> None:
    dangerous = '=HYPERLINK("http://x";"y")'
    first, second = roster(2)
    file = school.file([replace(first, family_name=dangerous, ine=None), second])
    done = await school.imports(file)

    answer = await school.client.get(f"/siecle-imports/{done['id']}/rejections", headers={"Accept": "text/csv"})

    lines = answer.content.decode("utf-8-sig").splitlines()
    assert answer.content.startswith(b"\xef\xbb\xbf")
    assert lines[0] == "Ligne;Gravité;Identifiant SIECLE;Nom;Prénom;INE;Explication;Code"
    assert lines[1].split(";")[1:3] == ["Avertissement", first.siecle_id]
    assert ";\"'=HYPERLINK(" in lines[1]
    assert len(lines) == 2


async def test_ten_thousand_rejections_are_one_table_that_is_sent_as_it_is_read(school: School) -> None:
    done = await school.imports(roster(1))
    await school.rows(
        """
        INSERT INTO siecle_import_finding (import_id, ordinal, severity, code, line, family_name, created_at)
        SELECT %s, n, 'rejection', 'family_name_missing', n, 'a;"b"' || chr(10) || '=1+1', now()
        FROM generate_series(1, 10000) AS n
        """,
        done["id"],
    )

    answer = await school.client.get(f"/siecle-imports/{done['id']}/rejections", headers={"Accept": "text/csv"})

    rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), delimiter=";"))
    disposition = answer.headers["content-disposition"]
    assert disposition == f'attachment; filename="rejets-{school.uai}-{done["id"]}.csv"'
    assert "content-length" not in answer.headers
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 10_001)]
    assert {row[3] for row in rows[1:]} == {'a;"b"\n=1+1'}


async def test_the_progress_is_told_until_the_import_is_at_rest(school: School) -> None:
    started = (await school.upload(school.file(roster(1_500)))).json()
    told: list[dict[str, Any]] = []

    async with school.client.stream("GET", f"/siecle-imports/{started['id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                told.append(json.loads(line.removeprefix("data:")))

    assert told[-1]["state"] == "completed"
    assert told[-1]["progress"]["pupils_read"] == 1_500
    assert told[-1]["progress"]["seconds_left"] is None
    assert {event["id"] for event in told} == {started["id"]}


async def test_a_leaver_unknown_here_is_ignored(school: School) -> None:
    first, second = roster(2)

    done = await school.imports([first, second.leaves(EXPORT_DAY)])

    assert (done["counts"]["created"], done["counts"]["ignored"]) == (1, 1)
