"""Support takes a completed transfer back: everything is as it was before, or nothing has changed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from cpro_test_support.depth import in_part
from cpro_test_support.desk import TICKET, Desk, opened_desk
from cpro_test_support.reconciling import database_lost, reconciled
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work
from cpro_transfer.domain.undoing import undo_id_of

RECORDS = Amounts(reports=3, activity_sheets=2, assessments=3, passports=1, passport_entries=2, attachments=2)
MOVE_ONLY = Work.MOVE | Work.RELAY


@dataclass(slots=True)
class Moved:
    """A pupil whose records have moved."""

    origin: School
    destination: School
    leaver: UUID
    arrived: UUID
    ine: str
    transfer: dict[str, Any]

    @property
    def id(self) -> UUID:
        """The completed transfer's."""
        transfer_id: UUID = self.transfer["id"]
        return transfer_id


async def a_pupil_has_moved(world: TransferWorld) -> Moved:
    """Everything of a pupil is at the destination."""
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    await origin.loses(leaver)
    arrived = await destination.has(ine)
    await world.take_in_events()
    async with world.service(MOVE_ONLY):
        (transfer,) = await world.ends("completed")
    return Moved(origin, destination, leaver, arrived, ine, transfer)


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """Support's API; no mover."""
    async with opened_desk(world, servers) as opened:
        yield opened


async def test_what_is_undone_is_as_if_it_had_never_moved(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)

    asked = await desk.act(moved.id, "undo")
    assert asked.status_code == 202, asked.text
    async with world.service(MOVE_ONLY):
        (undone,) = await world.ends("undone")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {moved.origin.uai}
    assert undone["id"] == moved.id
    (undo,) = await world.transfers(state="completed")
    assert (undo["id"], undo["undoes"], undo["ticket"]) == (undo_id_of(moved.id), moved.id, TICKET)
    assert asked.json()["id"] == str(undo["id"])
    said = "SELECT tables FROM transfer_receipt WHERE transfer_id = %s AND direction = %s"
    departure = await moved.origin.fetch(said, moved.id, "outgoing")
    assert await moved.origin.fetch(said, undo["id"], "incoming") == departure
    assert await moved.destination.fetch(said, undo["id"], "outgoing") == departure
    assert len(await world.schools.store.list(f"tenants/{moved.origin.uai}/")) == RECORDS.attachments
    assert await world.schools.store.list(f"tenants/{moved.destination.uai}/") == []
    assert await moved.destination.fetch("SELECT * FROM transfer_hold") == []
    assert await moved.destination.fetch("SELECT * FROM transfer_object_removal") == []
    assert await world.receipt_findings() == {}
    assert await world.published(moved.id) == [
        "cpro.transfer.planned.v1",
        "cpro.transfer.completed.v1",
        "cpro.transfer.undone.v1",
    ]
    assert await world.published(undo["id"]) == []


async def test_the_school_that_has_them_back_can_work_on_them_again(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    await desk.act(moved.id, "undo")
    async with world.service(MOVE_ONLY):
        await world.ends("undone")

    await moved.origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'again')", moved.leaver)
    await moved.origin.execute("UPDATE report SET title = 'changed' WHERE pupil_id = %s", moved.leaver)

    assert await moved.origin.fetch("SELECT records_moved_at, records_moved_to FROM pupil") == [(None, None)]
    path = f"establishments/{moved.origin.uai}/transferable-pupils"
    (listed,) = (await desk.get(path, role="administrator", school=moved.origin)).json()["items"]
    assert (listed["code"], listed["automatic"]) == ("undone", False)


async def test_the_same_facts_never_plan_again_what_was_undone_and_new_facts_do(
    world: TransferWorld, desk: Desk
) -> None:
    moved = await a_pupil_has_moved(world)
    await desk.act(moved.id, "undo")
    async with world.service(MOVE_ONLY):
        await world.ends("undone")
        before = await world.transfers()

        await world.take_in_events()
        await moved.destination.opts_out()
        await moved.destination.opts_in()
        await world.take_in_events()
        assert [(t["id"], t["state"]) for t in await world.transfers()] == [(t["id"], t["state"]) for t in before]

        await moved.origin.has_again(moved.leaver)
        await moved.origin.loses(moved.leaver)
        await world.take_in_events()
        await world.ends("completed", origin_uai=moved.origin.uai)

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {moved.destination.uai}


