"""What is held of a pupil is told in full, and erased in full: exactly what the dry run lists, once, whatever dies."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient, Response, TransportError

from cpro_test_support.depth import in_part
from cpro_test_support.desk import TICKET, Desk, opened_desk
from cpro_test_support.reconciling import answering
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import Tool
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work

FEW = Amounts(reports=1, activity_sheets=1, assessments=1, passports=1, passport_entries=2, attachments=2)
NAME = "VOLUBILIS"


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    async with opened_desk(world, servers) as opened:
        yield opened


async def ask(desk: Desk, act: str, school: School, pupil: UUID, *, role: str = "support", **more: str) -> Response:
    body = {"uai": school.uai, "pupil_id": str(pupil), "ticket": TICKET} | more
    return await desk.client.post(f"/v1/support/subjects/{act}", json=body, headers=headers(desk, role))


def headers(desk: Desk, role: str, uai: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {desk.servers.tokens.token('a-support', [role], uai)}", "Accept-Language": "en"}


async def moved(world: TransferWorld) -> tuple[School, School, UUID, UUID, str]:
    """A pupil whose records have moved; another of each school stays."""
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, family_name=NAME, records=FEW)
    await origin.has(new_ine(), family_name="STAYS", records=FEW)
    await origin.loses(leaver)
    arrival = await destination.has(ine, family_name=NAME)
    await destination.has(new_ine(), family_name="STAYS", records=FEW)
    await world.take_in_events()
    async with world.service(Work.MOVE | Work.RELAY):
        await world.ends("completed", origin_uai=origin.uai)
        await world.all_told()
    return origin, destination, leaver, arrival, ine


async def everything(world: TransferWorld, *schools: School) -> str:
    """Every row of every table of these schools' databases and of the transfer database, as one text."""
    listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    texts = []
    for school in schools:
        for (table,) in await school.fetch(listed):
            texts += [row[0] for row in await school.fetch(f"SELECT to_jsonb(t)::text FROM {table} t")]
    async with world.database.begin() as tx:
        for (table,) in await (await tx.execute(listed)).fetchall():
            told = await tx.execute(f"SELECT to_jsonb(t)::text FROM {table} t")
            texts += [row[0] for row in await told.fetchall()]
    return "\n".join(texts)


async def files(world: TransferWorld, *schools: School) -> set[str]:
    return {one.key for school in schools for one in await world.schools.store.list(f"tenants/{school.uai}/")}


