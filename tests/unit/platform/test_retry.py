from collections.abc import Callable
from itertools import islice

import pytest
from structlog.testing import capture_logs

from cpro_platform.logs import get_logger
from cpro_platform.retry import backoff, regularly, retrying


def test_delays_grow_up_to_the_longest_and_vary_below_their_ceiling() -> None:
    def most(_low: float, high: float) -> float:
        return high

    assert list(islice(backoff(first_seconds=1, longest_seconds=5, uniform=most), 5)) == [1, 2, 4, 5, 5]
    drawn = list(islice(backoff(first_seconds=8, longest_seconds=8), 50))
    assert all(4 <= delay <= 8 for delay in drawn)
    assert len(set(drawn)) > 1


def failing(times: int, error: Exception) -> Callable[[], "object"]:
    left = [error] * times

    async def operation() -> str:
        if left:
            raise left.pop()
        return "done"

    return operation


async def test_what_may_pass_is_tried_again_and_what_may_not_is_raised_at_once() -> None:
    retried: list[BaseException] = []

    async def run(times: int, error: Exception, attempts: int | None = None) -> object:
        return await retrying(
            failing(times, error),  # type: ignore[arg-type]
            when=lambda raised: isinstance(raised, OSError),
            attempts=attempts,
            first_seconds=0.001,
            on_retry=lambda raised, _delay: retried.append(raised),
        )

    assert await run(3, OSError()) == "done"
    assert len(retried) == 3
    with pytest.raises(ValueError):  # noqa: PT011 - the class is what is asked
        await run(1, ValueError())
    with pytest.raises(OSError):  # noqa: PT011
        await run(3, OSError(), attempts=3)
    assert len(retried) == 5


async def test_regular_work_waits_out_what_is_away_and_ends_with_a_bug() -> None:
    turns = iter((None, OSError("away"), None, ValueError("a bug")))
    done = 0

    async def work() -> None:
        nonlocal done
        if error := next(turns):
            raise error
        done += 1

    with capture_logs() as logs, pytest.raises(ValueError, match="a bug"):
        await regularly(work, 0, log=get_logger("tests"), waiting="work.waiting")

    assert done == 2
    assert [(line["event"], line["error"]) for line in logs] == [("work.waiting", "OSError")]
