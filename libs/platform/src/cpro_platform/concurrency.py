"""Things that go on at once, and how they end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
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


async def see_out(task: asyncio.Task[Any], *, grace_seconds: float) -> None:
    """Let a task come to its end, for so long; then cancel it, and wait until it has ended.

    Whoever is cancelled while waiting here (`end` tells again) waits all the same, and hears of it afterwards: what the
    task uses is closed next.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace_seconds
    told = False
    while not task.done():
        try:
            await asyncio.wait({task}, timeout=max(deadline - loop.time(), 0))
            if not task.done() and loop.time() >= deadline:
                await end({task})
        except asyncio.CancelledError:
            told = True
    if told:
        raise asyncio.CancelledError


async def let_finish(work: Coroutine[Any, Any, A], *, grace_seconds: float) -> A:
    """Await `work`. Cancelled, let it come to its end first, for so long, rather than leave it half done."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await see_out(task, grace_seconds=grace_seconds)
        if not task.cancelled():
            task.exception()  # asked: else asyncio says that nobody did
        raise


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
