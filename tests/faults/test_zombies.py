"""A mover that sleeps past its lease and wakes up when another has done its work changes nothing any more.

The sleeper is a real process, stopped by SIGSTOP; the lease is short, and so is the time-out that ends its open
transaction. When it wakes up, every row version of both schools and every object is compared with what was there
before. That it has done all that it was going to do shows in its next transfer, of other schools, being completed.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cpro_test_support.depth import points, slow
from cpro_test_support.faults import tally
from cpro_test_support.faults.checker import states
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.points import BEFORE_THE_LANDING, OF_THE_MOVER
from cpro_test_support.faults.processes import Forked, Zygote
from cpro_test_support.faults.snapshots import snapshot
from cpro_test_support.schools import School
from cpro_test_support.transfers import environment_of, eventually
from cpro_transfer.bootstrap import NAME

IN_EVERY_RUN = {"move.copied"}
SHORT = {
    "concurrent_batches": 1,
    "lease_seconds": 1.0,
    "idle_in_transaction_seconds": 0.7,
}
RANDOM_MOMENTS = 12


@pytest.mark.parametrize("point", points(OF_THE_MOVER, in_every_run=IN_EVERY_RUN))
async def test_a_mover_that_wakes_up_after_another_has_ended_its_transfer_changes_nothing(
    journeys: Journeys, zygote: Zygote, point: str
) -> None:
    pair = await journeys.pair()
    await journeys.changes_school(*pair)
    await journeys.world.take_in_events()
    sleeper = await _mover(journeys, zygote, crash_at=f"{point}:stop")
    await sleeper.asleep()

    async with _another(journeys, zygote):
        await journeys.at_rest()
    await _wakes_up_and_changes_nothing(journeys, sleeper, pair, point)

    findings = await journeys.examined()
    assert findings.nothing, findings


@pytest.mark.parametrize("point", points(BEFORE_THE_LANDING, in_every_run=()))
async def test_a_mover_that_wakes_up_after_its_transfer_was_cancelled_changes_nothing(
    journeys: Journeys, zygote: Zygote, point: str
) -> None:
    origin, destination = await journeys.pair()
    pupil = await journeys.changes_school(origin, destination)
    await journeys.world.take_in_events()
    sleeper = await _mover(journeys, zygote, crash_at=f"{point}:stop")
    await sleeper.asleep()

    await origin.has_again(pupil)
    journeys.expected[pupil] = origin.uai
    await journeys.world.take_in_events()
    async with _another(journeys, zygote):
        await journeys.at_rest()
    assert [transfer["state"] for transfer in await states(journeys.world)] == ["cancelled"]
    await _wakes_up_and_changes_nothing(journeys, sleeper, (origin, destination), point)

    findings = await journeys.examined()
    assert findings.nothing, findings


@pytest.mark.faults
async def test_a_mover_that_falls_asleep_at_any_moment_changes_nothing_when_it_wakes_up(
    journeys: Journeys, zygote: Zygote
) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1_000_000)))
    tally.seed("sleepers", seed)
    dice = random.Random(seed)
    for _ in range(RANDOM_MOMENTS):
        pair = await journeys.pair()
        for _ in range(5):
            await journeys.changes_school(*pair)
        await journeys.world.take_in_events()
        sleeper = await _mover(journeys, zygote)
        await _has_claimed(journeys, pair[0])
        await asyncio.sleep(dice.uniform(0, 0.12))  # when it falls asleep is the experiment
        sleeper.send(signal.SIGSTOP)
        await sleeper.asleep()

        async with _another(journeys, zygote):
            await journeys.at_rest()
        await _wakes_up_and_changes_nothing(journeys, sleeper, pair, "any moment")
        await zygote.end([sleeper])

    findings = await journeys.examined()
    assert findings.nothing, findings


@pytest.mark.parametrize(
    "point", points(("move.holding", "move.landing", "move.finishing"), in_every_run={"move.landing"})
)
async def test_a_mover_that_oversleeps_its_transaction_but_not_its_lease_goes_on(
    journeys: Journeys, zygote: Zygote, point: str
) -> None:
    """The server has ended its transaction: that is nobody's fault, and no reason to hold the transfer."""
    await journeys.changes_school(*await journeys.pair())
    await journeys.world.take_in_events()
    sleeper = await _mover(
        journeys, zygote, crash_at=f"{point}:stop", lease_seconds=30.0, idle_in_transaction_seconds=0.2
    )
    await sleeper.asleep()
    await _transactions_of_movers_have_ended(journeys)

    sleeper.send(signal.SIGCONT)
    await journeys.at_rest()

    findings = await journeys.examined()
    assert findings.nothing, findings


