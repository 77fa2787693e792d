"""Movers, join and relay killed at any moment, again and again, while pupils go from school to school.

`FAULT_KILLS` and `FAULT_MOVES` say how long it goes on; `FAULT_SEED` repeats a run's choices, which the run's last lines name.
"""

import os
import random
from collections.abc import Awaitable, Callable, Mapping

import pytest

from cpro_test_support.faults import tally
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.killing import Killing, Kind
from cpro_test_support.faults.load import Load
from cpro_test_support.faults.processes import Zygote
from cpro_test_support.records import verify
from cpro_test_support.transfers import environment_of, eventually
from cpro_transfer.bootstrap import NAME

KINDS = (Kind("move", 3, 0.1, 0.7), Kind("join", 1, 1.5, 4.0), Kind("relay", 1, 0.2, 1.5))
QUICK = {
    "lease_seconds": 1.0,
    "idle_in_transaction_seconds": 0.8,
    "batch_pupils": 5,
    "concurrent_batches": 2,
    "consumer_session_seconds": 1.5,
    "poll_seconds": 0.2,
}
ROUND_SECONDS = 400.0


@pytest.mark.parametrize(
    ("pupils", "kills", "moves"),
    [
        pytest.param(20, 12, 15, id="short"),
        pytest.param(
            240,
            int(os.environ.get("FAULT_KILLS", "1500")),
            int(os.environ.get("FAULT_MOVES", "2000")),
            id="long",
            marks=[pytest.mark.faults, pytest.mark.timeout(24 * 3600)],
        ),
    ],
)
async def test_whoever_is_killed_whenever_every_record_ends_where_its_pupil_is(
    journeys: Journeys, zygote: Zygote, pupils: int, kills: int, moves: int
) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1_000_000)))
    tally.seed("random kills", seed)
    dice = random.Random(seed)
    load = Load(journeys, dice)
    await load.begins(pupils)
    environment = environment_of(journeys.world.config.model_copy(update=QUICK))
    killed = 0
    while killed < kills or await load.completed() < moves:
        killing = Killing(zygote, environment, dice, KINDS, limit=max(kills // 4, kills - killed))
        async with killing.under_way():
            await load.all_move()
            await journeys.publish()
            await eventually(_done_or_enough(load, killing), within_seconds=ROUND_SECONDS)
        killed += killing.killed
        await _nothing_is_lost_half_way(load)
        await _undisturbed(load, zygote, environment)
        findings = await load.journeys.examined(published=True)
        assert findings.nothing, f"seed {seed}: {findings}"


def _done_or_enough(load: Load, killing: Killing) -> Callable[[], Awaitable[bool | None]]:
    async def so_far() -> bool | None:
        return True if killing.is_over else await load.is_at_rest()

    return so_far


async def _nothing_is_lost_half_way(load: Load) -> None:
    """Nobody is at work now, and no server is ending what it was told: each record is somewhere, its file readable."""
    schools = load.world.schools
    await eventually(_no_session_is_left(load), within_seconds=ROUND_SECONDS)
    verdict = await verify(schools.seeded, await schools.conninfos(), schools.store)
    assert not verdict.lost
    assert not verdict.changed
    assert not verdict.broken_files


async def _undisturbed(load: Load, zygote: Zygote, environment: Mapping[str, str]) -> None:
    """Let new processes end what the killed ones have left."""
    for command in ("join", "relay", "move", "move"):
        await zygote.start("transfer", command, environment)
    await load.rests(within_seconds=ROUND_SECONDS)
    await zygote.end()


def _no_session_is_left(load: Load) -> Callable[[], Awaitable[bool | None]]:
    """A server that was sent a COMMIT by a process that is dead by now may still be at it."""

    async def none() -> bool | None:
        for school in load.schools:
            if await school.fetch("SELECT 1 FROM pg_stat_activity WHERE application_name = %s LIMIT 1", NAME):
                return None
        return True

    return none
