"""Consumers over a test's own topic, and handlers that remember, fail or take their time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from cpro_platform.clock import SystemClock
from cpro_platform.consuming import Consumer, Message
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import EventPublisher
from cpro_test_support.messages import Numbered, OwnTopic
from cpro_test_support.transfers import eventually

Numbers = Callable[[list[int]], Awaitable[None]]


def new_group() -> str:
    """A consumer group that no other test uses."""
    return f"test-{uuid4().hex[:12]}"


def number_of_event(message: Message) -> int:
    """The number that the message's event carries."""
    event = message.envelope.event
    assert isinstance(event, Numbered)
    return event.number


class Handler:
    """Remembers the numbers of each batch that it has handled; `meanwhile` may fail or take its time before."""

    def __init__(self, meanwhile: Numbers | None = None) -> None:
        self.begun: list[list[int]] = []
        self.done: list[list[int]] = []
        self.cancelled = 0
        self._meanwhile = meanwhile

    async def __call__(self, messages: Sequence[Message]) -> None:
        """Handle a batch."""
        numbers = [number_of_event(message) for message in messages]
        self.begun.append(numbers)
        try:
            if self._meanwhile:
                await self._meanwhile(numbers)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.done.append(numbers)

    @property
    def numbers(self) -> list[int]:
        """All the numbers that were handled, in order."""
        return [number for batch in self.done for number in batch]

    async def handles(self, *numbers: int) -> None:
        """Wait until each of these was handled at least once."""

        async def all_done() -> bool | None:
            return True if set(numbers) <= set(self.numbers) else None

        await eventually(all_done, self._seen)

    async def begins(self, batches: int = 1) -> None:
        """Wait until so many batches were begun."""

        async def so_many() -> bool | None:
            return True if len(self.begun) >= batches else None

        await eventually(so_many, self._seen)

    async def _seen(self) -> object:
        return {"begun": self.begun, "done": self.done}


@asynccontextmanager
async def consuming(
    topic: OwnTopic,
    handle: Callable[[Sequence[Any]], Awaitable[None]],
    group: str,
    *,
    dead_letters_by: str | None = None,
    **options: Any,
) -> AsyncIterator[asyncio.Task[None]]:
    """A consumer at work; cancelled at the end. Yields its task."""
    publisher = EventPublisher(dead_letters_by or topic.bootstrap, client_id="tests", request_timeout_seconds=3)
    consumer = Consumer(
        options.pop("bootstrap", topic.bootstrap),
        group=group,
        topics=[topic.name],
        handle=handle,
        dead_letters=DeadLetters(publisher, group=group, clock=SystemClock()),
        **options,
    )
    task = asyncio.create_task(consumer.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
        await publisher.stop()


async def commits(topic: OwnTopic, group: str, number: int) -> None:
    """Wait until the group has so many messages behind it."""

    async def behind() -> bool | None:
        return True if await topic.committed(group) == number else None

    await eventually(behind, lambda: topic.committed(group))
