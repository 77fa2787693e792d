"""Wait for a condition, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cpro_embedded.demo.errors import DemoFailedError

Seen = TypeVar("Seen")


async def until(
    expected: str,
    look: Callable[[], Awaitable[Seen]],
    holds: Callable[[Seen], bool],
    *,
    within_seconds: float = 60,
    every_seconds: float = 0.1,
) -> Seen:
    """Look until what is seen is as expected, and return it.

    Raises:
        DemoFailedError: it was not within the time; the message has what was seen last.
    """
    seen: Seen | None = None
    try:
        async with asyncio.timeout(within_seconds):
            while True:
                seen = await look()
                if holds(seen):
                    return seen
                await asyncio.sleep(every_seconds)
    except TimeoutError:
        raise DemoFailedError(f"not within {within_seconds:g} s: {expected}; seen last: {seen}") from None
