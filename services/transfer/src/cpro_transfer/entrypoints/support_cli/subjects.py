"""`cpro-support subject`: what is held of a pupil, and erasing it."""

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import DONE, run, wrong
from cpro_transfer.entrypoints.support_cli.subject_words import SPOKEN
from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON

app = typer.Typer(no_args_is_help=True, help=SPOKEN.help)

_PATH = "/v1/support/subjects"
_Uai = Annotated[str, typer.Argument(help=SPOKEN.help_uai)]
_Pupil = Annotated[UUID, typer.Argument(help=SPOKEN.help_pupil)]
_Ticket = Annotated[str, typer.Option(help=SPOKEN.help_ticket)]
_Json = Annotated[bool, typer.Option("--json", help=COMMON.help_json)]


@app.command(name="export", help=SPOKEN.help_export)
def export(
    uai: _Uai,
    pupil: _Pupil,
    *,
    ticket: _Ticket,
    out: Annotated[Path, typer.Option(help=SPOKEN.help_out)],
) -> None:
    """The answer goes into a new file that only its owner reads, and nothing of it onto the screen."""
    output = Output(as_json=False)
    if out.exists():
        wrong(output, SPOKEN.exists.format(file=out))

    async def ask(client: Client) -> int:
        found = await client.post(f"{_PATH}/export", {"uai": uai, "pupil_id": str(pupil), "ticket": ticket})
        out.touch(mode=0o600, exist_ok=False)
        out.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        manifest = found["manifest"]
        output.lines(SPOKEN.columns, [(name, one["rows"]) for name, one in manifest["sections"].items()])
        output.line(SPOKEN.written.format(file=out, files=len(manifest["attachments"])))
        return DONE

    run(output, ask)


@app.command(name="erase", help=SPOKEN.help_erase)
def erase(
    uai: _Uai,
    pupil: _Pupil,
    *,
    ticket: _Ticket,
    confirm: Annotated[str, typer.Option(help=SPOKEN.help_confirm)] = "",
    as_json: _Json = False,
) -> None:
    """A dry run unless the digest that a dry run gave is confirmed."""
    output = Output(as_json=as_json)

    async def ask(client: Client) -> int:
        order: dict[str, object] = {"uai": uai, "pupil_id": str(pupil), "ticket": ticket}
        found = await client.post(f"{_PATH}/erase", order | ({"confirm": confirm} if confirm else {}))
        if as_json:
            output.json(found)
        else:
            _show(output, found)
        return DONE

    run(output, ask)


def _show(output: Output, found: dict[str, Any]) -> None:
    rows = [(where, table, number) for where, tables in found["rows"].items() for table, number in tables.items()]
    output.lines(SPOKEN.erased_columns, rows)
    output.line("")
    for kind, why in found["kept"].items():
        output.line(SPOKEN.stays.format(kind=kind, why=why))
    output.line(SPOKEN.done if found["erased"] else SPOKEN.would.format(digest=found["digest"]))
