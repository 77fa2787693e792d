"""What support sends twice under a key happens once, however late the repetition comes."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from httpx import Response

from cpro_contracts import topics
from cpro_test_support.desk import TICKET, Desk, opened_desk
from cpro_test_support.letters import PATH, an_arrival, desk_of, message_of, new_cause, set_aside
from cpro_test_support.records import Amounts
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=1, activity_sheets=1, assessments=1, passports=0, attachments=1)
KEY = {"Idempotency-Key": "once"}
MOVE_ONLY = Work.MOVE | Work.RELAY


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """Support's API; no mover."""
    async with opened_desk(world, servers) as opened:
        yield opened


async def acts(desk: Desk, transfer_id: UUID, act: str, key: str, ticket: str = TICKET) -> Response:
    bearer = desk.servers.tokens.token("a-support", ["support"])
    return await desk.client.post(
        f"/v1/support/transfers/{transfer_id}/{act}",
        json={"ticket": ticket},
        headers={"Authorization": f"Bearer {bearer}", "Idempotency-Key": key},
    )


async def test_a_late_repetition_of_a_retry_tries_nothing_again(world: TransferWorld, desk: Desk) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    (transfer,) = await world.transfers(state="planned", origin_uai=origin.uai)
    ((key,),) = await origin.fetch("SELECT object_key FROM attachment")
    await world.schools.store.remove_many([key])

    async with world.service(MOVE_ONLY):
        await world.ends("held", reason="attachment_unreadable")
    first = await acts(desk, transfer["id"], "retry", "once")
    async with world.service(MOVE_ONLY):
        await world.ends("held", reason="attachment_unreadable")
    late = await acts(desk, transfer["id"], "retry", "once")

    assert (late.status_code, late.content) == (200, first.content)
    assert await desk.audit(transfer["id"]) == [("transfer.retried", TICKET)]
    (now,) = await world.transfers(id=transfer["id"])
    assert (now["state"], now["reason"]) == ("held", "attachment_unreadable")


async def test_a_late_repetition_of_an_undo_does_not_start_again_what_was_cancelled(
    world: TransferWorld, desk: Desk
) -> None:
    await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    async with world.service(MOVE_ONLY):
        (transfer,) = await world.ends("completed")

    first = await acts(desk, transfer["id"], "undo", "once")
    undo_id = UUID(first.json()["id"])
    cancelled = await acts(desk, undo_id, "cancel", "other")
    late = await acts(desk, transfer["id"], "undo", "once")

    assert (first.status_code, cancelled.status_code) == (202, 200)
    assert (late.status_code, late.content) == (202, first.content)
    (undo,) = await world.transfers(id=undo_id)
    assert undo["state"] == "cancelled"


async def test_a_key_with_another_ticket_is_refused(world: TransferWorld, desk: Desk) -> None:
    await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    (transfer,) = await world.transfers(state="planned")
    await acts(desk, transfer["id"], "cancel", "once")

    answer = await acts(desk, transfer["id"], "cancel", "once", ticket="CPRO-2")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await desk.audit(transfer["id"]) == [("transfer.cancelled", TICKET)]


@pytest.mark.parametrize("act", ["replay", "discard"])
async def test_a_repetition_settles_no_letter_that_came_meanwhile(
    act: str, world: TransferWorld, servers: Servers
) -> None:
    cause = new_cause()
    asked: dict[str, object] = {"topic": topics.PUPIL, "cause": cause.__name__, "ticket": TICKET, "dry_run": False}
    if act == "discard":
        asked["reason"] = "essai"
    async with desk_of(world, servers) as desk:
        await set_aside(world, [message_of(an_arrival())], cause)
        await desk.waiting(cause)
        first = await desk.client.post(f"{PATH}/{act}", json=asked, headers=KEY)
        await set_aside(world, [message_of(an_arrival())], cause, offset=8)
        await desk.waiting(cause, 2)

        late = await desk.client.post(f"{PATH}/{act}", json=asked, headers=KEY)

        waiting = await desk.client.get(PATH, params={"cause": cause.__name__, "state": "waiting"})
    assert (late.status_code, late.content) == (200, first.content)
    assert len(waiting.json()["items"]) == 1
