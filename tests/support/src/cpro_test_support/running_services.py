"""The services as an installation runs them: a process for each part, with production's settings."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic_settings import BaseSettings

from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment
from cpro_embedded.services import Installation, ReadyProcesses
from cpro_test_support.transfers import environment_of

_START_SECONDS = 120


class RunningServices(ReadyProcesses):
    """Processes named `<service> <command>`, such as `siecle_import worker`, once for each time they are named."""

    def __init__(self, installation: Installation, folder: Path, names: Sequence[str]) -> None:
        ports = free_ports(len(names))
        self._ports = dict(zip(reversed(names), reversed(ports), strict=True))
        named = enumerate(zip(names, ports, strict=True))
        super().__init__(
            {port: _process(installation, folder, number, name, port) for number, (name, port) in named},
            start_seconds=_START_SECONDS,
        )

    def url(self, name: str) -> str:
        """Where the first process of this name answers."""
        return f"http://{LOCALHOST}:{self._ports[name]}"

    @property
    def pids_by_name(self) -> dict[str, int]:
        """The processes that run, by a name of their own."""
        return {process.name: process.pid for process in self._processes.values() if process.pid is not None}

    def check(self) -> None:
        """Fail when one has ended.

        Raises:
            RuntimeError: one has.
        """
        for process in self._processes.values():
            if not process.running:
                raise RuntimeError(f"{process.name} has ended: {process.log}")


def _process(installation: Installation, folder: Path, number: int, name: str, port: int) -> ServerProcess:
    service, command, *options = name.split()
    config: BaseSettings = getattr(installation, service)
    answers = "HTTP" if command == "api" else "OPERATIONS"
    return ServerProcess(
        name=f"{service}-{command}-{number}",
        command=(sys.executable, "-c", f"from cpro_{service}.entrypoints.cli import app; app()", command, *options),
        folder=folder,
        cwd=folder,
        env=minimal_environment(
            **environment_of(config) | {f"{config.model_config.get('env_prefix')}{answers}__PORT": str(port)}
        ),
    )
