"""Support tries transfers again and cancels them, and every act is written down."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from cpro_test_support.depth import in_part, slow
from cpro_test_support.desk import TICKET, Desk, opened_desk
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.domain.transfers import Claim

RECORDS = Amounts(reports=1, activity_sheets=1, assessments=1, passports=0, attachments=1)
MOVE_ONLY = Work.MOVE | Work.RELAY


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """Support's API; no mover."""
    async with opened_desk(world, servers) as opened:
        yield opened


async def a_planned_transfer(world: TransferWorld) -> tuple[School, School, UUID]:
    """Both halves are there, and no mover yet."""
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    (transfer,) = await world.transfers(state="planned", origin_uai=origin.uai)
    return origin, destination, transfer["id"]


async def state_of(world: TransferWorld, transfer_id: UUID) -> tuple[str, str | None]:
    (transfer,) = await world.transfers(id=transfer_id)
    return transfer["state"], transfer["reason"]


async def test_a_held_transfer_is_tried_at_once(world: TransferWorld, desk: Desk) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)
    ((key,),) = await origin.fetch("SELECT object_key FROM attachment")
    content = await world.schools.store.get(key)
    await world.schools.store.remove_many([key])

    async with world.service(MOVE_ONLY):
        await world.ends("held", reason="attachment_unreadable")
        await world.schools.store.put(key, content)
        answer = await desk.act(transfer_id, "retry")
        await world.ends("completed")

    assert answer.status_code == 200
    assert set((await world.schools.verify()).places.values()) == {destination.uai}
    assert await desk.audit(transfer_id) == [("transfer.retried", TICKET)]


async def test_a_postponed_transfer_is_tried_at_once(world: TransferWorld, desk: Desk) -> None:
    _, _, transfer_id = await a_planned_transfer(world)
    async with world.database.begin() as tx:
        await tx.execute(
            "UPDATE transfer SET state = 'holding', epoch = 1, reason = 'tenant_unavailable', attempts = 12,"
            " due_at = now() + interval '1 hour' WHERE id = %s",
            (transfer_id,),
        )

    async with world.service(MOVE_ONLY):
        assert (await desk.act(transfer_id, "retry")).status_code == 200
        await world.ends("completed")


@pytest.mark.parametrize("state", ["planned", "holding", "completed", "cancelled"])
async def test_what_does_not_wait_is_not_tried_again(world: TransferWorld, desk: Desk, state: str) -> None:
    _, _, transfer_id = await a_planned_transfer(world)
    if state == "holding":
        await claimed(world)
    elif state == "completed":
        async with world.service(MOVE_ONLY):
            await world.ends("completed")
    elif state == "cancelled":
        await desk.act(transfer_id, "cancel")
    before = await world.transfers()

    refused = await desk.act(transfer_id, "retry")

    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["state"]) == (409, "transfer_not_waiting", state)
    assert await world.transfers() == before
    assert ("transfer.retried", TICKET) not in await desk.audit(transfer_id)


async def test_one_without_a_known_destination_is_not_tried_again(world: TransferWorld, desk: Desk) -> None:
    origin, first, second = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    await origin.loses(await origin.has(ine))
    await first.has(ine)
    await second.has(ine)
    await world.take_in_events()
    (held,) = await world.transfers(state="held")

    assert (await desk.act(held["id"], "retry")).json()["reason"] == "ambiguous_destination"


async def test_a_planned_transfer_is_cancelled_at_once_and_the_same_facts_do_not_plan_it_again(
    world: TransferWorld, desk: Desk
) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)

    answer = await desk.act(transfer_id, "cancel")
    await world.take_in_events()
    # A fact of another pupil of the same schools is none of this one.
    await destination.has(new_ine())
    await world.take_in_events()
    async with world.service(MOVE_ONLY):
        await world.at_rest()

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert await state_of(world, transfer_id) == ("cancelled", "cancelled_by_support")
    assert await world.published(transfer_id) == ["cpro.transfer.planned.v1", "cpro.transfer.cancelled.v1"]
    assert set((await world.schools.verify()).places.values()) == {origin.uai}


@pytest.mark.parametrize("fact", ["departure", "arrival", "origin's opt-in", "destination's opt-in"])
async def test_what_support_has_cancelled_is_planned_again_by_a_new_fact(
    world: TransferWorld, desk: Desk, fact: str
) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)
    await desk.act(transfer_id, "cancel")
    ((leaver,),) = await origin.fetch("SELECT id FROM pupil")
    ((arrived,),) = await destination.fetch("SELECT id FROM pupil")

    if fact == "departure":
        await origin.has_again(leaver)
        await origin.loses(leaver)
    elif fact == "arrival":
        await destination.loses(arrived)
        await destination.has_again(arrived)
    else:
        school = origin if fact == "origin's opt-in" else destination
        await school.opts_out()
        await school.opts_in()
    await world.take_in_events()

    assert len(await world.transfers(state="planned")) == 1


