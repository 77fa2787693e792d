"""One command's session with the API: settings, sign-in, and how what goes wrong becomes an exit code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import typer

from cpro_transfer.entrypoints.support_cli.client import Client, ClientSettings, ProblemError, UnreachableError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

DONE, LEFT, WRONG_USE, NOT_ALL_SEEN = 0, 1, 2, 3
"""The exit codes of the tool."""
_CONFLICT = 409
_PAGE_ROWS = 200
_YES = frozenset({"o", "oui", "y", "yes"})

Command = Callable[[Client], Awaitable[int]]
"""What asks and shows; returns the exit code."""


def run(output: Output, command: Command, *, refused: Callable[[ProblemError], None] = lambda _: None) -> NoReturn:
    """Run the command and leave with its exit code: 2 where the API refuses, 1 where things are not so that it could
    be done, 3 where it does not answer. `refused` shows more of a refusal than its words.

    Raises:
        Exit: always.
    """
    settings = ClientSettings()
    if not settings.url:
        wrong(output, SPOKEN.no_url)
    if not (settings.token or (settings.issuer and settings.client_id and settings.client_secret)):
        wrong(output, SPOKEN.no_credentials)

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
        leave(output, f"{problem} ({problem.code})", LEFT if problem.status == _CONFLICT else WRONG_USE)
    except UnreachableError as error:
        leave(output, str(error), NOT_ALL_SEEN)
    raise typer.Exit(code)


def wrong(output: Output, text: str) -> NoReturn:
    """Say what is wrong with the command, and leave.

    Raises:
        Exit: always.
    """
    leave(output, text, WRONG_USE)


def leave(output: Output, text: str, code: int) -> NoReturn:
    """Say why, and leave with this exit code.

    Raises:
        Exit: always.
    """
    output.remark(text, loud=True)
    raise typer.Exit(code)


def confirmed(question: str) -> bool:
    """Whether the person at the terminal says yes, in either language."""
    return typer.prompt(f"{question} {SPOKEN.yes_or_no}", default="", show_default=False, err=True).lower() in _YES


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
