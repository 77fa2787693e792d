"""Kill the mover at each of its crash points while it undoes a transfer; the next one brings every record home.

The points that ordinary moves are killed at, and support's own.
"""

import signal

import httpx
import pytest

from cpro_test_support.depth import points
from cpro_test_support.desk import TICKET, opened_desk
from cpro_test_support.reconciling import answering
from cpro_test_support.records import Amounts
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Work

IN_EVERY_RUN = {"move.landed"}
AT_THE_DESTINATION = (
    "move.claimed", "move.prepared", "move.holding", "move.held", "move.files_copied", "move.copied", "move.landing",
)  # fmt: skip
AT_BOTH = ("move.landed", "move.finishing")
BACK_HOME = ("move.finished", "move.tidied", "move.completed")
RECORDS = Amounts(reports=2, activity_sheets=1, assessments=2, attachments=1)


@pytest.mark.parametrize("point", points([*AT_THE_DESTINATION, *AT_BOTH, *BACK_HOME], in_every_run=IN_EVERY_RUN))
async def test_a_mover_killed_anywhere_in_an_undo_leaves_every_record_in_exactly_one_database(
    world: TransferWorld, servers: Servers, point: str
) -> None:
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    async with world.service(Work.MOVE):
        (moved,) = await world.ends("completed")
    # What the destination has of its own is not to be touched, whatever happens.
    await destination.execute("INSERT INTO report (pupil_id, title) SELECT id, 'own' FROM pupil")
    own = await destination.fetch("SELECT id, title FROM report WHERE title = 'own'")
    async with opened_desk(world, servers) as desk:
        assert (await desk.act(moved["id"], "undo")).status_code == 202

    with world.process("move", crash_at=point, lease_seconds=1.0, concurrent_batches=1) as mover:
        await mover.start()
        assert await mover.ended() == -signal.SIGKILL
    killed = await world.schools.verify()
    assert (killed.lost, killed.changed) == (frozenset(), frozenset())
    if point in AT_BOTH:
        assert len(killed.doubled) == len(world.schools.seeded.rows)
    else:
        place = destination if point in AT_THE_DESTINATION else origin
        assert killed.doubled == frozenset()
        assert {killed.places[key] for key in world.schools.seeded.rows} == {place.uai}

    async with world.service(Work.MOVE, lease_seconds=1.0):
        await world.ends("undone")

    verdict = await world.schools.verify()
    assert verdict.clean
    assert {verdict.places[key] for key in world.schools.seeded.rows} == {origin.uai}
    assert await destination.fetch("SELECT id, title FROM report") == own
    assert await world.receipt_findings() == {}
    assert await origin.fetch("SELECT id FROM pupil WHERE records_moved_at IS NOT NULL") == []
    assert await destination.fetch("SELECT * FROM transfer_hold") == []
    assert await destination.fetch("SELECT * FROM transfer_object_removal") == []
    assert len(await world.schools.store.list(f"tenants/{origin.uai}/")) == RECORDS.attachments
    assert await world.schools.store.list(f"tenants/{destination.uai}/") == []
    assert (await world.published(moved["id"])).count("cpro.transfer.undone.v1") == 1
    assert (await origin.fetch("SELECT count(*) FROM report WHERE pupil_id = %s", leaver)) == [(RECORDS.reports,)]


@pytest.mark.parametrize(("act", "point"), [("cancel", "support.cancelling"), ("undo", "support.undo_planning")])
async def test_an_api_killed_in_the_middle_of_an_act_has_done_nothing_of_it(
    world: TransferWorld, servers: Servers, act: str, point: str
) -> None:
    await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    if act == "undo":
        async with world.service(Work.MOVE):
            await world.ends("completed")
    before = await world.transfers()
    transfer_id = before[0]["id"]
    token = servers.tokens.token("a-support", ["support"])

    async with answering(world, crash_at=point) as (process, url), httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.post(
                f"{url}/v1/support/transfers/{transfer_id}/{act}",
                json={"ticket": TICKET},
                headers={"Authorization": f"Bearer {token}"},
            )
        assert await process.ended() == -signal.SIGKILL

    assert await world.transfers() == before
    async with opened_desk(world, servers) as desk:
        assert await desk.audit(transfer_id) == []
        assert (await desk.act(transfer_id, act)).is_success
        assert len(await desk.audit(transfer_id)) == 1
