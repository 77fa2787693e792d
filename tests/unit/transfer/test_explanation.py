"""An administrator never has to wonder for two days whether something is broken."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.explanation import SENTENCES, Condition, Direction, Known, explain, sentence
from cpro_transfer.domain.matching import Enrolment
from cpro_transfer.domain.transfers import Transfer, TransferState

LYCEE_A, LYCEE_B = "0752387M", "0750680G"
KEY = "ine:1:abc"
MONDAY = datetime(2026, 9, 7, 8, tzinfo=UTC)
OPEN = {LYCEE_A: MONDAY, LYCEE_B: MONDAY}


def present(uai: str) -> Known:
    return Known(Enrolment(uai, uuid4(), True, EnrolmentSource.SIECLE, IneStatus.TRUSTED, revision=1), MONDAY)


def gone(uai: str) -> Known:
    known = present(uai)
    return replace(known, enrolment=replace(known.enrolment, active=False, revision=2))


def transfer(state: TransferState, reason: Reason | None = None, due_at: datetime | None = None) -> Transfer:
    return Transfer(
        id=uuid4(), match_key=KEY, state=state, reason=reason, origin_uai=LYCEE_A, origin_pupil_id=uuid4(),
        origin_revision=2, destination_uai=LYCEE_B, destination_pupil_id=uuid4(), planned_at=MONDAY,
        called_for_at=MONDAY, state_changed_at=MONDAY + timedelta(hours=1), due_at=due_at, finished_at=None,
        completed_at=None, records=None,
    )  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_sentence_in_both_languages(reason: Reason) -> None:
    french, english = SENTENCES[reason]

    assert french != english
    assert sentence(reason, "fr") == french
    assert sentence(reason, "en") == english


def test_the_origin_learns_that_nobody_has_imported_the_pupil_yet() -> None:
    said = explain(LYCEE_A, KEY, [gone(LYCEE_A)], OPEN, [], now=MONDAY)

    assert (said.direction, said.reason, said.since) == (Direction.OUTGOING, Reason.NOT_ARRIVED, MONDAY)
    assert said.conditions[Condition.HAS_LEFT_ORIGIN]
    assert not said.conditions[Condition.HAS_ARRIVED]


def test_the_destination_learns_that_the_former_school_has_not_let_the_pupil_go() -> None:
    said = explain(LYCEE_B, KEY, [present(LYCEE_A), present(LYCEE_B)], OPEN, [], now=MONDAY)

    assert (said.direction, said.reason) == (Direction.INCOMING, Reason.NOT_LEFT)


def test_the_other_school_is_not_named_while_its_doors_are_closed() -> None:
    situation = [gone(LYCEE_A), present(LYCEE_B)]

    closed = explain(LYCEE_A, KEY, situation, {LYCEE_A: MONDAY}, [], now=MONDAY)
    opened = explain(LYCEE_A, KEY, situation, OPEN, [], now=MONDAY)

    assert (closed.reason, closed.other_uai) == (Reason.DESTINATION_NOT_OPTED_IN, None)
    assert (opened.reason, opened.other_uai) == (Reason.IN_PROGRESS, LYCEE_B)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (transfer(TransferState.HELD, Reason.IDENTITY_MISMATCH), Reason.IDENTITY_MISMATCH),
        (transfer(TransferState.PLANNED, due_at=MONDAY + timedelta(days=1)), Reason.SETTLING),
        (transfer(TransferState.COPYING), Reason.IN_PROGRESS),
        (transfer(TransferState.COPYING, Reason.TENANT_UNAVAILABLE), Reason.TENANT_UNAVAILABLE),
        (transfer(TransferState.UNDONE), Reason.UNDONE),
    ],
)
def test_a_transfer_under_way_speaks_for_itself(standing: Transfer, reason: Reason) -> None:
    said = explain(LYCEE_A, KEY, [gone(LYCEE_A), present(LYCEE_B)], OPEN, [standing], now=MONDAY)

    assert (said.reason, said.since) == (reason, standing.state_changed_at)


def test_a_held_identity_does_not_name_the_other_school() -> None:
    held = transfer(TransferState.HELD, Reason.IDENTITY_MISMATCH)

    said = explain(LYCEE_A, KEY, [gone(LYCEE_A), present(LYCEE_B)], OPEN, [held], now=MONDAY)

    assert said.other_uai is None
