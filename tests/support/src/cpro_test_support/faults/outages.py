"""Take one server away, and bring it back on the same port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

from cpro_embedded.stack import EmbeddedStack
from cpro_test_support.faults import tally

CLUSTERS = ("north", "south", "west")
"""Three, so that each of a transfer's databases can go away alone. The first has what is no school's."""
ORIGINS, DESTINATIONS = "south", "west"


class Dependency(StrEnum):
    """What a process needs, and may have to do without for a while."""

    ORIGIN = "origin"
    DESTINATION = "destination"
    SERVICE_DATABASE = "service-db"
    KAFKA = "kafka"
    STORE = "store"


class Way(StrEnum):
    """How a server goes away."""

    STOP = "stop"
    KILL = "kill"


class _Server(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Outages:
    """The servers of one stack, to be taken away one at a time."""

    def __init__(self, stack: EmbeddedStack) -> None:
        self._servers: dict[Dependency, _Server] = {
            Dependency.SERVICE_DATABASE: stack.postgres[CLUSTERS[0]],
            Dependency.ORIGIN: stack.postgres[ORIGINS],
            Dependency.DESTINATION: stack.postgres[DESTINATIONS],
            Dependency.KAFKA: stack.kafka,
            Dependency.STORE: stack.object_store,
        }

    @asynccontextmanager
    async def of(self, dependency: Dependency, way: Way, phase: str) -> AsyncIterator[None]:
        """The server is away inside the block, and back after it, however the block ends. Counted at its end."""
        server = self._servers[dependency]
        await asyncio.to_thread(server.kill if way is Way.KILL else server.stop)
        try:
            yield
        finally:
            await asyncio.to_thread(server.start)
        tally.outage(dependency, phase, way)
