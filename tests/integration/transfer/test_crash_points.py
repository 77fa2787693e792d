"""Kill the mover at each of its named crash points; whatever was done, the next one ends with every record in one place.

Real processes, SIGKILL, and a checker that knows nothing of the mover.
"""

import signal

import pytest

from cpro_test_support.depth import in_part, points
from cpro_test_support.records import Amounts
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai

AT_THE_ORIGIN = {
    "move.claiming": "the claim is not committed",
    "move.claimed": "planned is all that happened",
    "move.prepared": "the fence is up",
    "move.holding": "the hold is not committed",
    "move.held": "the origin is held",
    "move.files_copied": "copies of files are in the store",
    "move.copied": "rows are in the destination's transaction",
    "move.landing": "the landing is not committed",
}
AT_BOTH = {
    "move.landed": "the destination has committed",
    "move.finishing": "the deletion is not committed",
}
AT_THE_DESTINATION = {
    "move.finished": "the origin has committed",
    "move.tidied": "old objects are gone",
    "move.completing": "the end is not committed",
    "move.completed": "the transfer database has committed",
}
IN_EVERY_RUN = {"move.landed"}
PUPILS = 3


@pytest.mark.parametrize("point", points([*AT_THE_ORIGIN, *AT_BOTH, *AT_THE_DESTINATION], in_every_run=IN_EVERY_RUN))
async def test_a_mover_killed_anywhere_leaves_every_record_in_exactly_one_database(
    world: TransferWorld, point: str
) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    for _ in range(PUPILS):
        ine = new_ine()
        leaver = await origin.has(ine, records=Amounts(reports=2, activity_sheets=1, assessments=2, attachments=1))
        await origin.loses(leaver)
        await destination.has(ine)
    await world.take_in_events()

    with world.process("move", crash_at=point, lease_seconds=1.0, concurrent_batches=1) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL
    after_the_kill = await world.schools.verify()
    assert not after_the_kill.lost
    assert not after_the_kill.changed
    if point in AT_BOTH:
        assert len(after_the_kill.doubled) == len(world.schools.seeded.rows)
    else:
        place = origin if point in AT_THE_ORIGIN else destination
        assert not after_the_kill.doubled
        assert set(after_the_kill.places.values()) == {place.uai}

    async with world.service(lease_seconds=1.0):
        await world.ends("completed", number=PUPILS)

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}
    assert await world.receipt_findings() == {}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []
    assert await origin.fetch("SELECT * FROM transfer_object_removal") == []
    assert len(await world.schools.store.list(f"tenants/{destination.uai}/")) == PUPILS
    assert await world.schools.store.list(f"tenants/{origin.uai}/") == []
    for transfer in await world.transfers():
        assert (await world.published(transfer["id"])).count("cpro.transfer.completed.v1") == 1


@pytest.mark.parametrize("point", in_part(["join.applied", "consumer.handled"]))
async def test_a_join_killed_around_its_commit_takes_the_batch_in_again(world: TransferWorld, point: str) -> None:
    _, destination, _ = await world.a_pupil_changes_school(Amounts(reports=1, attachments=0))

    with world.process("join", crash_at=point, consumer_session_seconds=6.0) as join:
        await join.start()
        assert await join.ended() == -signal.SIGKILL
    async with world.service(consumer_session_seconds=6.0):
        await world.ends("completed")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}
    assert len(await world.transfers()) == 1


async def test_a_relay_killed_before_it_marks_what_it_published_publishes_it_again(world: TransferWorld) -> None:
    await world.a_pupil_changes_school(Amounts(reports=1, attachments=0))
    await world.take_in_events()

    with world.process("relay", crash_at="outbox.published") as relay:
        await relay.start()
        assert await relay.ended() == -signal.SIGKILL
    waiting = "SELECT count(*) FROM outbox WHERE published_at IS NULL"
    async with world.database.begin() as tx:
        left = await (await tx.execute(waiting)).fetchone()
    async with world.service():
        await world.ends("completed")

        async def all_published() -> bool | None:
            async with world.database.begin() as tx:
                return True if await (await tx.execute(waiting)).fetchone() == (0,) else None

        await eventually(all_published)

    assert left is not None
    assert left[0] >= 1
