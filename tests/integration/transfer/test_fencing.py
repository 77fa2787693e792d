"""A mover that sleeps through its lease and wakes up can do no harm: its epoch is over."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from cpro_contracts.transfers import Reason
from cpro_platform.clock import SystemClock
from cpro_platform.object_store import ObjectStore
from cpro_tenant_db.privileges import Service
from cpro_tenant_db.provisioning import schema_version
from cpro_tenant_db.roles import ServiceLogins
from cpro_test_support.depth import slow
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.objects import RecordObjects
from cpro_transfer.adapters.projection import Projection
from cpro_transfer.adapters.tenant_records import TenantRecords
from cpro_transfer.bootstrap import NAME
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.errors import LandingRefusedError, SupersededError
from cpro_transfer.handlers.moving import Mover
from cpro_transfer.ports.moving import Attachment, Landed

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, attachments=2)


class Steps:
    """The pieces of a mover, to take one step at a time."""

    def __init__(self, world: TransferWorld) -> None:
        self.world = world
        self.records = TenantRecords(
            world.schools.tenants, schema_version=schema_version(), idle_in_transaction_seconds=5
        )
        self.objects = RecordObjects(world.schools.store)
        self.ledger = PostgresLedger(
            world.database, Projection(), SystemClock(), worker=str(uuid4()), lease=timedelta(milliseconds=1)
        )

    async def claim(self) -> Claim:
        """Claim the one transfer there is; the lease is over at once."""
        claim: Claim = await eventually(self._claim_one, self.world.transfers)
        return claim

    async def _claim_one(self) -> Claim | None:
        claims = await self.ledger.claim(10)
        return claims[0] if claims else None

    async def hold(self, claim: Claim) -> tuple[UUID, list[Attachment]]:
        """Prepare, hold and copy the files."""
        claim_id = uuid4()
        prepared = await self.records.prepare(claim.destination_uai, [claim], to_land=True)
        outcome = await self.records.hold(claim.origin_uai, [claim], prepared.sheets, claim_id, landed=[])
        assert outcome.held == {claim.id}
        attachments = list(outcome.attachments)
        assert await self.objects.copy([claim], attachments) == {}
        return claim_id, attachments

    async def land(self, claim: Claim, claim_id: UUID) -> Landed:
        """Land."""
        landed = await self.records.land(claim.origin_uai, claim.destination_uai, [claim], claim_id)
        return landed[claim.id]

    def mover(self) -> Mover:
        """A whole mover with a lease that lasts."""
        ledger = PostgresLedger(
            self.world.database, Projection(), SystemClock(), worker=str(uuid4()), lease=timedelta(seconds=30)
        )
        return Mover(ledger, self.records, self.objects, batch_size=10, renew_seconds=10)


async def _called_for(world: TransferWorld) -> tuple[School, School, UUID]:
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    return origin, destination, leaver


async def _move_until_done(world: TransferWorld, steps: Steps, state: str) -> None:
    mover = steps.mover()

    async def moved_on() -> bool | None:
        await mover.move_next()
        return True if await world.transfers(state=state) else None

    await eventually(moved_on, world.transfers)


async def test_a_late_landing_is_refused_once_another_has_taken_over(world: TransferWorld) -> None:
    origin, destination, _ = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    claim_id, _ = await steps.hold(sleeper)

    successor = await steps.claim()
    await steps.hold(successor)
    with pytest.raises(SupersededError):
        await steps.land(sleeper, claim_id)

    assert set((await world.schools.verify()).places.values()) == {origin.uai}
    await _move_until_done(world, steps, "completed")
    assert set((await world.schools.verify()).places.values()) == {destination.uai}


async def test_a_landing_after_the_transfer_was_cancelled_is_refused(world: TransferWorld) -> None:
    """The hold alone would not do: it is gone with the cancellation. The fence at the destination remembers."""
    origin, _, leaver = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    claim_id, _ = await steps.hold(sleeper)

    await origin.has_again(leaver)
    await world.take_in_events()
    await _move_until_done(world, steps, "cancelled")
    with pytest.raises(SupersededError):
        await steps.land(sleeper, claim_id)

    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {origin.uai}
    assert await origin.fetch("SELECT * FROM transfer_hold") == []


async def test_nothing_lands_of_a_pupil_who_is_back_at_the_origin(world: TransferWorld) -> None:
    origin, destination, leaver = await _called_for(world)
    steps = Steps(world)
    claim = await steps.claim()
    claim_id, _ = await steps.hold(claim)

    await origin.has_again(leaver)  # and nobody has heard of it yet
    with pytest.raises(LandingRefusedError) as refused:
        await steps.land(claim, claim_id)

    assert refused.value.reasons == {claim.id: Reason.NOT_LEFT}
    assert set((await world.schools.verify()).places.values()) == {origin.uai}
    assert await destination.fetch("SELECT * FROM transfer_receipt") == []


async def test_the_lease_of_a_batch_lasts_though_some_of_it_has_ended(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    for ine in (new_ine(), new_ine()):
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        await destination.has(ine)
    await world.take_in_events()
    ledger = Steps(world).ledger
    ended, going_on = await ledger.claim(10)
    (before,) = await world.transfers(id=going_on.id)
    await ledger.hold([ended], Reason.IDENTITY_MISMATCH)

    await ledger.renew([ended, going_on])

    (after,), (held,) = await world.transfers(id=going_on.id), await world.transfers(id=ended.id)
    assert after["lease_until"] > before["lease_until"]
    assert after["due_at"] > before["due_at"]
    assert (held["state"], held["lease_until"], held["due_at"]) == ("held", None, None)


@slow
async def test_the_session_of_a_mover_that_sleeps_where_no_timer_runs_is_ended_by_who_meets_it(
    world: TransferWorld,
) -> None:
    """The driver ends a pipeline with a Flush, which disarms the server's timer for idle transactions: here it is off."""
    origin, destination, leaver = await _called_for(world)
    owner = (await world.schools.conninfos())[origin.uai]
    own = ServiceLogins.of(Service.TRANSFER, world.config.tenants).to_tenant(owner, origin.uai)
    async with await psycopg.AsyncConnection.connect(own, application_name=NAME) as sleeper:
        await sleeper.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        await sleeper.execute("SELECT 1 FROM pupil WHERE id = %s FOR UPDATE", (leaver,))

        async with world.service(idle_in_transaction_seconds=0.5):
            await world.ends("completed")

        with pytest.raises(psycopg.OperationalError):
            await sleeper.execute("SELECT 1")
    assert set((await world.schools.verify()).places.values()) == {destination.uai}