async def test_what_the_destination_has_of_its_own_stays_there(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    await moved.destination.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'own')", moved.arrived)

    asked = await desk.act(moved.id, "undo")
    async with world.service(MOVE_ONLY):
        await world.ends("undone")

    assert asked.status_code == 202
    assert await moved.destination.fetch("SELECT title FROM report") == [("own",)]
    verdict = await world.schools.verify()
    assert (verdict.lost, verdict.doubled, verdict.changed, verdict.broken_files) == (frozenset(),) * 4


async def test_an_inactive_pupil_keeps_what_the_destination_has_of_its_own_for_the_next_school(
    world: TransferWorld, desk: Desk
) -> None:
    moved = await a_pupil_has_moved(world)
    await moved.destination.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'own')", moved.arrived)
    await moved.destination.loses(moved.arrived)
    await world.take_in_events()
    await desk.act(moved.id, "undo")
    async with world.service(MOVE_ONLY):
        await world.ends("undone")
        assert await moved.destination.fetch("SELECT records_moved_at FROM pupil") == [(None,)]

        (third,) = await world.schools.opted_in(new_uai())
        await third.has(moved.ine)
        await world.take_in_events()
        await world.ends("completed", origin_uai=moved.destination.uai, destination_uai=third.uai)

    assert await third.fetch("SELECT title FROM report") == [("own",)]
    verdict = await world.schools.verify()
    assert {verdict.places[key] for key in world.schools.seeded.rows} == {moved.origin.uai}


