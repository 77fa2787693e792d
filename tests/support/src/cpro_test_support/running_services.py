"""The services as an installation runs them: a process for each part, with production's settings."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic_settings import BaseSettings

from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment
from cpro_embedded.services import Installation, ready_on
from cpro_test_support.transfers import environment_of

_START_SECONDS = 120


class RunningServices:
    """Processes named `<service> <command>`, such as `siecle_import worker`, once for each time they are named.

    They end with the one that started them, however that ends.
    """

    def __init__(self, installation: Installation, folder: Path, names: Sequence[str]) -> None:
        self._ports = free_ports(len(names))
        self._names = list(names)
        self._processes = [
            _process(installation, folder, number, name, port)
            for number, (name, port) in enumerate(zip(names, self._ports, strict=True))
        ]

    def url(self, name: str) -> str:
        """Where the first process of this name answers."""
        return f"http://{LOCALHOST}:{self._ports[self._names.index(name)]}"

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run, by a name of their own."""
        return {process.name: process.pid for process in self._processes if process.pid is not None}

    def check(self) -> None:
        """Fail when one has ended.

        Raises:
            RuntimeError: one has.
        """
        for process in self._processes:
            if not process.running:
                raise RuntimeError(f"{process.name} has ended: {process.log}")

    async def __aenter__(self) -> Self:
        try:
            starts = (
                asyncio.to_thread(process.start, ready_on(port), within_seconds=_START_SECONDS)
                for process, port in zip(self._processes, self._ports, strict=True)
            )
            results = await asyncio.gather(*starts, return_exceptions=True)
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in self._processes))


def _process(installation: Installation, folder: Path, number: int, name: str, port: int) -> ServerProcess:
    service, command = name.split()
    config: BaseSettings = getattr(installation, service)
    answers = "HTTP" if command == "api" else "OPERATIONS"
    return ServerProcess(
        name=f"{service}-{command}-{number}",
        command=(sys.executable, "-c", f"from cpro_{service}.entrypoints.cli import app; app()", command),
        folder=folder,
        cwd=folder,
        env=minimal_environment(
            **environment_of(config) | {f"{config.model_config.get('env_prefix')}{answers}__PORT": str(port)}
        ),
    )
