"""The number of a support ticket. Without one, support does nothing."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from cpro_transfer import refusals
from cpro_transfer.domain.support import TICKET_FORM


def _of_form(ticket: str) -> str:
    """Refused in the user's words: a pattern says nothing to who has to type the number."""
    if not re.fullmatch(TICKET_FORM, ticket):
        raise refusals.ticket_malformed()
    return ticket


Ticket = Annotated[
    str,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_of_form),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{TICKET_FORM}$",
            "description": "Numéro du ticket d'assistance",
            "examples": ["CPRO-10482"],
        }
    ),
]
"""In a request. Raises `ticket_malformed`."""
