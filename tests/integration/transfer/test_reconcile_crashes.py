"""Kill the process that reconciles at each of its crash points: another reconciliation ends the same."""

import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from cpro_test_support.depth import in_part
from cpro_test_support.reconciling import answering, database_lost, hears, kinds, knowledge, reconciled
from cpro_test_support.records import Amounts
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, opened_world
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=1, attachments=0)


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A world that waits for no event: what is published and not known is lost."""
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as opened:
        yield opened


@pytest.mark.parametrize("point", in_part(["reconcile.noted", "reconcile.entered", "outbox.published"]))
async def test_a_reconciliation_killed_anywhere_is_simply_done_again(
    world: TransferWorld, servers: Servers, point: str
) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(Work.MOVE | Work.RELAY):
        await world.ends("completed")
    waiting = await origin.has(new_ine(), records=RECORDS)
    await origin.loses(waiting)
    await hears(world)
    before = await knowledge(world)

    async with database_lost(world) as anew:
        async with answering(anew, crash_at=point) as (process, url), httpx.AsyncClient(timeout=30) as client:
            bearer = {"Authorization": f"Bearer {servers.tokens.token('tests', ['support'])}"}
            with pytest.raises(httpx.TransportError):
                await client.post(
                    f"{url}/v1/support/establishments/{origin.uai}/reconciliation", json={}, headers=bearer
                )
            assert await process.ended() == -signal.SIGKILL
        # What was said and not published is found without a reconciliation, by its note.
        if point == "outbox.published":
            async with anew.database.begin() as tx:
                assert await (await tx.execute("SELECT uai FROM tenant_outbox_note")).fetchall() == [(origin.uai,)]
        await reconciled(anew)
        await hears(anew)

        assert await knowledge(anew) == before
        assert kinds(await reconciled(anew)) == {}
        for school in (origin, destination):
            assert await school.fetch("SELECT * FROM outbox WHERE published_at IS NULL") == []
