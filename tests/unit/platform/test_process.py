import asyncio

import pytest
from structlog.testing import capture_logs

from cpro_platform.process import Background, BackgroundDiedError
from cpro_platform.readiness import Readiness


async def test_a_background_task_that_dies_is_logged_and_makes_the_service_not_ready() -> None:
    readiness = Readiness()
    background = Background(readiness)

    async def dies() -> None:
        raise LookupError

    with capture_logs() as logs:
        background.start("sweep", dies)
        with pytest.raises(BackgroundDiedError):
            await background.wait()

    assert [(log["event"], log["task"]) for log in logs] == [("background.died", "sweep")]
    assert await readiness.missing() == {"sweep": "died"}
    await background.stop()


async def test_stopping_waits_until_each_task_has_put_its_things_in_order() -> None:
    background = Background(Readiness())
    running, steps = asyncio.Event(), list[str]()

    async def works() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("in order")

    background.start("relay", works)
    await running.wait()
    await background.stop()

    assert steps == ["in order"]


async def test_a_task_that_has_missed_the_first_word_to_stop_is_told_again() -> None:
    background = Background(Readiness(), told_again_seconds=0.01)
    running, told = asyncio.Event(), list[str]()

    async def misses_the_first() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("missed")
        await asyncio.Event().wait()

    background.start("mover", misses_the_first)
    await running.wait()

    async with asyncio.timeout(5):
        await background.stop()

    assert told == ["missed"]
