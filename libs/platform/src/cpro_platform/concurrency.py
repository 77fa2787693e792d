"""Two things at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

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
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
