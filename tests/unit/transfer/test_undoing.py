"""Which transfers may be undone, cancelled or retried, in words: no database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.support import Cancelling, cancelling, waits_for_a_retry
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.domain.undoing import (
    Change,
    Finding,
    Passage,
    Refusal,
    Touched,
    has_moved_on,
    judge,
    refusal,
    undo_id_of,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
MONTH = timedelta(days=30)
COMPLETED = Transfer(
    id=uuid4(), match_key="ine:1:ab", state=TransferState.COMPLETED, reason=None, origin_uai="0752387M",
    origin_pupil_id=uuid4(), origin_revision=3, destination_uai="0750680G", destination_pupil_id=uuid4(),
    planned_at=NOW, called_for_at=NOW, state_changed_at=NOW, due_at=None, finished_at=NOW, completed_at=NOW, records=4,
)  # fmt: skip


def test_a_completed_transfer_may_be_undone_to_the_last_moment_of_its_time() -> None:
    assert refusal(COMPLETED, now=NOW + MONTH, within=MONTH) is None
    late = NOW + MONTH + timedelta(microseconds=1)
    assert refusal(COMPLETED, now=late, within=MONTH) is Refusal.TOO_LATE


@pytest.mark.parametrize("state", sorted(set(TransferState) - {TransferState.COMPLETED}))
def test_in_any_other_state_it_may_not(state: TransferState) -> None:
    expected = Refusal.ALREADY_UNDONE if state is TransferState.UNDONE else Refusal.NOT_COMPLETED

    assert refusal(replace(COMPLETED, state=state), now=NOW, within=MONTH) is expected


def test_an_undo_may_not() -> None:
    assert refusal(replace(COMPLETED, undoes=uuid4()), now=NOW, within=MONTH) is Refusal.IS_AN_UNDO


def test_records_that_left_and_came_back_by_an_undo_have_not_moved_on() -> None:
    onward, undo = uuid4(), uuid4()
    left, back = Passage(onward, outgoing=True), Passage(undo_id_of(onward), outgoing=False)

    assert has_moved_on([left], undo=undo)
    assert not has_moved_on([left, back], undo=undo)
    assert has_moved_on([left, Passage(uuid4(), outgoing=False)], undo=undo)
    assert not has_moved_on([Passage(undo, outgoing=True)], undo=undo)


def test_a_receipt_that_is_not_there_comes_before_all_else_then_where_the_records_are_then_what_was_done_to_them() -> (
    None
):
    row = Touched("report", uuid4(), Change.EDITED)

    assert judge(received=False, moved_on=True, touched=[row]) == Finding(Refusal.RECEIPT_MISSING)
    assert judge(received=True, moved_on=True, touched=[row]) == Finding(Refusal.MOVED_ON)
    assert judge(received=True, moved_on=False, touched=[row]) == Finding(Refusal.RECORDS_EDITED, (row,))
    assert judge(received=True, moved_on=False, touched=[]) == Finding(None)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("planned", "at_once"), ("held", "at_once"), ("holding", "asked_for"), ("copying", "asked_for"),
        ("landed", "too_late"), ("completed", "too_late"), ("cancelled", "too_late"), ("undone", "too_late"),
    ],
)  # fmt: skip
def test_what_has_landed_is_never_cancelled(state: str, expected: str) -> None:
    assert cancelling(TransferState(state)) is Cancelling(expected)


def test_held_and_postponed_transfers_wait_for_a_retry_and_no_others() -> None:
    held = replace(COMPLETED, state=TransferState.HELD, reason=Reason.DIGEST_MISMATCH)
    postponed = replace(COMPLETED, state=TransferState.COPYING, reason=Reason.TENANT_UNAVAILABLE)

    assert waits_for_a_retry(held, leased=False)
    assert waits_for_a_retry(postponed, leased=False)
    assert not waits_for_a_retry(postponed, leased=True)
    assert not waits_for_a_retry(replace(postponed, reason=None), leased=False)
    assert not waits_for_a_retry(replace(held, destination_uai=None), leased=False)
    assert not waits_for_a_retry(COMPLETED, leased=False)