EDITS = {
    "edited": ("UPDATE report SET title = 'theirs' WHERE id = %s", "report", "edited"),
    "deleted": ("DELETE FROM report WHERE id = %s", "report", "deleted"),
    "attachment hung on it": (
        "INSERT INTO attachment (report_id, pupil_id, file_name, content_type, object_key, sha256, size_bytes)"
        " SELECT id, pupil_id, 'f', 't', gen_random_uuid()::text, repeat('0', 64), 0 FROM report WHERE id = %s",
        "attachment",
        "added",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_records_that_the_destination_has_touched_are_listed_and_nothing_changes(
    world: TransferWorld, desk: Desk, edit: str
) -> None:
    moved = await a_pupil_has_moved(world)
    statement, table, change = EDITS[edit]
    ((report,),) = await moved.destination.fetch(
        "SELECT id FROM report r WHERE NOT EXISTS (SELECT 1 FROM attachment WHERE report_id = r.id) LIMIT 1"
    )
    await moved.destination.execute(statement, report)
    before = await world.schools.verify()

    refused = await desk.act(moved.id, "undo")

    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["reason"]) == (409, "undo_refused", "records_edited")
    assert [(row["table"], row["change"]) for row in problem["touched"]] == [(table, change)]
    if change != "added":
        assert problem["touched"][0]["id"] == str(report)
    assert await world.schools.verify() == before
    assert [t["state"] for t in await world.transfers()] == ["completed"]
    assert await desk.audit(moved.id) == []


async def test_a_teacher_who_edits_after_support_has_looked_stops_the_undo(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    assert (await desk.act(moved.id, "undo")).status_code == 202
    await moved.destination.execute("UPDATE report SET title = title || ' !'")

    async with world.service(MOVE_ONLY):
        (held,) = await world.ends("held")

    assert (held["undoes"], held["reason"]) == (moved.id, "records_edited")
    verdict = await world.schools.verify()
    assert (verdict.lost, verdict.doubled, verdict.broken_files) == (frozenset(),) * 3
    assert set(verdict.places.values()) == {moved.destination.uai}
    assert await moved.destination.fetch("SELECT * FROM transfer_hold") == []
    refused = (await desk.act(moved.id, "undo")).json()
    assert (refused["reason"], refused["number"]) == ("records_edited", RECORDS.reports)
    assert await world.published(held["id"]) == []


async def test_what_a_teacher_has_put_back_as_it_was_is_not_edited(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    await moved.destination.execute("UPDATE report SET title = title || ' !'")
    await moved.destination.execute("UPDATE report SET title = left(title, -2)")

    assert (await desk.act(moved.id, "undo")).status_code == 202
    async with world.service(MOVE_ONLY):
        await world.ends("undone")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {moved.origin.uai}


@pytest.mark.parametrize(("days", "status"), [(29, 202), (31, 409)])
async def test_a_transfer_is_undone_for_thirty_days(world: TransferWorld, desk: Desk, days: int, status: int) -> None:
    moved = await a_pupil_has_moved(world)
    async with world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET completed_at = completed_at - make_interval(days => %s)", (days,))

    answer = await desk.act(moved.id, "undo")

    assert answer.status_code == status
    assert status == 202 or answer.json()["reason"] == "too_late"
    assert len(await world.transfers()) == (2 if status == 202 else 1)


async def test_records_that_have_gone_on_to_a_third_school_are_not_taken_back(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    (third,) = await world.schools.opted_in(new_uai())
    await third.has(moved.ine)
    await moved.destination.loses(moved.arrived)
    await world.take_in_events()
    waiting = await desk.act(moved.id, "undo")
    async with world.service(MOVE_ONLY):
        (onward,) = await world.ends("completed", origin_uai=moved.destination.uai)

    refused = await desk.act(moved.id, "undo")

    assert (waiting.status_code, waiting.json()["reason"]) == (409, "moved_on")
    assert (refused.status_code, refused.json()["reason"], refused.json()["touched"]) == (409, "moved_on", [])
    assert set((await world.schools.verify()).places.values()) == {third.uai}

    # The last step first, then the one before: both receipts and both digests still agree.
    for step in (onward["id"], moved.id):
        assert (await desk.act(step, "undo")).status_code == 202
        async with world.service(MOVE_ONLY):
            await world.ends("undone", id=step)
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {moved.origin.uai}
    assert await world.receipt_findings() == {}


async def test_of_two_supports_at_once_one_undoes_it(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)

    tickets = [f"CPRO-{number}" for number in range(8)]
    answers = await asyncio.gather(*(desk.act(moved.id, "undo", ticket=ticket) for ticket in tickets))
    async with world.service(MOVE_ONLY):
        (undone,) = await world.ends("undone")

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"undo_under_way"}
    (winner,) = [ticket for ticket, answer in zip(tickets, answers, strict=True) if answer.status_code == 202]
    assert await desk.audit(moved.id) == [("transfer.undo_asked", winner)]
    assert len(await world.transfers()) == 2
    assert undone["id"] == moved.id
    again = await desk.act(moved.id, "undo")
    assert (again.status_code, again.json()["reason"]) == (409, "already_undone")


async def test_asked_again_under_the_same_ticket_it_is_one_undo(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)

    first, second = await desk.act(moved.id, "undo"), await desk.act(moved.id, "undo")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert len(await desk.audit(moved.id)) == 1


async def test_an_undo_is_not_undone_nor_is_what_never_moved(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    undo = (await desk.act(moved.id, "undo")).json()
    (school, other) = await world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    leaver = await school.has(ine)
    await school.loses(leaver)
    await other.has(ine)
    await world.take_in_events()
    (planned,) = await world.transfers(origin_uai=school.uai)

    assert (await desk.act(undo["id"], "undo")).json()["reason"] == "is_an_undo"
    assert (await desk.act(planned["id"], "undo")).json()["reason"] == "not_completed"
    assert (await desk.act(uuid4(), "undo")).status_code == 404


@pytest.mark.parametrize(
    ("side", "reason"), [("origin", "destination_not_opted_in"), ("destination", "origin_not_opted_in")]
)
async def test_an_undo_needs_both_doors_open_as_any_move(
    world: TransferWorld, desk: Desk, side: str, reason: str
) -> None:
    moved = await a_pupil_has_moved(world)
    school: School = getattr(moved, side)
    await school.opts_out()
    await desk.act(moved.id, "undo")

    async with world.service(MOVE_ONLY):
        (held,) = await world.ends("held")
        assert held["reason"] == reason
        assert set((await world.schools.verify()).places.values()) == {moved.destination.uai}
        await school.opts_in()
        assert (await desk.act(held["id"], "retry")).status_code == 200
        await world.ends("undone")

    assert set((await world.schools.verify()).places.values()) == {moved.origin.uai}


async def test_rows_that_come_home_otherwise_than_they_once_left_are_not_landed(
    world: TransferWorld, desk: Desk
) -> None:
    moved = await a_pupil_has_moved(world)
    # The two receipts of the first move agree no more: somebody has been at one of them.
    await moved.origin.execute(
        "UPDATE transfer_receipt SET tables = jsonb_set(tables, '{report,digest}', to_jsonb(repeat('0', 64)))"
    )
    await desk.act(moved.id, "undo")

    async with world.service(MOVE_ONLY):
        (held,) = await world.ends("held")

    assert held["reason"] == "digest_mismatch"
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {moved.destination.uai}
    assert await moved.origin.fetch("SELECT id FROM pupil WHERE records_moved_at IS NULL") == []


@pytest.mark.parametrize("point", in_part([None, "move.held", "move.landed"]))
async def test_a_rebuilt_transfer_database_knows_undos_by_their_ids_and_goes_on_with_them(
    world: TransferWorld, desk: Desk, point: str | None
) -> None:
    moved = await a_pupil_has_moved(world)
    await moved.destination.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'own')", moved.arrived)
    undo = (await desk.act(moved.id, "undo")).json()
    if point:
        with world.process("move", crash_at=point, concurrent_batches=1) as mover:
            await mover.start()
            await mover.ended()
    else:
        async with world.service(MOVE_ONLY):
            await world.ends("undone")

    async with database_lost(world) as anew:
        await anew.take_in_events()
        await reconciled(anew, moved.origin.uai, moved.destination.uai)
        async with anew.service(MOVE_ONLY):
            (undone,) = await anew.ends("undone")
        (again,) = await anew.transfers(undoes=moved.id)

    assert (undone["id"], str(again["id"]), again["state"]) == (moved.id, undo["id"], "completed")
    verdict = await world.schools.verify()
    assert {verdict.places[key] for key in world.schools.seeded.rows} == {moved.origin.uai}
    assert verdict.clean
    assert await moved.destination.fetch("SELECT title FROM report") == [("own",)]


async def test_a_restored_destination_without_the_receipt_gives_nothing_back(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    await moved.destination.execute("DELETE FROM transfer_receipt")

    refused = await desk.act(moved.id, "undo")

    assert (refused.status_code, refused.json()["reason"]) == (409, "receipt_missing")


async def test_an_undo_that_was_cancelled_can_be_asked_for_again(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)
    undo = (await desk.act(moved.id, "undo")).json()
    cancelled = await desk.act(undo["id"], "cancel")
    async with world.service(MOVE_ONLY):
        await world.at_rest()
    assert cancelled.json()["state"] == "cancelled"
    assert set((await world.schools.verify()).places.values()) == {moved.destination.uai}

    assert (await desk.act(moved.id, "undo", ticket="CPRO-2")).status_code == 202
    async with world.service(MOVE_ONLY):
        await world.ends("undone")

    assert (await world.schools.verify()).clean
    assert [ticket for _, ticket in await desk.audit(moved.id)] == [TICKET, "CPRO-2"]


async def test_a_dry_run_refuses_or_agrees_and_changes_nothing(world: TransferWorld, desk: Desk) -> None:
    moved = await a_pupil_has_moved(world)

    agreed = await desk.act(moved.id, "undo", dry_run=True)
    await moved.destination.execute("DELETE FROM passport_entry")
    refused = await desk.act(moved.id, "undo", dry_run=True)

    assert (agreed.status_code, agreed.json()["id"]) == (202, str(moved.id))
    assert [row["change"] for row in refused.json()["touched"]] == ["deleted"] * RECORDS.passport_entries
    assert len(await world.transfers()) == 1
    assert await desk.audit(moved.id) == []
