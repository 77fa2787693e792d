"""`cpro-support dead-letters`: what could not be handled, and what is done about it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.letters_words import SPOKEN
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import LEFT, run, wrong
from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON

app = typer.Typer(no_args_is_help=True, help=SPOKEN.help_letters)

_PATH = "/v1/support/dead-letters"
_Json = Annotated[bool, typer.Option("--json", help=COMMON.help_json)]
_Ids = Annotated[list[UUID] | None, typer.Argument(help=SPOKEN.help_ids)]
_Topic = Annotated[str, typer.Option(help=SPOKEN.help_topic)]
_Cause = Annotated[str, typer.Option(help=SPOKEN.help_cause)]
_Ticket = Annotated[str, typer.Option(help=SPOKEN.help_ticket)]
_Execute = Annotated[bool, typer.Option("--execute", help=SPOKEN.help_execute)]


@app.command(name="list", help=SPOKEN.help_list)
def list_letters(
    *,
    topic: _Topic = "",
    cause: _Cause = "",
    state: Annotated[str, typer.Option(help=SPOKEN.help_state)] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help=SPOKEN.help_limit)] = 20,
    as_json: _Json = False,
) -> None:
    """Counts by topic and cause, and the newest letters. Exit code 1: some wait."""
    output = Output(as_json=as_json)
    wanted = {name: value for name, value in (("topic", topic), ("cause", cause), ("state", state)) if value}

    async def work(client: Client) -> int:
        counts = [
            count
            for count in await client.get(f"{_PATH}/counts")
            if all(count[name] == value for name, value in wanted.items())
        ]
        letters = (await client.get(_PATH, limit=str(limit), **wanted))["items"]
        if as_json:
            output.json({"counts": counts, "letters": letters})
        elif not counts:
            output.line(SPOKEN.none)
        else:
            _show_counts(output, counts)
            output.table(SPOKEN.letter_columns, map(_row, letters))
        return LEFT if any(count["state"] == "waiting" for count in counts) else 0

    run(output, work)


@app.command(help=SPOKEN.help_consumers)
def consumers(*, as_json: _Json = False) -> None:
    """Who reads, who has stopped, and the limit. Exit code 1: one has stopped."""
    output = Output(as_json=as_json)

    async def work(client: Client) -> int:
        found = await client.get("/v1/support/consumers")
        if as_json:
            output.json(found)
        else:
            names = ("group", "state", "members", "behind", "waiting_letters")
            output.table(SPOKEN.consumer_columns, [[one[name] for name in names] for one in found["consumers"]])
            output.line(SPOKEN.limit.format(percent=round(found["limit"]["share"] * 100), **found["limit"]))
        return LEFT if any(one["stopped"] for one in found["consumers"]) else 0

    run(output, work)


@app.command(help=SPOKEN.help_show)
def show(letter_id: Annotated[UUID, typer.Argument(metavar="ID")], *, as_json: _Json = False) -> None:
    """One letter in full."""
    output = Output(as_json=as_json)

    async def work(client: Client) -> int:
        letter = await client.get(f"{_PATH}/{letter_id}")
        if as_json:
            output.json(letter)
            return 0
        for name, value in letter.items():
            if name not in {"headers", "fields", "unreadable"} and value is not None:
                output.line(f"{name}: {value}")
        for header in letter["headers"]:
            output.line(f"  {header['name']}: {'…' if header['value'] is None else header['value']}")
        for name, value in (letter["fields"] or {}).items():
            output.line(f"  {name} = {value}")
        if letter["unreadable"]:
            output.line(SPOKEN.unreadable.format(why=letter["unreadable"]))
        return 0

    run(output, work)


@app.command(help=SPOKEN.help_replay)
def replay(
    ids: _Ids = None,
    *,
    ticket: _Ticket,
    topic: _Topic = "",
    cause: _Cause = "",
    execute: _Execute = False,
    as_json: _Json = False,
) -> None:
    """Give letters back to their topics. Exit code 1: some are left."""
    _settle("replay", _chosen(ids, topic, cause) | {"ticket": ticket}, execute=execute, as_json=as_json)


@app.command(help=SPOKEN.help_discard)
def discard(
    ids: _Ids = None,
    *,
    ticket: _Ticket,
    reason: Annotated[str, typer.Option(help=SPOKEN.help_reason)],
    topic: _Topic = "",
    cause: _Cause = "",
    execute: _Execute = False,
    as_json: _Json = False,
) -> None:
    """Let letters be. Exit code 1: some are left."""
    chosen = _chosen(ids, topic, cause) | {"ticket": ticket, "reason": reason}
    _settle("discard", chosen, execute=execute, as_json=as_json)


def _chosen(ids: Sequence[UUID] | None, topic: str, cause: str) -> dict[str, object]:
    if bool(ids) == bool(topic and cause):
        wrong(Output(as_json=False), SPOKEN.one_way)
    return {"ids": [str(one) for one in ids]} if ids else {"topic": topic, "cause": cause}


def _settle(verb: str, asked: dict[str, object], *, execute: bool, as_json: bool) -> None:
    output = Output(as_json=as_json)

    async def work(client: Client) -> int:
        found = await client.post(f"{_PATH}/{verb}", asked | {"dry_run": True})
        if execute and found["left"]:
            found = await _all_of_them(client, output, verb, asked, waiting=found)
        if as_json:
            output.json(found)
        else:
            _tell(output, found)
        return LEFT if found["left"] else 0

    run(output, work)


async def _all_of_them(
    client: Client, output: Output, verb: str, asked: dict[str, object], *, waiting: Any
) -> dict[str, Any]:
    """So many at a time, until what waited when it began is settled, or no more can be."""
    total: int = waiting["left"]
    settled = superseded = 0
    with output.progress() as progress:
        task = progress.add_task(SPOKEN.replaying, total=total)
        while True:
            answer = await client.post(f"{_PATH}/{verb}", asked | {"dry_run": False, "request_id": str(uuid4())})
            settled += answer["settled"]
            superseded += answer["superseded"]
            progress.update(task, completed=settled + superseded)
            done = settled + superseded >= total or not (answer["settled"] or answer["superseded"])
            if done or not answer["left"]:
                return {**answer, "settled": settled, "superseded": superseded, "counts": waiting["counts"]}


def _tell(output: Output, found: Mapping[str, Any]) -> None:
    _show_counts(output, found["counts"])
    if found["dry_run"]:
        output.line(SPOKEN.would_settle.format(number=found["left"]))
        if found["left"]:
            output.remark(SPOKEN.to_execute)
        return
    output.line(SPOKEN.settled.format(number=found["settled"]))
    if found["superseded"]:
        output.line(SPOKEN.superseded.format(number=found["superseded"]))
    if found["left"]:
        output.line(SPOKEN.left.format(number=found["left"]))


def _show_counts(output: Output, counts: Sequence[Mapping[str, Any]]) -> None:
    rows = [(one["topic"], one["cause"], one["state"], one["number"], one["oldest"], one["newest"]) for one in counts]
    if rows:
        output.table(SPOKEN.count_columns, rows)


def _row(letter: Mapping[str, Any]) -> tuple[object, ...]:
    return tuple(letter[name] for name in ("id", "set_aside_at", "topic", "cause", "event_type", "uai", "state"))
