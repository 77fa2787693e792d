"""One command's session with the API: settings, signing in, and how what goes wrong becomes an exit code."""

import asyncio
from collections.abc import Awaitable, Callable

import typer

from cpro_transfer.entrypoints.support_cli.client import Client, ClientSettings, ProblemError, UnreachableError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

WELL, LEFT, WRONG_USE, NOT_SEEN = 0, 1, 2, 3


def run(output: Output, work: Callable[[Client], Awaitable[int]]) -> None:
    """Sign in and work; leaves the tool with the exit code.

    Raises:
        Exit: always.
    """
    settings = ClientSettings()
    if not settings.url:
        wrong(output, SPOKEN.no_url)
    if not (settings.token or (settings.issuer and settings.client_id and settings.client_secret)):
        wrong(output, SPOKEN.no_credentials)

    async def session() -> int:
        async with Client(settings, language=SPOKEN.language) as client:
            try:
                return await work(client)
            except ProblemError as problem:
                output.remark(f"{problem} ({problem.code})", loud=True)
                return WRONG_USE
            except UnreachableError as away:
                output.remark(str(away), loud=True)
                return NOT_SEEN

    raise typer.Exit(asyncio.run(session()))


def wrong(output: Output, text: str) -> None:
    """Say what is wrong with how the tool was called, and leave.

    Raises:
        Exit: always.
    """
    output.remark(text, loud=True)
    raise typer.Exit(WRONG_USE)
