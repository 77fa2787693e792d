"""Processes of the services that are replaced one after the other, and what stands before them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from pydantic_settings import BaseSettings

from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_test_support.transfers import environment_of, eventually

_START_SECONDS = 60
_LOOK_SECONDS = 0.1
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended once it got SIGTERM."""

    exit_code: int
    seconds: float
    errors: tuple[str, ...]
    """The events that it logged as errors, whenever, but for those of the Kafka client."""


class Rolled:
    """One process of a service, as an installation runs it. Use `running`."""

    def __init__(self, config: BaseSettings, service: str, command: str, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://{LOCALHOST}:{self.port}"
        self._service = service
        self._command = command
        self._environment = environment_of(config)
        answers = "HTTP" if command == "api" else "OPERATIONS"
        self._environment[f"{config.model_config.get('env_prefix')}{answers}__PORT"] = str(self.port)
        self._log = folder / f"{next(_numbers)}-{service}-{command.split(maxsplit=1)[0]}.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        code = f"from cpro_{self._service}.entrypoints.cli import app; app()"
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, *self._command.split(), env=os.environ | self._environment, stderr=log
            )
        async with httpx.AsyncClient(base_url=self.url) as client:
            await eventually(lambda: _ready(client), self._said, within_seconds=_START_SECONDS)

    async def stop(self, *, within_seconds: float) -> Ended:
        """SIGTERM, and wait for the end.

        Raises:
            TimeoutError: it takes longer.
        """
        assert self._process is not None
        started = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within_seconds):
            exit_code = await self._process.wait()
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        # What the Kafka client tries again by itself it calls an error, too.
        ours = [line for line in lines if not str(line.get("logger")).startswith("aiokafka")]
        errors = tuple(line["event"] for line in ours if line.get("level") in {"error", "critical"})
        return Ended(exit_code, time.monotonic() - started, errors)

    async def end(self) -> None:
        """Kill it, if it is there."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _said(self) -> str:
        return self._log.read_text()[-2_000:]


async def _ready(client: httpx.AsyncClient) -> bool | None:
    try:
        return (await client.get("/readyz")).status_code == 200 or None
    except httpx.TransportError:
        return None


@dataclass
class Balancer(httpx.AsyncBaseTransport):
    """What stands before the processes of an API: sends each request to one that says it is ready, in turn.

    Where a connection is refused it asks the next one, as a proxy does; nothing else is tried again.
    """

    answered: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)
    _ready: dict[int, bool] = field(default_factory=dict)
    _transport: httpx.AsyncHTTPTransport = field(default_factory=httpx.AsyncHTTPTransport)
    _turns: Any = field(default_factory=count)

    def add(self, port: int) -> None:
        """A process that is ready."""
        self._ready[port] = True

    def forget(self, port: int) -> None:
        """A process that has ended."""
        self._ready.pop(port, None)

    async def look(self) -> None:
        """Ask each whether it is ready, ten times a second, until cancelled."""
        async with httpx.AsyncClient(timeout=2) as client:
            while True:
                for port in list(self._ready):
                    client.base_url = httpx.URL(f"http://{LOCALHOST}:{port}")
                    ready = await _ready(client) is True
                    if port in self._ready:
                        self._ready[port] = ready
                await asyncio.sleep(_LOOK_SECONDS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand it on."""
        ports = [port for port, ready in self._ready.items() if ready]
        turn = next(self._turns)
        for port in ports[turn % len(ports) :] + ports[: turn % len(ports)]:
            routed = httpx.Request(
                request.method,
                request.url.copy_with(scheme="http", host=LOCALHOST, port=port),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions,
            )
            try:
                answer = await self._transport.handle_async_request(routed)
                # Whole: what breaks off is not an answer.
                content = await httpx.Response(200, stream=answer.stream).aread()
            except httpx.ConnectError:
                self.refused += 1
                continue
            except httpx.TransportError as error:
                self.broken.append(f"{request.method} {request.url.path}: {error!r}")
                raise
            self.answered += 1
            if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
                self.broken.append(f"{request.method} {request.url.path}: {answer.status_code}")
            return httpx.Response(answer.status_code, headers=answer.headers, content=content)
        raise httpx.ConnectError("no process takes requests")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


@asynccontextmanager
async def running(processes: list[Rolled]) -> AsyncIterator[None]:
    """All started, two at a time; whatever is in the list at the end is ended."""
    turns = asyncio.Semaphore(2)

    async def start(process: Rolled) -> None:
        async with turns:
            await process.start()

    try:
        await asyncio.gather(*map(start, processes))
        yield
    finally:
        for process in processes:
            await process.end()
