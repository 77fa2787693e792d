"""How a process runs: its server or its work until a signal, its background tasks under supervision."""

import asyncio
import gc
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, Protocol

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from cpro_platform.concurrency import end
from cpro_platform.config import HttpSettings, OperationsSettings
from cpro_platform.http import operations_router
from cpro_platform.http.security_headers import SecurityHeaders
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness

_CLOSE = (b"connection", b"close")
_STARTUP_FAILED = 3
"""The exit code of a server that did not come up, as uvicorn has it."""
_log = get_logger(__name__)


class BackgroundDiedError(Exception):
    """A background task ended, which none should: the process is restarted rather than left half alive."""


class Background:
    """Tasks that run as long as the service does. One that dies makes the service not ready, and is logged."""

    def __init__(self, readiness: Readiness, *, told_again_seconds: float = 5.0) -> None:
        self._readiness = readiness
        self._told_again_seconds = told_again_seconds
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
        await end(self._tasks, told_again_seconds=self._told_again_seconds)
        self._tasks.clear()

    async def _watched(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            _log.error("background.ended", task=name)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged and ends the process
            _log.exception("background.died", task=name)
        self._readiness.not_ready(name, "died")
        self._died.set()


_OBJECTS_BETWEEN_COLLECTIONS = 20_000


class Working(Protocol):
    """A service at work, as a process without an API of its own sees it."""

    @property
    def background(self) -> Background:
        """Its tasks."""

    @property
    def readiness(self) -> Readiness:
        """What it waits for."""

    @property
    def metrics(self) -> Metrics:
        """What it counts."""


def serve(app: ASGIApp, http: HttpSettings, *readiness: Readiness) -> None:
    """Serve until SIGTERM or SIGINT, then end in good order: with exit code 0, and no request half answered.

    After SIGTERM it says that it is not ready (all of `readiness` is told), and answers on for `drain_seconds`, while
    whoever sends requests turns to another process; each answer closes its connection. Then it listens no more, and
    what is under way has `shutdown_seconds`. SIGINT, which comes from a terminal, and a second SIGTERM skip the wait.
    """
    settings = uvicorn.Config(
        app,
        host=http.host,
        port=http.port,
        loop="uvloop",
        log_config=None,  # ours is configured, and takes uvicorn's lines too
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=http.keep_alive_seconds,
        timeout_graceful_shutdown=http.shutdown_seconds,
    )
    server = _DrainingServer(settings, readiness, http.drain_seconds)
    server.run()
    # Nothing is left to be done: at its end the interpreter would look through all that was imported, for seconds.
    gc.freeze()
    if not server.started:
        sys.exit(_STARTUP_FAILED)


class _DrainingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, readiness: Sequence[Readiness], drain_seconds: float) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._drain_seconds = drain_seconds
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Only notes the signal: the event loop acts on it at its next tick, a tenth of a second later at most."""
        if sig == signal.SIGTERM and self._drained_at is None:
            self._drained_at = time.monotonic() + self._drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        ends = await super().on_tick(counter)
        if self._drained_at is None and not ends:
            return False
        for readiness in self._readiness:
            readiness.stop()
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers.append(_CLOSE)
        return ends or self._drained_at is None or time.monotonic() >= self._drained_at

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but for the end: it raises the signal again, and the exit code would not be 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def run_service(
    open_service: Callable[[], AbstractAsyncContextManager[Working]], operations: OperationsSettings
) -> None:
    """Let a service work until SIGTERM or SIGINT, answering those who operate it where `operations` says so.

    Raises:
        BackgroundDiedError: a task of it died.
        OSError: the port is taken.
    """

    async def until_stopped() -> None:
        async with open_service() as service, operations_port(operations, service.readiness, service.metrics):
            try:
                await service.background.wait()
            finally:
                # While it finishes what it does, whoever asks is told so.
                service.readiness.stop()
                await service.background.stop()

    run_until_stopped(until_stopped)


@asynccontextmanager
async def operations_port(
    operations: OperationsSettings, readiness: Readiness, metrics: Metrics
) -> AsyncIterator[int | None]:
    """`/livez`, `/readyz` and `/metrics` while the block runs. Yields the port; None where none is wanted."""
    if operations.port is None:
        yield None
        return
    # Bound here, so that a port that is taken ends the start and not a task.
    listening = socket.create_server((operations.host, operations.port), backlog=64)
    app = FastAPI(openapi_url=None)
    app.include_router(operations_router(readiness, metrics))
    app.add_middleware(SecurityHeaders, settings=HttpSettings())
    # Its beginning and its end are not those of the process: only warnings are worth a line.
    settings = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, lifespan="off"
    )
    server = _QuietServer(settings)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="operations")
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listening.close()


class _QuietServer(uvicorn.Server):
    """Leaves the signals to the process, which has work to finish before this port closes."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def let_modules_be() -> None:
    """Keep the garbage collector from what was imported, and from looking after every few hundred objects.

    Batches of messages are many objects that live for a moment. Each collection they bring about went through all that
    the process had ever imported: of the join's processor time it took two fifths (43 µs an event, 26 without).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


def run_until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it ends, or SIGTERM or SIGINT cancels it."""
    let_modules_be()

    async def main() -> None:
        task = asyncio.create_task(work(), name="main")
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signal_number, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