async def test_facts_that_were_newer_than_the_plan_when_support_cancelled_do_not_plan_it_again(
    world: TransferWorld, desk: Desk
) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)
    # The transfer stays planned, and its row goes on saying the revisions that it was planned from.
    ((arrived,),) = await destination.fetch("SELECT id FROM pupil")
    await destination.has_again(arrived)
    await world.take_in_events()
    await desk.act(transfer_id, "cancel")

    await a_third_school_has_the_pupil_for_a_while(world, origin)

    assert await state_of(world, transfer_id) == ("cancelled", "cancelled_by_support")
    assert await world.transfers(state="planned", origin_uai=origin.uai) == []


async def test_one_in_hand_is_asked_to_stop_and_no_news_of_the_join_takes_that_back(
    world: TransferWorld, desk: Desk
) -> None:
    origin, _, transfer_id = await a_planned_transfer(world)
    (claim,) = await claimed(world)

    answer = await desk.act(transfer_id, "cancel")
    await a_third_school_has_the_pupil_for_a_while(world, origin)  # then the join calls for it as before

    assert (answer.json()["state"], claim.id) == ("holding", transfer_id)
    await lease_ends(world, transfer_id)
    async with world.service(MOVE_ONLY):
        await world.ends("cancelled", reason="cancelled_by_support")
    assert await world.transfers(state="planned", origin_uai=origin.uai) == []
    assert set((await world.schools.verify()).places.values()) == {origin.uai}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []


async def test_one_that_waits_in_hand_for_its_next_try_is_cancelled_without_waiting(
    world: TransferWorld, desk: Desk
) -> None:
    origin, _, transfer_id = await a_planned_transfer(world)
    async with world.database.begin() as tx:
        await tx.execute(
            "UPDATE transfer SET state = 'copying', epoch = 1, reason = 'tenant_unavailable',"
            " due_at = now() + interval '1 hour' WHERE id = %s",
            (transfer_id,),
        )

    async with world.service(MOVE_ONLY):
        assert (await desk.act(transfer_id, "cancel")).status_code == 200
        await world.ends("cancelled", reason="cancelled_by_support")

    assert set((await world.schools.verify()).places.values()) == {origin.uai}


@pytest.mark.parametrize("state", ["landed", "completed"])
async def test_what_has_landed_is_not_cancelled(world: TransferWorld, desk: Desk, state: str) -> None:
    _, destination, transfer_id = await a_planned_transfer(world)
    if state == "landed":
        with world.process("move", crash_at="move.finished", concurrent_batches=1) as mover:
            await mover.start()
            await mover.ended()
    else:
        async with world.service(MOVE_ONLY):
            await world.ends("completed")

    refused = await desk.act(transfer_id, "cancel")

    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["state"]) == (409, "transfer_past_cancelling", state)
    assert set((await world.schools.verify()).places.values()) == {destination.uai}
    assert await desk.audit(transfer_id) == []


async def test_a_cancellation_that_comes_twice_is_one(world: TransferWorld, desk: Desk) -> None:
    _, _, transfer_id = await a_planned_transfer(world)

    first, second = await desk.act(transfer_id, "cancel"), await desk.act(transfer_id, "cancel")
    other = await desk.act(transfer_id, "cancel", ticket="CPRO-2")

    assert (first.status_code, second.status_code, other.status_code) == (200, 200, 409)
    assert first.json() == second.json()
    assert await desk.audit(transfer_id) == [("transfer.cancelled", TICKET)]


async def test_the_school_is_told_that_support_has_cancelled(
    world: TransferWorld, desk: Desk, servers: Servers
) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)
    await desk.act(transfer_id, "cancel")

    for school in (origin, destination):
        ((pupil,),) = await school.fetch("SELECT id FROM pupil")
        path = f"establishments/{school.uai}/pupils/{pupil}/transfer-explanation"
        told = (await desk.get(path, role="administrator", school=school)).json()
        assert (told["code"], told["waits_for"]) == ("cancelled_by_support", "support")
        assert told["other_establishment"] is None


@pytest.mark.parametrize(
    "ticket", in_part(["", "10482", "cpro-1", "CPRO-", "CPRO 1", "CPRO-1; DROP", "X-1", "CPRO-" + "1" * 11])
)
@pytest.mark.parametrize("act", ["retry", "cancel", "undo"])
async def test_a_ticket_without_form_is_refused(world: TransferWorld, desk: Desk, act: str, ticket: str) -> None:
    refused = await desk.act(uuid4(), act, ticket=ticket)

    assert (refused.status_code, refused.json()["code"]) == (422, "ticket_malformed")
    assert "CPRO-10482" in refused.json()["detail"]


@pytest.mark.parametrize("role", ["administrator", "operations", "platform"])
async def test_only_support_acts(world: TransferWorld, desk: Desk, role: str) -> None:
    _, _, transfer_id = await a_planned_transfer(world)

    for act in ("retry", "cancel", "undo"):
        assert (await desk.act(transfer_id, act, role=role)).status_code == 403
    for path in (f"support/transfers/{transfer_id}", "support/transfers", "support/audit"):
        assert (await desk.get(path, role=role)).status_code == 403
    assert await state_of(world, transfer_id) == ("planned", None)


