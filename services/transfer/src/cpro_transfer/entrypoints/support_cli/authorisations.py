"""`cpro-support authorisations` and `candidates`: what waits, and for whom at the destination. They write nothing."""

from typing import Annotated
from uuid import UUID

import typer

from cpro_transfer.entrypoints.support_cli.authorisation_words import SPOKEN, in_words, place
from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import DONE, run

AsJson = Annotated[bool, typer.Option("--json", help=SPOKEN.help_json)]
AuthorisationId = Annotated[UUID, typer.Argument(help=SPOKEN.help_id)]


def authorisations(*, as_json: AsJson = False) -> None:
    """The queue, oldest first."""
    output = Output(as_json=as_json)

    async def work(client: Client) -> int:
        found = [one async for one in client.pages("/v1/support/authorisations")]
        if as_json:
            output.json(found)
        elif not found:
            output.line(SPOKEN.nothing_waits)
        else:
            output.table(
                SPOKEN.queue,
                [
                    (
                        one["id"], one["recorded_at"][:10], place(one["origin"]), place(one["destination"]),
                        one["expires_on"], one["ticket"] or "", in_words(one["missing"]),
                    )
                    for one in found
                ],
            )  # fmt: skip
        return DONE

    run(output, work)


def candidates(authorisation_id: AuthorisationId, *, as_json: AsJson = False) -> None:
    """Who at the destination may be the pupil; the first line is the pupil at the origin."""
    output = Output(as_json=as_json)

    async def work(client: Client) -> int:
        found = await client.get(f"/v1/support/authorisations/{authorisation_id}/candidates")
        if as_json:
            output.json(found)
            return DONE
        rows = [_row(found["pupil"], place(found["origin"]), "")]
        rows += [_row(one["pupil"], in_words([one["reason"]]), in_words(one["differs"])) for one in found["candidates"]]
        output.table(SPOKEN.candidates, rows)
        if not found["candidates"]:
            output.line(SPOKEN.no_candidate)
        return DONE

    run(output, work)


def _row(pupil: dict[str, str | None], why: str, differs: str) -> tuple[str, ...]:
    shown = ("pupil_id", "family_name", "first_name", "birth_date", "ine", "division")
    return (*(str(pupil[name] or "") for name in shown), why, differs)
