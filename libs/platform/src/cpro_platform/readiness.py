"""Whether a process can serve now, and if not, what it is waiting for and since when. Behind `/readyz`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from cpro_platform.clock import Clock, SystemClock

Probe = Callable[[], Awaitable[object]]
"""Returns when its dependency answers; raises when it does not."""

PROCESS = "process"
STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that can't serve: why, and since when. Of what is asked, when it was first found so."""

    reason: str
    since: datetime


class Readiness:
    """The named things that a process needs.

    Two kinds: probes, asked at each check (a database, the object store); and states, set by whoever knows (a consumer
    that waits for Kafka).
    """

    def __init__(self, *, timeout_seconds: float = 2.0, clock: Clock | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._clock = clock or SystemClock()
        self._probes: dict[str, Probe] = {}
        self._states: dict[str, Missing] = {}
        self._failing: dict[str, Missing] = {}
        self._at_the_end: list[Callable[[], None]] = []

    def add_probe(self, name: str, probe: Probe) -> None:
        """Ask `probe` at each check, under `name`."""
        self._probes[name] = probe

    def remove_probe(self, name: str) -> None:
        """Ask no more. Harmless if nothing was asked."""
        self._probes.pop(name, None)
        self._failing.pop(name, None)

    def not_ready(self, name: str, reason: str) -> None:
        """Note that `name` can't serve, and why: a code or the name of an error class, never a value."""
        self._note(self._states, name, reason)

    def ready(self, name: str) -> None:
        """Note that `name` serves again. Harmless if it always did."""
        self._states.pop(name, None)

    def at_the_end(self, tell: Callable[[], None]) -> None:
        """Call `tell` once the process has been told to stop: for what would else keep a caller until the last."""
        self._at_the_end.append(tell)

    def stop(self) -> None:
        """The process has been told to stop: nobody should come any more. Safe to repeat."""
        if PROCESS not in self._states:
            self.not_ready(PROCESS, STOPPING)
            for tell in self._at_the_end:
                tell()

    async def missing(self) -> dict[str, str]:
        """What is not ready, each with its reason; empty when the process can serve."""
        return {name: found.reason for name, found in (await self.look()).items()}

    async def look(self) -> dict[str, Missing]:
        """The same, with since when. Probes run side by side."""
        probes = dict(self._probes)
        reasons = await asyncio.gather(*map(self._ask, probes.values()))
        for name, reason in zip(probes, reasons, strict=True):
            if reason is None or name not in self._probes:
                self._failing.pop(name, None)
            else:
                self._note(self._failing, name, reason)
        return self._states | self._failing

    def _note(self, known: dict[str, Missing], name: str, reason: str) -> None:
        """Since when stays, however the reason changes: it has not served in between."""
        since = known[name].since if name in known else self._clock.now()
        known[name] = Missing(reason, since)

    async def _ask(self, probe: Probe) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await probe()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer: not ready, because of that
            return type(error).__name__
        return None
