"""One command's session with the API: settings, sign-in, and what a refusal makes of the exit code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import typer

from cpro_transfer.entrypoints.support_cli.client import Client, ClientSettings, ProblemError, UnreachableError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

DONE, LEFT, WRONG_USE, NOT_SEEN = 0, 1, 2, 3
_CONFLICT = 409
_PAGE_ROWS = 200


Command = Callable[[Client], Awaitable[int]]
"""What asks and shows; returns the exit code."""


def run(output: Output, command: Command, *, refused: Callable[[ProblemError], None]) -> None:
    """Run the command and leave with its exit code. `refused` shows more of a refusal than its words."""
    settings = ClientSettings()
    if not settings.url:
        _leave(output, SPOKEN.no_url, WRONG_USE)
    if not (settings.token or (settings.issuer and settings.client_id and settings.client_secret)):
        _leave(output, SPOKEN.no_credentials, WRONG_USE)

    async def signed_in() -> int:
        async with Client(settings, language=SPOKEN.language) as client:
            return await command(client)

    try:
        code = asyncio.run(signed_in())
    except ProblemError as problem:
        if output.as_json:
            output.json(dict(problem.members))
        else:
            refused(problem)
        _leave(output, str(problem), LEFT if problem.status == _CONFLICT else WRONG_USE)
    except UnreachableError as error:
        _leave(output, str(error), NOT_SEEN)
    else:
        raise typer.Exit(code)


async def rows(client: Client, path: str, limit: int, **parameters: str | None) -> list[Any]:
    """The first so many items of a list."""
    given = {name: value for name, value in parameters.items() if value}
    found = []
    pages = client.pages(path, limit=str(min(limit, _PAGE_ROWS)), **given)
    async for item in pages:
        found.append(item)
        if len(found) == limit:
            break
    return found


def _leave(output: Output, text: str, code: int) -> None:
    output.remark(text, loud=True)
    raise typer.Exit(code)
