"""`cpro-support replay events`: count, start, and follow a replay of event logs.

The replay is the service's work, not this tool's: whoever stops following it can come back with `--resume`.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.replay_words import SPOKEN
from cpro_transfer.entrypoints.support_cli.session import NOT_ALL_SEEN, run, wrong
from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON

_PATH = "/v1/support/event-replays"
_LOOK_SECONDS = 0.5


def events(
    *,
    uai: Annotated[list[str] | None, typer.Option(help=COMMON.help_uai)] = None,
    pupil: Annotated[UUID | None, typer.Option(help=SPOKEN.help_pupil)] = None,
    of_import: Annotated[UUID | None, typer.Option("--import", help=SPOKEN.help_import)] = None,
    published_from: Annotated[datetime | None, typer.Option("--from", help=SPOKEN.help_from)] = None,
    published_to: Annotated[datetime | None, typer.Option("--to", help=SPOKEN.help_to)] = None,
    rate: Annotated[int | None, typer.Option(min=1, help=SPOKEN.help_rate)] = None,
    ticket: Annotated[str, typer.Option(help=SPOKEN.help_ticket)] = "",
    resume: Annotated[UUID | None, typer.Option(help=SPOKEN.help_resume)] = None,
    execute: Annotated[bool, typer.Option("--execute", help=SPOKEN.help_execute)] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help=SPOKEN.help_cancel)] = False,
    as_json: Annotated[bool, typer.Option("--json", help=COMMON.help_json)] = False,
) -> None:
    """Exit code 3: an establishment's database is away; the replay goes on without us."""
    output = Output(as_json=as_json)
    if cancel and not resume:
        wrong(output, SPOKEN.cancel_which)
    selection = {
        "establishments": [_checked(one, output) for one in uai or []],
        "pupil_id": pupil and str(pupil),
        "import_id": of_import and str(of_import),
        "published_from": published_from and published_from.astimezone().isoformat(),
        "published_to": published_to and published_to.astimezone().isoformat(),
        "events_per_second": rate,
    }
    if resume is None and not ticket:
        wrong(output, SPOKEN.no_ticket)

    async def work(client: Client) -> int:
        replay_id = resume or uuid4()
        if cancel:
            return _show(output, await client.post(f"{_PATH}/{replay_id}/cancel", {}))
        if resume is None:
            await client.post(_PATH, selection | {"id": str(replay_id), "ticket": ticket})
        return await _carry_on(client, output, replay_id, execute=execute)

    run(output, work)


async def _carry_on(client: Client, output: Output, replay_id: UUID, *, execute: bool) -> int:
    path = f"{_PATH}/{replay_id}"
    try:
        replay = await _follow(client, output, path, while_it_is="counting")
        if replay["state"] == "counted" and execute:
            await client.post(f"{path}/start", {})
        if execute or replay["state"] == "running":
            replay = await _follow(client, output, path, while_it_is="running")
    except asyncio.CancelledError:  # Ctrl-C
        output.remark(SPOKEN.goes_on.format(id=replay_id))
        raise
    return _show(output, replay)


async def _follow(client: Client, output: Output, path: str, *, while_it_is: str) -> Any:
    """Look until it is over, or until only establishments that are away are left."""
    counting = while_it_is == "counting"
    with output.progress() as progress:
        task = progress.add_task(SPOKEN.counting if counting else SPOKEN.publishing, total=None)
        while True:
            replay = await client.get(path)
            done = replay["schools"] - replay["schools_left"] if counting else replay["published"]
            progress.update(task, completed=done, total=replay["schools"] if counting else replay["expected"])
            stuck = replay["schools_left"] and replay["in_trouble"] == replay["schools_left"]
            if replay["state"] != while_it_is or stuck:
                return replay
            await asyncio.sleep(_LOOK_SECONDS)


def _show(output: Output, replay: Mapping[str, Any]) -> int:
    if output.as_json:
        output.json(replay)
    else:
        output.table(SPOKEN.columns, sorted(replay["counts"].items()))
        output.line(SPOKEN.summary.format(**replay))
    if replay["state"] == "counted":
        output.remark(SPOKEN.to_execute.format(id=replay["id"]))
    if replay["in_trouble"]:
        output.remark(SPOKEN.in_trouble.format(number=replay["in_trouble"]), loud=True)
        output.remark(SPOKEN.goes_on.format(id=replay["id"]))
        return NOT_ALL_SEEN
    return 0


def _checked(uai: str, output: Output) -> str:
    try:
        return parse_uai(uai)
    except MalformedUaiError:
        wrong(output, COMMON.not_a_uai.format(uai=uai))
