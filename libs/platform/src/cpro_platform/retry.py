"""Waiting before another try: delays that grow, with jitter so that many processes don't come back as one."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from cpro_platform.transience import is_transient

Result = TypeVar("Result")


def backoff(
    *,
    first_seconds: float = 0.1,
    longest_seconds: float = 30.0,
    factor: float = 2.0,
    uniform: Callable[[float, float], float] = random.uniform,
) -> Iterator[float]:
    """Endless delays in seconds: each drawn between half of a ceiling and the ceiling, which grows up to the longest.

    `for delay in backoff(): ...; await asyncio.sleep(delay)`; a new call starts again from the first delay.
    """
    ceiling = first_seconds
    while True:
        yield uniform(ceiling / 2, ceiling)
        ceiling = min(ceiling * factor, longest_seconds)


async def retrying(
    operation: Callable[[], Awaitable[Result]],
    *,
    when: Callable[[BaseException], bool],
    attempts: int | None = None,
    first_seconds: float = 0.1,
    longest_seconds: float = 30.0,
    on_retry: Callable[[BaseException, float], None] = lambda _error, _delay: None,
) -> Result:
    """Run `operation` until it succeeds, `when` says that its error is not worth another try, or attempts are used up.

    `operation` must be safe to repeat. `attempts` None means for ever; `on_retry` is told the error and the delay in
    seconds before each wait.

    Raises:
        Exception: the last error of `operation`.
    """
    tried = 0
    for delay in backoff(first_seconds=first_seconds, longest_seconds=longest_seconds):
        try:
            return await operation()
        except Exception as error:
            tried += 1
            if not when(error) or (attempts is not None and tried >= attempts):
                raise
            on_retry(error, delay)
        await asyncio.sleep(delay)
    raise AssertionError("the delays are endless")


async def regularly(
    work: Callable[[], Awaitable[None]], interval_seconds: float, *, log: FilteringBoundLogger, waiting: str
) -> None:
    """Work at the start and then at each interval, until cancelled.

    A dependency that is away is waited for until the next turn, under the log's event `waiting`. What else goes wrong
    is raised, and ends it.
    """
    while True:
        try:
            await work()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning(waiting, error=type(error).__name__)
        await asyncio.sleep(interval_seconds)
