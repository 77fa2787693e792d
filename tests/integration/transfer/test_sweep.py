"""Files that nobody can want any more leave the store; none that a record names ever does."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from cpro_test_support.depth import in_part, slow
from cpro_test_support.schools import School
from cpro_test_support.sweeping import DAY, FILES, SweptWorld, swept_world
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.domain.sweeping import Fate
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.errors import SupersededError

HOUR = timedelta(hours=1)


@pytest.fixture
async def swept(world: TransferWorld) -> AsyncIterator[SweptWorld]:
    """A world with a bucket of its own."""
    async with swept_world(world) as opened:
        yield opened


async def _sleeper_wakes_after_the_cancellation(swept: SweptWorld) -> tuple[School, School, Claim, UUID]:
    origin, destination, leaver = await swept.a_transfer()
    sleeper = await swept.claim()
    claim_id = await swept.hold(sleeper)
    await origin.has_again(leaver)
    await swept.world.take_in_events()
    await swept.moved_until("cancelled")
    await swept.copy_files(sleeper, origin, leaver)
    return origin, destination, sleeper, claim_id


async def test_copies_that_a_sleeper_makes_after_the_cancellation_are_removed(swept: SweptWorld) -> None:
    """The third finding of the model."""
    origin, destination, sleeper, claim_id = await _sleeper_wakes_after_the_cancellation(swept)
    with pytest.raises(SupersededError):
        await swept.land(sleeper, claim_id)
    assert len(await swept.files(destination)) == FILES.attachments

    await swept.sweep(HOUR)
    assert len(await swept.files(destination)) == FILES.attachments, "too young"
    done = await swept.sweep(DAY)

    assert await swept.files(destination) == set()
    assert len(await swept.files(origin)) == FILES.attachments
    assert (done.files[Fate.COPY], done.removed) == (FILES.attachments, FILES.attachments)
    assert done.bytes[Fate.COPY] > 0
    assert (await swept.world.schools.verify()).clean


async def test_copies_of_another_epoch_than_the_one_that_landed_go(swept: SweptWorld) -> None:
    origin, destination, leaver = await swept.a_transfer()
    first = await swept.claim()
    await swept.hold(first)
    second = await swept.claim()
    claim_id = await swept.hold(second)
    await swept.copy_files(second, origin, leaver)
    await swept.copy_files(first, origin, leaver)
    await swept.land(second, claim_id)
    await swept.sweep()

    assert {key.split("/")[4] for key in await swept.files(destination)} == {str(second.epoch)}
    await swept.moved_until("completed")
    assert (await swept.world.schools.verify()).clean


async def test_copies_that_a_mover_has_in_hand_stay_however_old(swept: SweptWorld) -> None:
    origin, destination, leaver = await swept.a_transfer()
    claim = await swept.claim()
    claim_id = await swept.hold(claim)
    await swept.copy_files(claim, origin, leaver)

    done = await swept.sweep()

    assert done.files[Fate.IN_HAND] == FILES.attachments
    await swept.land(claim, claim_id)
    await swept.moved_until("completed")
    assert (await swept.world.schools.verify()).clean
    assert len(await swept.files(destination)) == FILES.attachments


async def _out_of_hand(swept: SweptWorld) -> tuple[School, Claim, UUID]:
    """A mover is about to land; the transfer database does not know of it any more."""
    origin, destination, leaver = await swept.a_transfer()
    claim = await swept.claim()
    claim_id = await swept.hold(claim)
    await swept.copy_files(claim, origin, leaver)
    async with swept.world.database.begin() as tx:
        await tx.execute("DELETE FROM transfer WHERE id = %s", (claim.id,))
    return destination, claim, claim_id


async def test_a_landing_that_has_locked_its_fence_keeps_its_files_from_a_sweep(swept: SweptWorld) -> None:
    destination, claim, claim_id = await _out_of_hand(swept)

    async with swept.world.schools.tenants.begin(destination.uai) as tx:
        await tx.execute("SELECT 1 FROM transfer_receipt_chain FOR UPDATE")  # the last that a landing locks
        landing = asyncio.create_task(swept.land(claim, claim_id))
        await _waiting_for_locks(destination, 1)
        sweeping = asyncio.create_task(swept.sweep())
        await _waiting_for_locks(destination, 2)
    await landing
    done = await sweeping

    assert done.removed == 0
    assert len(await swept.files(destination)) == FILES.attachments
    assert not (await swept.world.schools.verify()).broken_files


async def test_a_landing_that_comes_after_a_sweep_has_taken_its_files_is_refused(swept: SweptWorld) -> None:
    destination, claim, claim_id = await _out_of_hand(swept)

    await swept.sweep()
    with pytest.raises(SupersededError):
        await swept.land(claim, claim_id)

    assert await swept.files(destination) == set()
    verdict = await swept.world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {claim.origin_uai}


@pytest.mark.parametrize("head_start", in_part(range(0, 60, 6)))
async def test_a_landing_and_a_sweep_at_once_end_with_all_files_or_no_landing(
    swept: SweptWorld, head_start: int
) -> None:
    destination, claim, claim_id = await _out_of_hand(swept)

    async def land() -> bool:
        for _ in range(head_start):  # let the other go first, by more and more turns of the event loop
            await asyncio.sleep(0.001)
        try:
            await swept.land(claim, claim_id)
        except SupersededError:
            return False
        return True

    landed, _ = await asyncio.gather(land(), swept.sweep())

    assert len(await swept.files(destination)) == (FILES.attachments if landed else 0)
    assert not (await swept.world.schools.verify()).broken_files


async def test_a_transfer_that_only_the_sweep_has_overtaken_moves_in_the_end(swept: SweptWorld) -> None:
    """A fence that is raised too early costs a mover a turn, and nothing else."""
    origin, destination, leaver = await swept.a_transfer()
    claim = await swept.claim()
    await swept.hold(claim)
    await swept.copy_files(claim, origin, leaver)
    async with swept.world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET state = 'held', reason = 'not_left', due_at = now()")
    await swept.sweep()
    assert await swept.files(destination) == set()

    await swept.moved_until("completed")

    verdict = await swept.world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}


async def test_a_landing_that_the_establishment_has_lost_keeps_its_files(swept: SweptWorld) -> None:
    _, destination, _ = await swept.a_transfer()
    await swept.moved_until("completed")
    await _goes_back_in_time(destination, "attachment", "report", "transfer_receipt")

    done = await swept.sweep()

    assert set(swept.fates.values()) == {Fate.LANDING_LOST}
    assert (done.removed, len(await swept.files(destination))) == (0, FILES.attachments)


async def test_copies_at_an_establishment_that_never_heard_of_the_transfer_stay(swept: SweptWorld) -> None:
    _, destination, _, _ = await _sleeper_wakes_after_the_cancellation(swept)
    await _goes_back_in_time(destination, "transfer_fence")

    await swept.sweep()

    assert list(swept.fates.values()) == [Fate.NEVER_FENCED] * FILES.attachments
    assert len(await swept.files(destination)) == FILES.attachments


async def test_what_a_finish_noted_and_nobody_tidied_is_removed_and_forgotten(swept: SweptWorld) -> None:
    origin, destination, leaver = await swept.a_transfer()
    before = await swept.files(origin)
    await swept.moved_until("completed")
    for key in before:
        await swept.world.schools.store.put(key, b"nobody came to tidy")
        await origin.execute("INSERT INTO transfer_object_removal VALUES (%s, %s)", key, uuid4())
    await origin.execute("UPDATE pupil SET active = true WHERE id = %s", leaver)
    kept = await swept.puts(origin, pupil=leaver)

    done = await swept.sweep(DAY)

    assert done.files[Fate.LEFT] == len(before) == FILES.attachments
    assert await swept.files(origin) == {kept}
    assert len(await swept.files(destination)) == FILES.attachments
    assert await origin.fetch("SELECT object_key FROM transfer_object_removal") == []


async def test_a_note_whose_file_is_gone_is_forgotten(swept: SweptWorld) -> None:
    (school,) = await swept.world.schools.create(new_uai())
    kept = await swept.puts(school, pupil=await school.has(new_ine()))
    old = "INSERT INTO transfer_object_removal (object_key, transfer_id, noted_at) VALUES (%s, %s, now() - '1 y'::interval)"
    await school.execute(old, "tenants/gone", uuid4())

    done = await swept.sweep()

    assert done.notes_forgotten == 1
    assert await school.fetch("SELECT object_key FROM transfer_object_removal") == []
    assert await swept.files(school) == {kept}


async def test_a_file_that_the_core_application_never_named_goes_after_a_week_and_not_before(swept: SweptWorld) -> None:
    (school,) = await swept.world.schools.create(new_uai())
    pupil = await school.has(new_ine())
    named = await swept.puts(school, pupil=pupil)
    late, orphan = await swept.puts(school), await swept.puts(school)

    await swept.sweep(timedelta(days=6))
    assert await swept.files(school) == {named, late, orphan}
    await swept.names(school, late, pupil)
    await swept.sweep(timedelta(days=8))

    assert await swept.files(school) == {named, late}
    assert swept.fates == {orphan: Fate.UNCLAIMED}


async def test_an_establishment_that_has_lost_most_of_its_rows_keeps_its_files(swept: SweptWorld) -> None:
    (school,) = await swept.world.schools.create(new_uai())
    keys = {await swept.puts(school) for _ in range(11)}

    await swept.sweep()
    assert set(swept.fates.values()) == {Fate.TOO_MANY}
    assert await swept.files(school) == keys
    await swept.sweep(sweep_max_unclaimed_percent=100.0)

    assert await swept.files(school) == set()


@slow
async def test_an_establishment_that_cannot_be_asked_keeps_its_files_and_no_other_waits(swept: SweptWorld) -> None:
    away, school = await swept.world.schools.create(new_uai(), new_uai())
    kept = {await swept.puts(away)}
    await swept.puts(school)
    async with swept.world.schools.tenants.begin(away.uai) as tx:
        await tx.execute("LOCK TABLE attachment")
        done = await swept.sweep()

    assert (done.files[Fate.UNREAD], done.files[Fate.UNCLAIMED]) == (1, 1)
    assert (await swept.files(away), await swept.files(school)) == (kept, set())


@slow
async def test_an_establishment_without_old_files_is_not_asked(swept: SweptWorld) -> None:
    school, empty = await swept.world.schools.create(new_uai(), new_uai())
    young = await swept.puts(school)
    for one in (school, empty):
        await _is_dropped(swept, one)

    done = await swept.sweep(HOUR)

    assert done.files == {Fate.YOUNG: 1}
    assert await swept.files(school) == {young}


async def test_what_is_no_attachment_is_nobodys_business(swept: SweptWorld) -> None:
    (school,) = await swept.world.schools.create(new_uai())
    for key in (f"tenants/{school.uai}/images/logo", "tenants/nonsense/attachments/x", "exports/x"):
        await swept.world.schools.store.put(key, b"x")

    assert (await swept.sweep()).files == {}
    assert len(await swept.world.schools.store.list()) == 3


async def test_a_dry_run_says_what_the_sweep_then_does_and_changes_nothing(swept: SweptWorld) -> None:
    origin, destination, _, _ = await _sleeper_wakes_after_the_cancellation(swept)
    orphan = await swept.puts(origin)
    fences = await destination.fetch("SELECT * FROM transfer_fence")

    said = await swept.sweep(dry_run=True)
    foretold = dict(swept.fates)
    assert await destination.fetch("SELECT * FROM transfer_fence") == fences
    assert len(await swept.files(destination)) == FILES.attachments
    assert orphan in await swept.files(origin)
    done = await swept.sweep()

    assert (said.files, said.bytes, foretold) == (done.files, done.bytes, swept.fates)
    assert await swept.files(destination) == set()


async def test_a_dry_run_shuts_no_mover_out(swept: SweptWorld) -> None:
    destination, claim, claim_id = await _out_of_hand(swept)

    await swept.sweep(dry_run=True)

    assert set(swept.fates.values()) == {Fate.COPY}
    await swept.land(claim, claim_id)
    assert len(await swept.files(destination)) == FILES.attachments


async def test_a_store_of_several_pages_is_swept_while_it_is_listed(swept: SweptWorld) -> None:
    (school,) = await swept.world.schools.create(new_uai())
    named = await swept.puts(school, pupil=await school.has(new_ine()))
    await asyncio.gather(*(swept.puts(school) for _ in range(1_100)))  # S3 lists a thousand at a time

    done = await swept.sweep(sweep_max_unclaimed_percent=100.0)

    assert done.files == {Fate.UNCLAIMED: 1_100, Fate.REFERENCED: 1}
    assert await swept.files(school) == {named}


async def test_many_sweeps_at_once_remove_what_one_would(swept: SweptWorld) -> None:
    origin, destination, _, _ = await _sleeper_wakes_after_the_cancellation(swept)
    await swept.puts(origin)
    others = [SweptWorld(swept.world, swept.records, swept.objects) for _ in range(4)]

    await asyncio.gather(*(other.sweep() for other in others))

    assert await swept.files(destination) == set()
    assert len(await swept.files(origin)) == FILES.attachments
    assert (await swept.world.schools.verify()).clean


async def _goes_back_in_time(school: School, *tables: str) -> None:
    """These tables are as they were before: what a restored backup does."""
    async with school.world.tenants.begin(school.uai) as tx:
        await tx.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            await tx.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


async def _is_dropped(swept: SweptWorld, school: School) -> None:
    schools = swept.world.schools
    await schools.tenants.close()
    tenant = await schools.directory.find(school.uai)
    assert tenant is not None
    cluster = schools.endpoints.postgres_clusters[tenant.cluster]
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        await server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(tenant.database)))


async def _waiting_for_locks(school: School, number: int) -> None:
    async def so_many() -> bool | None:
        ((waiting,),) = await school.fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return True if waiting == number else None

    await eventually(so_many, lambda: school.fetch("SELECT query, wait_event FROM pg_stat_activity"))
