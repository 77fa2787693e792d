"""Processes of the services, forked from a zygote: quick to start, to kill, to put to sleep and to listen to."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from cpro_platform import crash_points
from cpro_test_support.faults import tally
from cpro_test_support.transfers import eventually

_START_SECONDS = 60.0
_END_SECONDS = 60.0


@dataclass(eq=False)
class Forked:
    """One process of a service."""

    zygote: "Zygote"
    command: str
    log: Path
    pid: int = 0
    _status: "asyncio.Future[int]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._status.done()

    def send(self, number: signal.Signals) -> None:
        """Send a signal. To one that has ended, nothing happens."""
        self.zygote.tell({"pid": self.pid, "signal": int(number)})

    async def ended(self) -> int:
        """Its exit status once it has ended, negative for a signal."""
        async with asyncio.timeout(_END_SECONDS):
            return await asyncio.shield(self._status)

    async def killed(self) -> None:
        """Kill it, and count it unless it had ended before."""
        self.send(signal.SIGKILL)
        if await self.ended() == -signal.SIGKILL:
            tally.killed(self.command)

    async def asleep(self, *, within_seconds: float = _END_SECONDS) -> None:
        """Wait until SIGSTOP has stopped it.

        Raises:
            AssertionError: it ended, or it did not stop in time.
        """

        async def stopped() -> bool | None:
            assert self.running, f"ended instead of stopping:\n{self.printed()}"
            return True if _state(self.pid) == "T" else None

        await eventually(stopped, self._printed_later, within_seconds=within_seconds)

    def said(self, *, since: int = 0) -> list[dict[str, Any]]:
        """What it has logged, line by line, from a size of the log on."""
        lines = self.printed(since=since).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def printed(self, *, since: int = 0) -> str:
        """Everything that it has printed, from a size of the log on."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    @property
    def log_size(self) -> int:
        """How much it has printed so far, in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    async def says(
        self,
        meets: Callable[[dict[str, Any]], bool],
        *,
        since: int = 0,
        within_seconds: float = _END_SECONDS,
    ) -> dict[str, Any]:
        """The first line that it logs, from a size of the log on, that `meets` takes."""

        async def line() -> dict[str, Any] | None:
            assert self.running, f"ended:\n{self.printed()}"
            return next((said for said in self.said(since=since) if meets(said)), None)

        found: dict[str, Any] = await eventually(line, self._printed_later, within_seconds=within_seconds)
        return found

    async def _printed_later(self) -> str:
        return self.printed()


class Zygote:
    """Starts processes by forking one that has imported the services. Use `opened_zygote`."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._numbers = count(1)
        self._starting: asyncio.Queue[Forked] = asyncio.Queue()
        self._known: dict[int, Forked] = {}
        self._born = asyncio.Condition()

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def start(self, service: str, command: str, environment: Mapping[str, str], *, crash_at: str = "") -> Forked:
        """Fork `cpro-<service> <command>` with these settings."""
        log = self._folder / f"{next(self._numbers)}-{command}.log"
        forked = Forked(self, command, log)
        self._starting.put_nowait(forked)
        variables = {**environment, crash_points.VARIABLE: crash_at}
        self.tell({"run": [service, command], "environment": variables, "log": str(log)})
        async with asyncio.timeout(_START_SECONDS), self._born:
            await self._born.wait_for(lambda: forked.pid != 0)
        return forked

    async def listen(self) -> None:
        """Note births and deaths until the zygote ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "status" in message:
                ended = self._known.pop(message["pid"])
                ended._status.set_result(message["status"])
            else:
                async with self._born:
                    born = self._starting.get_nowait()
                    born.pid = message["pid"]
                    self._known[born.pid] = born
                    self._born.notify_all()

    async def living(self) -> list[Forked]:
        """All that have not ended, once those that were asked for are born."""
        async with asyncio.timeout(_START_SECONDS), self._born:
            await self._born.wait_for(self._starting.empty)
        return list(self._known.values())

    async def end(self, processes: Collection[Forked] = ()) -> None:
        """Kill these processes, or all that are left, and wait for them. Not counted: no fault, but the end of a test."""
        leaving = list(processes or await self.living())
        for process in leaving:
            process.send(signal.SIGKILL)
        for process in leaving:
            await process.ended()


@asynccontextmanager
async def opened_zygote(folder: Path) -> AsyncIterator[Zygote]:
    """A zygote that is ready, and ends with all its children at the end. The logs are in `folder`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "ignore::RuntimeWarning", "-m", "cpro_test_support.faults.zygote"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("CPRO_")},
    )
    assert process.stdout is not None
    async with asyncio.timeout(_START_SECONDS):
        assert json.loads(await process.stdout.readline()) == {"ready": True}
    zygote = Zygote(process, folder)
    listening = asyncio.create_task(zygote.listen())
    try:
        yield zygote
    finally:
        await zygote.end()
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _END_SECONDS)
        await listening


def _state(pid: int) -> str:
    """The letter that the kernel gives for a process: `T` once it is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
