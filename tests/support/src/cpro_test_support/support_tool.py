"""`cpro-support`, run as support does: a process of its own, with a token from the environment."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from cpro_test_support.servers import Servers


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run of the tool came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it said to a program."""
        return json.loads(self.out)


async def cpro_support(
    servers: Servers, url: str, *arguments: str, role: str = "support", typed: str = "", **environment: str
) -> Ran:
    """Run the tool; `typed` is what the person at it answers."""
    settings = {
        "CPRO_SUPPORT_URL": url,
        "CPRO_SUPPORT_TOKEN": servers.tokens.token("tests", [role]),
        "LC_ALL": "C",
        "COLUMNS": "240",
        "PYTHONIOENCODING": "utf-8",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from cpro_transfer.entrypoints.support_cli.app import app; app()", *arguments,
        env=os.environ | settings | environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate(typed.encode())
    return Ran(process.returncode or 0, out.decode(), err.decode())


@dataclass(frozen=True, slots=True)
class Tool:
    """The tool, pointed at a running API."""

    servers: Servers
    url: str

    async def __call__(self, *arguments: object, **more: str) -> Ran:
        """Run it; `role`, `typed` and settings as for `cpro_support`."""
        return await cpro_support(self.servers, self.url, *map(str, arguments), **more)