@slow
async def test_support_pages_through_all_transfers(world: TransferWorld, desk: Desk) -> None:
    for _ in range(5):
        await a_planned_transfer(world)
    wanted = [str(transfer["id"]) for transfer in reversed(await world.transfers())]

    seen: list[str] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await desk.get("support/transfers", limit=2, status="planned", **cursor)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == wanted
    uai = (await world.transfers())[0]["origin_uai"]
    assert len((await desk.get("support/transfers", uai=uai)).json()["items"]) == 1
    assert (await desk.get("support/transfers", uai="1234567A")).status_code == 422


async def test_each_school_reads_its_own_part_of_the_audit_trail_and_nothing_of_the_other(
    world: TransferWorld, desk: Desk
) -> None:
    origin, destination, transfer_id = await a_planned_transfer(world)
    (third,) = await world.schools.opted_in(new_uai())
    await desk.act(transfer_id, "cancel")

    for school, other in ((origin, destination), (destination, origin)):
        ((pupil,),) = await school.fetch("SELECT id FROM pupil")
        ((theirs,),) = await other.fetch("SELECT id FROM pupil")
        for role in ("administrator", "support"):
            answer = await desk.get(f"establishments/{school.uai}/audit", role=role, school=school)
            (line,) = answer.json()["items"]
            assert (line["actor"], line["role"], line["action"], line["ticket"], line["pupil_id"]) == (
                "a-support", "support", "transfer.cancelled", TICKET, str(pupil),
            )  # fmt: skip
            assert other.uai not in answer.text
            assert str(theirs) not in answer.text
    assert (await desk.get(f"establishments/{third.uai}/audit", role="administrator", school=third)).json() == {
        "items": [],
        "next_cursor": None,
    }
    refused = await desk.get(f"establishments/{origin.uai}/audit", role="administrator", school=third)
    assert refused.status_code == 403


async def test_the_audit_trail_is_read_in_pages_without_a_gap_or_a_double(world: TransferWorld, desk: Desk) -> None:
    origin, _, first = await a_planned_transfer(world)
    await desk.act(first, "cancel")
    for number in range(4):
        async with world.database.begin() as tx:
            await tx.execute("UPDATE transfer SET state = 'held', reason = 'landing_refused' WHERE id = %s", (first,))
        assert (await desk.act(first, "retry", ticket=f"CPRO-{number}")).status_code == 200

    for path in (f"establishments/{origin.uai}/audit", "support/audit"):
        tickets: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            page = (await desk.get(path, limit=2, **cursor)).json()
            tickets += [item["ticket"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert tickets == ["CPRO-3", "CPRO-2", "CPRO-1", "CPRO-0", TICKET]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'somebody else'",
        "UPDATE audit_entry SET actor = 'somebody else' WHERE false",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "SET LOCAL session_replication_role = replica; DELETE FROM audit_entry",
    ],
)
async def test_the_database_refuses_to_change_the_audit_trail(world: TransferWorld, desk: Desk, statement: str) -> None:
    _, _, transfer_id = await a_planned_transfer(world)
    await desk.act(transfer_id, "cancel")

    with pytest.raises(psycopg.Error, match="append-only"):
        async with world.database.begin() as tx:
            await tx.execute(statement)

    assert await desk.audit(transfer_id) == [("transfer.cancelled", TICKET)]


async def test_an_act_that_does_not_commit_is_not_in_the_audit_trail(world: TransferWorld, desk: Desk) -> None:
    _, _, transfer_id = await a_planned_transfer(world)
    async with world.database.begin() as tx:
        await tx.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;"
            " CREATE TRIGGER no BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION no()"
        )

    refused = await desk.act(transfer_id, "cancel")

    assert refused.status_code == 500
    assert await state_of(world, transfer_id) == ("planned", None)
    assert await desk.audit(transfer_id) == []


async def a_third_school_has_the_pupil_for_a_while(world: TransferWorld, origin: School) -> None:
    """None of this changes a fact of the transfer, and the join looks at the pupil twice."""
    (third,) = await world.schools.opted_in(new_uai())
    ((ine,),) = await origin.fetch("SELECT ine FROM pupil")
    there = await third.has(ine)
    await world.take_in_events()
    await third.loses(there)
    await world.take_in_events()


async def claimed(world: TransferWorld) -> list[Claim]:
    """A mover has taken what is due, and does nothing with it."""
    async with Service(world.config, work=Work.NOTHING) as service:
        return await service.mover().ledger.claim(50)


async def lease_ends(world: TransferWorld, transfer_id: UUID) -> None:
    """The mover that had it has died long ago."""
    async with world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET due_at = now(), lease_until = now() WHERE id = %s", (transfer_id,))
