"""A mover that waits for the bell is stopped at once, whenever it is told to."""

import asyncio

import pytest

from cpro_platform.database import Database
from cpro_transfer.adapters.wake_ups import DueTransfers

LOOP_TURNS = 12
"""More than a ring takes to reach the one who waits."""


@pytest.mark.parametrize("turns", range(LOOP_TURNS))
async def test_a_wait_that_is_cancelled_while_the_bell_rings_ends_as_cancelled(turns: int) -> None:
    bell = DueTransfers(Database("", name="never opened"), poll_seconds=60)
    waiting = asyncio.create_task(bell.wait())
    await _let_others_run(LOOP_TURNS)
    assert not waiting.done()

    await bell.ring()
    await _let_others_run(turns)
    was_woken = waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=5)

    assert was_woken or waiting.cancelled()


async def test_the_bell_wakes_everybody_who_waits() -> None:
    bell = DueTransfers(Database("", name="never opened"), poll_seconds=60)
    waiting = {asyncio.create_task(bell.wait()) for _ in range(3)}
    await _let_others_run(LOOP_TURNS)

    await bell.ring()

    done, _ = await asyncio.wait(waiting, timeout=5)
    assert done == waiting


async def test_who_waits_looks_again_after_a_while_without_a_bell() -> None:
    bell = DueTransfers(Database("", name="never opened"), poll_seconds=0.01)

    async with asyncio.timeout(5):
        await bell.wait()


async def _let_others_run(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