async def test_a_landing_that_was_under_way_when_it_was_fenced_is_refused(world: TransferWorld) -> None:
    """The sleeper's hold is still there and its own: only the fence at the destination has moved."""
    origin, _, _ = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    claim_id, _ = await steps.hold(sleeper)

    successor = await steps.claim()
    await steps.records.prepare(successor.destination_uai, [successor], to_land=True)
    with pytest.raises(SupersededError):
        await steps.land(sleeper, claim_id)

    assert set((await world.schools.verify()).places.values()) == {origin.uai}


async def test_a_late_finish_and_a_late_release_change_nothing(world: TransferWorld) -> None:
    origin, destination, _ = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    claim_id, _ = await steps.hold(sleeper)
    landed = await steps.land(sleeper, claim_id)

    successor = await steps.claim()
    prepared = await steps.records.prepare(successor.destination_uai, [successor], to_land=True)
    assert prepared.landed == {successor.id: landed}
    await steps.records.hold(successor.origin_uai, [], {}, uuid4(), landed=[successor])
    with pytest.raises(SupersededError):
        await steps.records.finish(sleeper.origin_uai, {sleeper: landed}, claim_id)
    await steps.records.release(sleeper.origin_uai, [sleeper])

    assert await origin.fetch("SELECT epoch FROM transfer_hold") == [(successor.epoch,)]
    assert len((await world.schools.verify()).doubled) == len(world.schools.seeded.rows)
    await _move_until_done(world, steps, "completed")
    verdict = await world.schools.verify()
    assert verdict.clean
    assert set(verdict.places.values()) == {destination.uai}


async def test_a_late_hold_after_the_transfer_was_cancelled_leaves_nothing_behind(world: TransferWorld) -> None:
    origin, destination, leaver = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    prepared = await steps.records.prepare(sleeper.destination_uai, [sleeper], to_land=True)

    await destination.opts_out()
    await world.take_in_events()
    await _move_until_done(world, steps, "cancelled")
    with suppress(SupersededError):
        await steps.records.hold(sleeper.origin_uai, [sleeper], prepared.sheets, uuid4(), landed=[])

    assert await origin.fetch("SELECT * FROM transfer_hold") == []
    await origin.has_again(leaver)
    await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'a new year')", leaver)


async def test_a_hold_that_waited_for_a_finish_leaves_nothing_behind(world: TransferWorld) -> None:
    origin, _, leaver = await _called_for(world)
    steps = Steps(world)
    slow = await steps.claim()
    claim_id, _ = await steps.hold(slow)
    landed = await steps.land(slow, claim_id)
    successor = await steps.claim()
    await steps.records.prepare(successor.destination_uai, [successor], to_land=True)

    async with world.schools.tenants.begin(origin.uai) as tx:
        await tx.execute("SELECT 1 FROM pupil WHERE id = %s FOR UPDATE", (leaver,))
        finish = asyncio.create_task(steps.records.finish(slow.origin_uai, {slow: landed}, uuid4()))
        await _waiting_for_locks(origin, 1)
        hold = asyncio.create_task(steps.records.hold(origin.uai, [], {}, uuid4(), landed=[successor]))
        await _waiting_for_locks(origin, 2)
    await asyncio.gather(finish, hold)
    await steps.records.finish(successor.origin_uai, {successor: landed}, uuid4())

    assert await origin.fetch("SELECT * FROM transfer_hold") == []


async def test_late_removals_leave_the_files_of_whoever_landed(world: TransferWorld) -> None:
    _, destination, _ = await _called_for(world)
    steps = Steps(world)
    sleeper = await steps.claim()
    await steps.hold(sleeper)

    await _move_until_done(world, steps, "completed")
    await steps.objects.discard_copies(sleeper)

    assert (await world.schools.verify()).clean
    assert len(await _files(world.schools.store, destination)) == RECORDS.attachments


async def test_files_landed_by_an_earlier_mover_survive_the_tidying_of_the_next(world: TransferWorld) -> None:
    _, destination, _ = await _called_for(world)
    steps = Steps(world)
    first = await steps.claim()
    claim_id, _ = await steps.hold(first)
    await steps.land(first, claim_id)

    await _move_until_done(world, steps, "completed")

    assert (await world.schools.verify()).clean
    assert all(f"/{first.epoch}/" in key for key in await _files(world.schools.store, destination))


async def _waiting_for_locks(school: School, number: int) -> None:
    async def so_many() -> bool | None:
        ((waiting,),) = await school.fetch(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return True if waiting == number else None

    await eventually(so_many, lambda: school.fetch("SELECT query, wait_event FROM pg_stat_activity"))


async def _files(store: ObjectStore, school: School) -> Sequence[str]:
    return [stored.key for stored in await store.list(f"tenants/{school.uai}/")]
