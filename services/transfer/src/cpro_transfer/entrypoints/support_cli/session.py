"""What every command that asks the API shares: its settings, and what an answer that is none comes to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import typer

from cpro_transfer.entrypoints.support_cli.client import Client, ClientSettings, ProblemError, UnreachableError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

LEFT, WRONG_USE, NOT_ALL_SEEN = 1, 2, 3
"""The exit codes of the tool, beside 0."""


def run(output: Output, work: Callable[[Client], Awaitable[int]]) -> NoReturn:
    """Do `work` with a client, and exit with what it comes to: 2 where the API refuses, 3 where it does not answer."""
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
                output.remark(str(problem), loud=True)
                return WRONG_USE
            except UnreachableError as unreachable:
                output.remark(str(unreachable), loud=True)
                return NOT_ALL_SEEN

    raise typer.Exit(asyncio.run(session()))


def wrong(output: Output, text: str) -> NoReturn:
    """Say what is wrong with the command, and exit."""
    output.remark(text, loud=True)
    raise typer.Exit(WRONG_USE)
