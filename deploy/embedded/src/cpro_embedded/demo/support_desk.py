"""Support at a terminal: `cpro-support` as a process of its own, with a token from its environment."""

import asyncio
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cpro_embedded.demo.errors import DemoFailedError
from cpro_embedded.demo.narrator import Narrator
from cpro_embedded.process import minimal_environment

_TOOL = Path(sys.executable).with_name("cpro-support")
_LONGEST_SECONDS = 60
# Wide enough for two ids, or an id and two schools, on a line.
_COLUMNS = 180


class Command(NamedTuple):
    """What is typed after `cpro-support`, and the exit code that it must end with."""

    arguments: Sequence[object]
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class SupportDesk:
    """The tool, pointed at the API."""

    url: str
    token: str
    narrator: Narrator

    async def runs(self, *arguments: object) -> str:
        """Run one command and show it; returns what it printed."""
        (printed,) = await self.runs_together([Command(arguments)])
        return printed

    async def runs_together(self, commands: Sequence[Command]) -> list[str]:
        """Several at once, shown in the order in which they are given.

        Raises:
            DemoFailedError: one ended with another exit code.
        """
        lines = [list(map(str, command.arguments)) for command in commands]
        ended = await asyncio.gather(*map(self._run, lines))
        for command, line, (code, printed) in zip(commands, lines, ended, strict=True):
            typed = shlex.join(["cpro-support", *line])
            self.narrator.ran(typed, printed)
            if code != command.exit_code:
                raise DemoFailedError(f"{typed} ended with {code} instead of {command.exit_code}: {printed[-300:]}")
        return [printed for _, printed in ended]

    async def _run(self, arguments: Sequence[str]) -> tuple[int, str]:
        settings = {
            "CPRO_SUPPORT_URL": self.url,
            "CPRO_SUPPORT_TOKEN": self.token,
            "COLUMNS": str(_COLUMNS),
            "PYTHONIOENCODING": "utf-8",
        }
        process = await asyncio.create_subprocess_exec(
            _TOOL, *arguments,
            env=minimal_environment(**settings),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                printed, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, printed.decode()
