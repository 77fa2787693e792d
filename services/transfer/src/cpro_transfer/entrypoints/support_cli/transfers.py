"""`cpro-support transfers list | show | retry | cancel | undo`. What writes says first what it would do."""

from typing import Annotated, Any
from uuid import UUID

import typer

from cpro_transfer.entrypoints.support_cli.client import Client, ProblemError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import DONE, LEFT, confirmed, rows, run
from cpro_transfer.entrypoints.support_cli.transfer_words import WORDS
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

app = typer.Typer(no_args_is_help=True, help=WORDS.help)

TransferId = Annotated[UUID, typer.Argument()]
Ticket = Annotated[str, typer.Option(help=WORDS.help_ticket)]
Execute = Annotated[bool, typer.Option("--execute", help=WORDS.help_execute)]
Yes = Annotated[bool, typer.Option("--yes", help=WORDS.help_yes)]
AsJson = Annotated[bool, typer.Option("--json", help=SPOKEN.help_json)]
Limit = Annotated[int, typer.Option(min=1, help=WORDS.help_limit)]

_PATH = "/v1/support/transfers"


@app.command(name="list", help=WORDS.help_list)
def list_transfers(
    *,
    state: Annotated[str | None, typer.Option(help=WORDS.help_state)] = None,
    uai: Annotated[str | None, typer.Option(help=WORDS.help_uai)] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest ones."""
    output = Output(as_json=as_json)

    async def ask(client: Client) -> int:
        found = await rows(client, _PATH, limit, status=state, uai=uai and uai.strip().upper())
        if as_json:
            output.json(found)
        elif found:
            output.lines(WORDS.columns, map(_row, found))
        else:
            output.line(WORDS.nothing)
        return DONE

    run(output, ask)


@app.command(help=WORDS.help_show)
def show(transfer_id: TransferId, *, as_json: AsJson = False) -> None:
    """One, with its audit trail."""
    output = Output(as_json=as_json)

    async def ask(client: Client) -> int:
        found = await client.get(f"{_PATH}/{transfer_id}")
        trail = await rows(client, "/v1/support/audit", 50, transfer_id=str(transfer_id))
        if as_json:
            output.json(found | {"audit": trail})
            return DONE
        shown = found | {side: _school(found[side]) for side in ("origin", "destination")}
        for name, label in WORDS.fields.items():
            if shown[name] is not None:
                output.line(f"{label}: {shown[name]}")
        if trail:
            output.lines(WORDS.audit_columns, map(audit_row, trail))
        return DONE

    run(output, ask)


@app.command(help=WORDS.help_retry)
def retry(
    transfer_id: TransferId, *, ticket: Ticket, execute: Execute = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Try it now."""
    _act("retry", transfer_id, ticket, Output(as_json=as_json), execute=execute, yes=yes)


@app.command(help=WORDS.help_cancel)
def cancel(
    transfer_id: TransferId, *, ticket: Ticket, execute: Execute = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Stop it."""
    _act("cancel", transfer_id, ticket, Output(as_json=as_json), execute=execute, yes=yes)


@app.command(help=WORDS.help_undo)
def undo(
    transfer_id: TransferId, *, ticket: Ticket, execute: Execute = False, yes: Yes = False, as_json: AsJson = False
) -> None:
    """Take it back."""
    _act("undo", transfer_id, ticket, Output(as_json=as_json), execute=execute, yes=yes)


def _act(act: str, transfer_id: UUID, ticket: str, output: Output, *, execute: bool, yes: bool) -> None:
    path = f"{_PATH}/{transfer_id}/{act}"

    async def ask(client: Client) -> int:
        before = await client.post(path, {"ticket": ticket, "dry_run": True})
        would = WORDS.would[act].format(id=transfer_id, schools=_way(before, back=act == "undo"))
        if not execute:
            _show(output, before, would)
            output.remark(WORDS.how_to_execute)
            return DONE
        if not yes and not confirmed(WORDS.confirm.format(would=would)):
            output.remark(WORDS.not_confirmed)
            return LEFT
        after = await client.post(path, {"ticket": ticket})
        _show(output, after, WORDS.done[act].format(**after))
        return DONE

    run(output, ask, refused=lambda problem: _show_touched(output, problem))


def _show(output: Output, found: dict[str, Any], text: str) -> None:
    if output.as_json:
        output.json(found)
    else:
        output.line(text)


def _show_touched(output: Output, problem: ProblemError) -> None:
    touched = problem.members.get("touched") or []
    if touched:
        output.lines(WORDS.touched_columns, [(one["table"], one["id"], one["change"]) for one in touched])
        if problem.members["number"] > len(touched):
            output.line(WORDS.more_touched.format(number=problem.members["number"] - len(touched)))


def _row(found: dict[str, Any]) -> tuple[object, ...]:
    there = found["destination"]
    return (
        found["id"], found["state"], found["reason"], found["origin"]["uai"], there and there["uai"], found["since"],
    )  # fmt: skip


def audit_row(line: dict[str, Any]) -> tuple[object, ...]:
    """A line of the audit trail under `WORDS.audit_columns`."""
    names = ("occurred_at", "actor", "action", "ticket", "transfer_id", "origin_uai", "destination_uai")
    return tuple(line[name] for name in names)


def _school(school: dict[str, Any] | None) -> str | None:
    if school is None:
        return None
    return f"{school['name']} ({school['uai']})" if school["name"] else str(school["uai"])


def _way(found: dict[str, Any], *, back: bool) -> str:
    """From which school to which. What an undo would move, or moves already, goes the other way than what it undoes."""
    ends = [_school(found["origin"]), _school(found["destination"]) or "?"]
    if back and found["undoes"] is None:
        ends.reverse()
    return " → ".join(map(str, ends))
