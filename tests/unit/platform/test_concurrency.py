"""Work that is told to stop comes to its end first, however often it is told."""

import asyncio

import pytest

from cpro_platform.concurrency import end, let_finish, see_out


async def test_work_that_is_told_to_stop_twice_still_comes_to_its_end() -> None:
    going_on, may_end, steps = asyncio.Event(), asyncio.Event(), list[str]()

    async def moves_records() -> None:
        going_on.set()
        await may_end.wait()
        steps.append("moved")

    mover = asyncio.create_task(let_finish(moves_records(), grace_seconds=30))
    await going_on.wait()
    mover.cancel()
    await asyncio.sleep(0)
    stopping = asyncio.create_task(end({mover}, told_again_seconds=0.01))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    may_end.set()
    await stopping

    assert steps == ["moved"]
    assert mover.cancelled()


async def test_work_that_does_not_end_in_time_is_cancelled() -> None:
    steps = list[str]()

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("rolled back")

    mover = asyncio.create_task(let_finish(hangs(), grace_seconds=0.01))
    await asyncio.sleep(0)
    mover.cancel()
    with pytest.raises(asyncio.CancelledError):
        await mover

    assert steps == ["rolled back"]


async def test_what_work_returns_or_raises_is_passed_on() -> None:
    async def returns() -> int:
        return 3

    async def fails() -> None:
        raise LookupError

    assert await let_finish(returns(), grace_seconds=1) == 3
    with pytest.raises(LookupError):
        await let_finish(fails(), grace_seconds=1)


async def test_who_waits_for_an_ended_task_goes_on_at_once() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    await see_out(task, grace_seconds=0)