async def test_an_export_holds_every_row_of_the_pupil_and_of_nobody_else(world: TransferWorld, desk: Desk) -> None:
    origin, destination, leaver, arrival, ine = await moved(world)

    answer = await ask(desk, "export", origin, leaver)

    found = answer.json()
    contents = found["contents"]
    here = contents[f"{destination.uai}/{arrival}"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert {row["family_name"] for place in contents.values() for row in place.get("pupil", [])} == {NAME}
    assert contents[f"{origin.uai}/{leaver}"]["pupil"][0]["ine"] == ine
    records = ("report", "activity_sheet", "assessment", "professional_passport", "passport_entry", "attachment")
    assert {table: len(here[table]) for table in records} == dict(zip(records, (1, 1, 1, 1, 2, 2), strict=True))
    assert len(contents["transfer_database"]["enrolment"]) == 2
    assert [one["size_bytes"] for one in found["manifest"]["attachments"]] == [
        one["size_bytes"] for one in here["attachment"]
    ]
    assert found["manifest"]["sections"][f"{destination.uai}/{arrival}/report"]["rows"] == 1
    assert "STAYS" not in answer.text
    (line,) = (await desk.get("support/audit", limit=1)).json()["items"]
    assert (line["action"], line["ticket"]) == ("subject.exported", TICKET)
    assert NAME not in json.dumps(line)
    assert ine not in json.dumps(line)


async def test_an_erasure_takes_what_the_dry_run_lists_and_nothing_of_anybody_else(
    world: TransferWorld, desk: Desk
) -> None:
    origin, destination, leaver, arrival, ine = await moved(world)
    async with world.database.begin() as tx:
        (row,) = await (await tx.execute("SELECT match_key FROM enrolment WHERE pupil_id = %s", (leaver,))).fetchall()
    before = await everything(world, origin, destination)
    planned = (await ask(desk, "erase", destination, arrival)).json()
    unchanged = await everything(world, origin, destination)

    done = await ask(desk, "erase", destination, arrival, confirm=planned["digest"])
    again = await ask(desk, "erase", origin, leaver, confirm="anything")

    after = await everything(world, origin, destination)
    assert unchanged == before
    assert planned["erased"] is False
    assert set(planned["rows"]) == {f"{origin.uai}/{leaver}", f"{destination.uai}/{arrival}", "transfer_database"}
    assert done.json()["rows"] == again.json()["rows"] == planned["rows"]
    assert (done.json()["erased"], again.json()["erased"]) == (True, True)
    assert [word for word in (NAME, ine, row[0]) if word in after] == []
    assert after.count("STAYS") == before.count("STAYS") > 0
    assert len(await files(world, origin, destination)) == 2 * 2  # of the two who stay
    assert await world.receipt_findings(origin.uai, destination.uai) == {}
    audit = (await desk.get("support/audit", limit=5)).json()["items"]
    assert [one["action"] for one in audit] == ["subject.erased", "subject.erasure_begun"]


async def pupils_of(school: School) -> int:
    ((number,),) = await school.fetch("SELECT count(*) FROM pupil")
    return int(number)


async def test_two_who_order_the_same_at_once_erase_once(world: TransferWorld, desk: Desk) -> None:
    origin, destination, leaver, arrival, ine = await moved(world)
    digest = (await ask(desk, "erase", origin, leaver)).json()["digest"]

    answers = await asyncio.gather(
        *(ask(desk, "erase", school, pupil, confirm=digest) for school, pupil in
          ((origin, leaver), (destination, arrival), (origin, leaver), (destination, arrival)))
    )  # fmt: skip

    assert [answer.status_code for answer in answers] == [200] * 4
    assert ine not in await everything(world, origin, destination)
    audit = (await desk.get("support/audit", limit=9)).json()["items"]
    assert [one["action"] for one in audit] == ["subject.erased", "subject.erasure_begun"]


async def test_events_told_again_do_not_bring_an_erased_pupil_back(world: TransferWorld, desk: Desk) -> None:
    origin, _, leaver, _, _ = await moved(world)
    log = await origin.fetch("SELECT id, type, source, occurred_at, payload::text, key, subject, topic FROM outbox")
    digest = (await ask(desk, "erase", origin, leaver)).json()["digest"]
    await ask(desk, "erase", origin, leaver, confirm=digest)

    for row in log:
        await origin.execute(
            "INSERT INTO outbox (id, type, source, occurred_at, payload, key, subject, topic) VALUES"
            " (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", *row,
        )  # fmt: skip
    await world.take_in_events()

    async with world.database.begin() as tx:
        known = await (await tx.execute("SELECT 1 FROM enrolment WHERE pupil_id = %s", (leaver,))).fetchall()
    assert known == []


async def test_another_list_than_the_confirmed_one_is_not_erased(world: TransferWorld, desk: Desk) -> None:
    origin, destination, leaver, _, _ = await moved(world)
    digest = (await ask(desk, "erase", origin, leaver)).json()["digest"]
    ((arrival,),) = await destination.fetch("SELECT id FROM pupil WHERE family_name = %s", NAME)
    await destination.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'later')", arrival)

    refused = await ask(desk, "erase", origin, leaver, confirm=digest)

    assert (refused.status_code, refused.json()["code"]) == (409, "erasure_plan_changed")
    assert NAME in await everything(world, origin, destination)


async def test_nobody_is_erased_while_a_mover_has_the_records_in_hand(world: TransferWorld, desk: Desk) -> None:
    origin, _, leaver = await world.a_pupil_changes_school(FEW)
    await world.take_in_events()
    digest = (await ask(desk, "erase", origin, leaver)).json()["digest"]
    async with world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET state = 'copying' WHERE origin_uai = %s", (origin.uai,))

    refused = await ask(desk, "erase", origin, leaver, confirm=digest)

    assert (refused.status_code, refused.json()["code"]) == (409, "transfer_under_way")
    ((reports,),) = await origin.fetch("SELECT count(*) FROM report")
    assert reports == 1


