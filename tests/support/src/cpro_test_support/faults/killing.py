"""Processes that are killed at random moments and started again at once, for as long as it is wanted."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cpro_test_support.faults.processes import Forked, Zygote


@dataclass(frozen=True, slots=True)
class Kind:
    """One command, how many of it work side by side, and how long each lives (seconds, between these two)."""

    command: str
    number: int
    shortest: float
    longest: float


@dataclass(slots=True)
class Killing:
    """Kills until told to stop or until so many have been killed."""

    zygote: Zygote
    environment: Mapping[str, str]
    dice: random.Random
    kinds: tuple[Kind, ...]
    limit: int
    killed: int = 0

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Kill while the block runs. At its end whatever still lives is killed too, all at once: a power cut."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._kill(kind)) for kind in self.kinds for _ in range(kind.number)]
            yield
            for task in tasks:
                task.cancel()
        # All that the zygote knows of, also one that was just being born: nobody may be at work after this.
        for process in await self.zygote.living():
            await self._end(process)

    @property
    def is_over(self) -> bool:
        """Whether enough have been killed."""
        return self.killed >= self.limit

    async def _kill(self, kind: Kind) -> None:
        while not self.is_over:
            process = await self.zygote.start("transfer", kind.command, self.environment)
            await asyncio.sleep(self.dice.uniform(kind.shortest, kind.longest))  # when it dies is the experiment
            assert process.running, f"ended by itself:\n{process.printed()}"
            await self._end(process)

    async def _end(self, process: Forked) -> None:
        await process.killed()
        process.log.unlink(missing_ok=True)
        self.killed += 1
