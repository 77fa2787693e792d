"""`cpro-support replay authorisation`: carry one out. Always shown first; done with `--execute`, once confirmed."""

from typing import Annotated, Any
from uuid import UUID

import typer

from cpro_transfer.entrypoints.support_cli.authorisation_words import SPOKEN, place
from cpro_transfer.entrypoints.support_cli.authorisations import AsJson, AuthorisationId
from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import DONE, LEFT, confirmed, run, wrong


def authorisation(
    authorisation_id: AuthorisationId,
    *,
    ticket: Annotated[str, typer.Option(help=SPOKEN.help_ticket)],
    pupil: Annotated[UUID | None, typer.Option(help=SPOKEN.help_pupil)] = None,
    create: Annotated[bool, typer.Option("--create", help=SPOKEN.help_create)] = False,
    execute: Annotated[bool, typer.Option("--execute", help=SPOKEN.help_execute)] = False,
    yes: Annotated[bool, typer.Option("--yes", help=SPOKEN.help_yes)] = False,
    as_json: AsJson = False,
) -> None:
    """Show what would be published and moved, then do it if asked. The same again is safe."""
    output = Output(as_json=as_json)
    if (pupil is None) != create:
        wrong(output, SPOKEN.pupil_or_create)
    asked: dict[str, object] = {"authorisation_id": str(authorisation_id), "ticket": ticket, "create": create}
    if pupil:
        asked["pupil_id"] = str(pupil)

    async def work(client: Client) -> int:
        shown = await client.post("/v1/support/replays", asked | {"dry_run": True})
        if not as_json:
            _show(output, shown)
        if execute and (yes or _confirmed(shown)):
            shown = await client.post("/v1/support/replays", asked | {"dry_run": False})
        if as_json:
            output.json(shown)
        else:
            output.line(_said_of(shown, execute=execute))
        return LEFT if execute and shown["dry_run"] else DONE

    run(output, work)


def _confirmed(shown: dict[str, Any]) -> bool:
    question = SPOKEN.confirm.format(
        number=sum(shown["records"].values()), origin=place(shown["origin"]), destination=place(shown["destination"])
    )
    return confirmed(question)


def _said_of(shown: dict[str, Any], *, execute: bool) -> str:
    if not shown["dry_run"]:
        return SPOKEN.done.format(ticket=shown["ticket"])
    return SPOKEN.given_up if execute else SPOKEN.only_dry


def _show(output: Output, shown: dict[str, Any]) -> None:
    places = {"origin": place(shown["origin"]), "destination": place(shown["destination"])}
    output.line(SPOKEN.would.format(**shown["pupil"], **places))
    output.line(SPOKEN.created if shown["creates_pupil"] else SPOKEN.existing.format(**shown["arrival"]))
    said = [(one["establishment"], one["type"], one["pupil_id"] or SPOKEN.new_pupil) for one in shown["events"]]
    output.table(SPOKEN.said, said)
    output.table(SPOKEN.records, sorted(shown["records"].items()))
