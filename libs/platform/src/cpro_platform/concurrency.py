"""Things that go on at once, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def both(one: Awaitable[A], other: Awaitable[B]) -> tuple[A, B]:
    """Await both, each to its end: what they use is free again when this returns or raises.

    Raises:
        BaseException: what `one` raised, else what `other` did.
    """
    first, second = await asyncio.gather(one, other, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


async def end(tasks: Collection[asyncio.Task[Any]], *, told_again_seconds: float = 5.0) -> None:
    """Cancel tasks and wait until all have ended; what they raised is left to whoever asks them.

    One that goes on is told again: before Python 3.12 `asyncio.wait_for`, with which the connection pool waits, forgets
    a cancellation that comes just when the wait is over.
    """
    going_on = set(tasks)
    while going_on:
        for task in going_on:
            task.cancel()
        ended, going_on = await asyncio.wait(going_on, timeout=told_again_seconds)
        for task in ended:
            if not task.cancelled():
                task.exception()  # asked: else asyncio says that nobody did


async def read_ahead(items: AsyncIterator[A], use: Callable[[A], Awaitable[None]], *, at_most: int) -> None:
    """Give each item to `use`, in order, while `items` is asked for the next ones: `at_most` of them wait.

    Raises:
        BaseException: what either raised first; the other is cancelled, and has ended.
    """
    waiting: asyncio.Queue[A | None] = asyncio.Queue(at_most)

    async def read() -> None:
        async for item in items:
            await waiting.put(item)
        await waiting.put(None)

    async def write() -> None:
        while (item := await waiting.get()) is not None:
            await use(item)

    tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(tasks)
