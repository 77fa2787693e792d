"""A request says what it means: no number passes for a day, a time or a yes."""

from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from cpro_transfer.entrypoints.authorisation_models import AuthorisationIn
from cpro_transfer.entrypoints.dead_letter_models import LetterReplayIn
from cpro_transfer.entrypoints.event_replay_models import EventReplayIn
from cpro_transfer.entrypoints.reconciliation_models import ReconciliationIn
from cpro_transfer.entrypoints.replay_models import ReplayIn
from cpro_transfer.entrypoints.support_transfers_api import SupportAct

SOMEBODY = str(UUID(int=7))
TICKET = {"ticket": "CPRO-10482"}
AUTHORISED = {"destination_uai": "0750680G", "given_by": "both", "given_on": "2026-09-14", "collected_by": "head"}
REPLAYED = {"authorisation_id": SOMEBODY, "create": True} | TICKET
LETTERS = {"ids": [SOMEBODY]} | TICKET


@pytest.mark.parametrize("number", [0, 1_789_000_000, 1.5, "0", "1789000000", "-1.5", True])
@pytest.mark.parametrize(
    ("form", "sent", "field"),
    [
        (AuthorisationIn, AUTHORISED, "given_on"),
        (EventReplayIn, TICKET, "published_from"),
        (EventReplayIn, TICKET, "published_to"),
    ],
)
def test_a_number_is_no_day_and_no_time(
    form: type[BaseModel], sent: dict[str, Any], field: str, number: object
) -> None:
    form.model_validate(sent)

    with pytest.raises(ValidationError):
        form.model_validate(sent | {field: number})


@pytest.mark.parametrize("almost", [0, 1, "false", "no", "off"])
@pytest.mark.parametrize(
    ("form", "sent", "field"),
    [
        (SupportAct, TICKET, "dry_run"),
        (ReconciliationIn, {}, "dry_run"),
        (LetterReplayIn, LETTERS, "dry_run"),
        (ReplayIn, REPLAYED, "dry_run"),
        (ReplayIn, REPLAYED, "create"),
    ],
)
def test_only_true_and_false_say_whether_it_is_a_dry_run(
    form: type[BaseModel], sent: dict[str, Any], field: str, almost: object
) -> None:
    form.model_validate(sent | {field: sent.get(field, False)})

    with pytest.raises(ValidationError):
        form.model_validate(sent | {field: almost})
