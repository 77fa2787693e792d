"""How a process runs: its server or its work until a signal, its background tasks under supervision."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from cpro_platform.config import HttpSettings
from cpro_platform.logs import get_logger
from cpro_platform.readiness import Readiness

_log = get_logger(__name__)


class BackgroundDiedError(Exception):
    """A background task ended, which none should: the process is restarted rather than left half alive."""


class Background:
    """Tasks that run as long as the service does. One that dies makes the service not ready, and is logged."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._tasks: set[asyncio.Task[None]] = set()
        self._died = asyncio.Event()

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` under `name` until `stop`."""
        self._tasks.add(asyncio.create_task(self._watched(name, work), name=name))

    async def wait(self) -> None:
        """Return never, unless a task dies.

        Raises:
            BackgroundDiedError: one did.
        """
        await self._died.wait()
        raise BackgroundDiedError

    async def stop(self) -> None:
        """Cancel the tasks and wait until they have finished or rolled back what they were doing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _watched(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            _log.error("background.ended", task=name)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and ends the process
            _log.exception("background.died", task=name)
        self._readiness.not_ready(name, "died")
        self._died.set()


def serve(app: ASGIApp, http: HttpSettings) -> None:
    """Serve until SIGTERM or SIGINT, letting requests under way finish for `shutdown_seconds`."""
    uvicorn.run(
        app,
        host=http.host,
        port=http.port,
        loop="uvloop",
        log_config=None,  # ours is configured, and takes uvicorn's lines too
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=http.shutdown_seconds,
    )


def run_until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it ends, or SIGTERM or SIGINT cancels it."""

    async def main() -> None:
        task = asyncio.create_task(work(), name="main")
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
