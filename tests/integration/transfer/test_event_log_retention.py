"""Published events are kept 400 days, and then deleted where somebody writes anyway: a school at rest is left at rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cpro_platform import outbox
from cpro_platform.clock import SystemClock
from cpro_platform.database import Database
from cpro_platform.outbox import Relay
from cpro_tenant_db.tenant_outbox import TenantOutbox
from cpro_test_support.letters import an_arrival
from cpro_test_support.reconciling import reconciled, row_versions
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_uai, opened_world
from cpro_transfer.bootstrap import Work

AGE = "UPDATE outbox SET published_at = clock_timestamp() - make_interval(days => %s), occurred_at = occurred_at"
COUNT = "SELECT count(*) FROM outbox"


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as opened:
        yield opened


async def test_who_writes_to_a_schools_log_deletes_what_is_kept_no_longer_and_nothing_else(
    world: TransferWorld,
) -> None:
    (school,) = await world.schools.create(new_uai())
    await _says(school, 2, days_ago=401)
    await _says(school, 3, days_ago=399)
    school.publishes = False
    never_said = await school.has(None)
    await school.execute("UPDATE outbox SET occurred_at = now() - interval '500 days' WHERE published_at IS NULL")

    async with _tenant_outbox(world) as log, log.writing(school.uai) as tx:
        await outbox.add(tx, [an_arrival()], source="/tests", clock=SystemClock(), wake_relay=False)

    rows = await school.fetch("SELECT payload ->> 'pupil_id', published_at FROM outbox")
    assert len(rows) == 5
    assert str(never_said) in {pupil for pupil, _ in rows}
    assert all(published for _, published in rows)


async def test_a_log_of_many_years_is_emptied_at_once(world: TransferWorld) -> None:
    (school,) = await world.schools.create(new_uai())
    await _copies(school, 2_500)

    async with _tenant_outbox(world) as log, log.writing(school.uai):
        pass

    assert await school.fetch(COUNT) == [(0,)]


async def test_a_school_that_nobody_touches_is_not_asked_and_keeps_what_it_has(
    world: TransferWorld, servers: Servers
) -> None:
    resting, touched = await world.schools.opted_in(new_uai(), new_uai())
    for school in (resting, touched):
        await school.execute(AGE, 401)
    await reconciled(world, touched.uai)
    before = (await row_versions(world))[resting.uai]

    async with world.service(Work.RELAY) as service:
        await _service_event(world, days_ago=401)
        await eventually(lambda: _empty(world))
        assert service._tenants.open_count == 0

    assert (await row_versions(world))[resting.uai] == before
    assert await resting.fetch(COUNT) == [(1,)]


async def test_a_reconciliation_that_repairs_touches_the_school_and_so_tidies_it(world: TransferWorld) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    await school.execute(AGE, 401)

    await reconciled(world)

    rows = await school.fetch("SELECT now() - published_at < interval '1 day' FROM outbox")
    assert rows == [(True,)]  # it has said its opt-in again: the transfer database had never heard it


async def test_a_relay_deletes_from_its_services_own_outbox_at_its_start(world: TransferWorld) -> None:
    await _service_event(world, days_ago=401)
    await _service_event(world, days_ago=399)
    relay = asyncio.create_task(Relay(world.database, world.schools.publisher).run())
    try:
        await eventually(lambda: _number(world, 1))
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay


async def test_the_time_is_a_setting(world: TransferWorld) -> None:
    await _service_event(world, days_ago=3)
    tenants = world.config.tenants.model_copy(update={"event_log_days": 2})
    async with world.service(Work.RELAY, tenants=tenants):
        await eventually(lambda: _empty(world))


async def _says(school: School, number: int, *, days_ago: int) -> None:
    for _ in range(number):
        pupil = await school.has(None)
        await school.execute(f"{AGE} WHERE payload ->> 'pupil_id' = %s", days_ago, str(pupil))


async def _copies(school: School, number: int) -> None:
    await school.has(None)
    await school.execute(
        f"INSERT INTO outbox ({outbox.COLUMNS}, published_at)"
        f" SELECT {outbox.COLUMNS}, now() - interval '500 days' FROM outbox, generate_series(2, %s)",
        number,
    )
    await school.execute("UPDATE outbox SET published_at = now() - interval '500 days'")


async def _service_event(world: TransferWorld, *, days_ago: int) -> None:
    async with world.database.begin() as tx:
        await outbox.add(tx, [an_arrival()], source="/tests", clock=SystemClock(), wake_relay=False)
        await tx.execute(f"{AGE} WHERE published_at IS NULL", (days_ago,))


@asynccontextmanager
async def _tenant_outbox(world: TransferWorld) -> AsyncIterator[TenantOutbox]:
    database = Database(world.config.database.conninfo, name="test-notes", max_connections=2)
    await database.open()
    try:
        yield TenantOutbox(database, world.schools.tenants, world.schools.publisher)
    finally:
        await database.close()


async def _number(world: TransferWorld, number: int) -> bool | None:
    async with world.database.begin() as tx:
        rows: list[tuple[Any, ...]] = await (await tx.execute(COUNT)).fetchall()
    return True if rows == [(number,)] else None


async def _empty(world: TransferWorld) -> bool | None:
    return await _number(world, 0)
