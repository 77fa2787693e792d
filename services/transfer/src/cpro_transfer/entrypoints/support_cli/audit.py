"""`cpro-support audit`: what was done, by whom, when, under which ticket."""

from typing import Annotated
from uuid import UUID

import typer

from cpro_transfer.entrypoints.support_cli.client import Client
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.session import DONE, rows, run
from cpro_transfer.entrypoints.support_cli.transfer_words import WORDS
from cpro_transfer.entrypoints.support_cli.transfers import AsJson, Limit, audit_row


def audit(
    *,
    transfer: Annotated[UUID | None, typer.Option(help=WORDS.help_transfer)] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest lines; the words of the options are `transfer_words.WORDS`."""
    output = Output(as_json=as_json)

    async def ask(client: Client) -> int:
        found = await rows(client, "/v1/support/audit", limit, transfer_id=str(transfer) if transfer else None)
        if as_json:
            output.json(found)
        elif found:
            output.lines(WORDS.audit_columns, map(audit_row, found))
        else:
            output.line(WORDS.nothing)
        return DONE

    run(output, ask)