async def test_a_hold_that_the_transfer_database_does_not_know_of_is_respected(
    world: TransferWorld, desk: Desk
) -> None:
    (origin,) = await world.schools.opted_in(new_uai())
    pupil = await origin.has(new_ine(), records=FEW)
    await origin.execute(
        "INSERT INTO transfer_hold (pupil_id, transfer_id, epoch, claim, opt_in) VALUES (%s, %s, 1, %s, '{}')",
        pupil, uuid4(), uuid4(),
    )  # fmt: skip
    digest = (await ask(desk, "erase", origin, pupil)).json()["digest"]

    refused = await ask(desk, "erase", origin, pupil, confirm=digest)
    ((reports,),) = await origin.fetch("SELECT count(*) FROM report")
    await origin.execute("DELETE FROM transfer_hold")
    finished = await ask(desk, "erase", origin, pupil)

    assert (refused.status_code, reports) == (409, 1)
    assert finished.json()["erased"] is True
    assert await pupils_of(origin) == 0


@pytest.mark.parametrize(
    "point", in_part(["erasure.rows_erased", "erasure.begun", "erasure.files_erased", "erasure.place_erased"])
)
async def test_an_erasure_whose_process_is_killed_is_finished_by_repeating_it(
    world: TransferWorld, desk: Desk, point: str
) -> None:
    origin, destination, leaver, arrival, ine = await moved(world)
    digest = (await ask(desk, "erase", origin, leaver)).json()["digest"]

    async with answering(world, crash_at=point) as (process, url), AsyncClient(base_url=url, timeout=60) as client:
        with pytest.raises(TransportError):
            await ask(Desk(client, desk.servers), "erase", origin, leaver, confirm=digest)
        assert await process.ended() == -signal.SIGKILL
    finished = await ask(desk, "erase", destination, arrival, confirm=digest)

    assert finished.json()["erased"] is True
    after = await everything(world, origin, destination)
    assert [word for word in (NAME, ine) if word in after] == []
    assert len(await files(world, origin, destination)) == 2 * 2
    audit = (await desk.get("support/audit", limit=5)).json()["items"]
    assert [one["action"] for one in audit] == ["subject.erased", "subject.erasure_begun"]


@pytest.mark.parametrize("role", ["administrator", "operations", "platform"])
@pytest.mark.parametrize("act", ["export", "erase"])
async def test_only_support_may_ask(world: TransferWorld, desk: Desk, role: str, act: str) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    pupil = await school.has(new_ine())

    answer = await desk.client.post(
        f"/v1/support/subjects/{act}",
        json={"uai": school.uai, "pupil_id": str(pupil), "ticket": TICKET},
        headers=headers(desk, role, school.uai),
    )

    assert answer.status_code == 403


async def test_nothing_is_told_without_a_ticket_or_of_nobody(world: TransferWorld, desk: Desk) -> None:
    (school,) = await world.schools.opted_in(new_uai())

    malformed = await ask(desk, "export", school, uuid4(), ticket="none")
    nobody = [await ask(desk, act, school, uuid4()) for act in ("export", "erase")]

    assert malformed.json()["code"] == "ticket_malformed"
    assert [(one.status_code, one.json()["code"]) for one in nobody] == [(404, "subject_unknown")] * 2


async def test_the_tool_writes_the_export_and_erases_what_was_confirmed(
    world: TransferWorld, servers: Servers, tmp_path: Path
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    pupil = await school.has(new_ine(), family_name=NAME, records=FEW)
    out = tmp_path / "export.json"
    async with answering(world) as (_, url):
        tool = Tool(servers, url)
        exported = await tool("subject", "export", school.uai, pupil, "--ticket", TICKET, "--out", out)
        twice = await tool("subject", "export", school.uai, pupil, "--ticket", TICKET, "--out", out)
        dry = await tool("subject", "erase", school.uai, pupil, "--ticket", TICKET, "--json")
        done = await tool("subject", "erase", school.uai, pupil, "--ticket", TICKET, "--confirm", dry.json["digest"])

    assert (exported.code, twice.code, dry.code, done.code) == (0, 2, 0, 0), exported.err
    assert out.stat().st_mode & 0o077 == 0
    assert json.loads(out.read_text())["contents"][f"{school.uai}/{pupil}"]["pupil"][0]["family_name"] == NAME
    assert NAME not in exported.out + dry.out + done.out
    assert await pupils_of(school) == 0