@slow
async def test_a_mover_that_falls_asleep_while_it_copies_rows_keeps_its_successor_waiting_for_a_lock_timeout_at_most(
    journeys: Journeys, zygote: Zygote
) -> None:
    """Its transaction is not idle, and the rows that it has written are in its successor's way."""
    pair = await journeys.pair()
    await journeys.changes_school(*pair)
    await journeys.world.take_in_events()
    _, destination = pair
    async with journeys.world.schools.tenants.begin(destination.uai) as tx:
        await tx.execute("LOCK TABLE passport_entry IN SHARE MODE")
        sleeper = await _mover(journeys, zygote)
        await _copies(destination, "Lock")
        sleeper.send(signal.SIGSTOP)
        await sleeper.asleep()
    await _copies(destination, "Client")

    async with _another(journeys, zygote):
        await journeys.at_rest()
    await _wakes_up_and_changes_nothing(journeys, sleeper, pair, "COPY")

    findings = await journeys.examined()
    assert findings.nothing, findings


async def _mover(journeys: Journeys, zygote: Zygote, *, crash_at: str = "", **changes: object) -> Forked:
    settings = journeys.world.config.model_copy(update=SHORT | changes)
    return await zygote.start("transfer", "move", environment_of(settings), crash_at=crash_at)


@asynccontextmanager
async def _another(journeys: Journeys, zygote: Zygote) -> AsyncIterator[None]:
    """Another mover at work, gone at the end of the block."""
    successor = await _mover(journeys, zygote)
    yield
    await zygote.end([successor])


async def _wakes_up_and_changes_nothing(
    journeys: Journeys, sleeper: Forked, pair: tuple[School, School], point: str
) -> None:
    """Nobody else is at work: whatever changes, the sleeper has done it."""
    store = journeys.world.schools.store
    before = await snapshot([*pair], store)
    elsewhere = await journeys.pair()
    await journeys.changes_school(*elsewhere)
    await journeys.world.take_in_events()

    sleeper.send(signal.SIGCONT)
    await journeys.at_rest()

    assert before.changes(await snapshot([*pair], store)) == []
    tally.slept(point)


async def _has_claimed(journeys: Journeys, origin: School) -> None:
    async def claimed() -> bool | None:
        ours = [one for one in await states(journeys.world) if one["origin_uai"] == origin.uai]
        return True if any(one["epoch"] for one in ours) else None

    await eventually(claimed, journeys.world.transfers)


async def _transactions_of_movers_have_ended(journeys: Journeys) -> None:
    async def none_open() -> bool | None:
        for school in journeys.world.schools.known.values():
            if await school.fetch(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND state LIKE 'idle in transaction%%'",
                NAME,
            ):
                return None
        return True

    await eventually(none_open)


async def _copies(school: School, waits_for: str) -> None:
    """Until a mover's COPY into this school's database waits for a lock, or for the mover itself."""

    async def waiting() -> bool | None:
        found = await school.fetch(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
            " AND state = 'active' AND query LIKE 'COPY%%' AND wait_event_type = %s",
            NAME,
            waits_for,
        )
        return True if found else None

    await eventually(waiting, lambda: school.fetch("SELECT state, query, wait_event FROM pg_stat_activity"))
