"""Whether a process can serve now, and if not, what it is waiting for. Behind `/readyz`."""

import asyncio
from collections.abc import Awaitable, Callable

Probe = Callable[[], Awaitable[object]]
"""Returns when its dependency answers; raises when it does not."""


class Readiness:
    """The named things that a process needs.

    Two kinds: probes, asked at each check (a database, the object store); and states, set by whoever knows (a consumer
    that waits for Kafka).
    """

    def __init__(self, *, timeout_seconds: float = 2.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._probes: dict[str, Probe] = {}
        self._missing: dict[str, str] = {}

    def add_probe(self, name: str, probe: Probe) -> None:
        """Ask `probe` at each check, under `name`."""
        self._probes[name] = probe

    def not_ready(self, name: str, reason: str) -> None:
        """Note that `name` can't serve, and why: a code or the name of an error class, never a value."""
        self._missing[name] = reason

    def ready(self, name: str) -> None:
        """Note that `name` serves again. Harmless if it always did."""
        self._missing.pop(name, None)

    async def missing(self) -> dict[str, str]:
        """What is not ready, each with its reason; empty when the process can serve. Probes run side by side."""
        names = list(self._probes)
        reasons = await asyncio.gather(*(self._ask(self._probes[name]) for name in names))
        probed = {name: reason for name, reason in zip(names, reasons, strict=True) if reason is not None}
        return self._missing | probed

    async def _ask(self, probe: Probe) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await probe()
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer: not ready, because of that
            return type(error).__name__
        return None
