"""What the traces of a transfer come to, and what is written down again from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from cpro_transfer.domain.transfer_traces import (
    End,
    Entry,
    HoldSaid,
    ReceiptSaid,
    Said,
    Trace,
    TracedPupil,
    judge,
    restore,
)
from cpro_transfer.domain.transfers import TransferState

HERE, THERE = "0752387M", "0750680G"
ID, LEAVER, ARRIVAL = UUID(int=7), UUID(int=1), UUID(int=2)
MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)
NOON, EVENING = MORNING + timedelta(hours=4), MORNING + timedelta(hours=10)
ENTRY = Entry(ID, TransferState.COMPLETED, 1, HERE, THERE, LEAVER, MORNING)
OUTGOING, INCOMING = Trace(ID, outgoing=True, other_uai=THERE), Trace(ID, incoming=True, other_uai=HERE)
HELD = Trace(ID, held_pupil_id=LEAVER)
SWITCHED = {"enabled": True, "revision": 3, "changed_at": MORNING.isoformat()}


@pytest.mark.parametrize(
    ("uai", "trace", "state", "verdict"),
    [
        (HERE, OUTGOING, "completed", "agrees"),
        (THERE, INCOMING, "completed", "agrees"),
        (HERE, None, "cancelled", "agrees"),
        (HERE, None, "held", "agrees"),
        (HERE, None, "landed", "agrees"),
        (HERE, HELD, "copying", "under_way"),
        (HERE, OUTGOING, "landed", "under_way"),
        (THERE, INCOMING, "planned", "under_way"),
        (HERE, OUTGOING, None, "enter"),
        (HERE, HELD, None, "enter"),
        (THERE, INCOMING, "cancelled", "carry_on"),
        (HERE, HELD, "cancelled", "carry_on"),
        (HERE, HELD, "held", "carry_on"),
        (HERE, OUTGOING, "held", "carry_on_if_landed"),
        (HERE, HELD, "completed", "carry_on_if_landed"),
        (HERE, None, "completed", "receipt_missing"),
        (THERE, None, "completed", "receipt_missing"),
        (HERE, HELD, "undone", "agrees"),
    ],
)
def test_the_traces_and_the_entry_come_to_one_verdict(
    uai: str, trace: Trace | None, state: str | None, verdict: str
) -> None:
    entry = replace(ENTRY, state=TransferState(state)) if state else None

    assert judge(uai, trace, entry) == verdict


def a_receipt(pupil_id: UUID, at: datetime, *, number: int = 4, epoch: int = 2) -> ReceiptSaid:
    return ReceiptSaid(pupil_id, epoch, {"report": 2, "attachment": 1}, SWITCHED, SWITCHED, at, number)


def a_pupil(pupil_id: UUID, *log: Said, moved: bool = False, last: UUID | None = None) -> TracedPupil:
    return TracedPupil(pupil_id, "ine:1:now", 30, moved, MORNING, last, log)


LOG = (
    Said("ine:1:then", 10, False, MORNING - timedelta(days=9)),
    Said("ine:1:then", 11, True, MORNING - timedelta(days=5)),
    Said("ine:1:now", 29, False, EVENING),
    Said("ine:1:now", 30, True, EVENING),
)


def test_with_both_receipts_it_is_completed_under_the_departure_that_called_for_it() -> None:
    origin = End(outgoing=a_receipt(LEAVER, NOON), fence_epoch=3, pupil=a_pupil(LEAVER, *LOG))
    destination = End(incoming=a_receipt(ARRIVAL, NOON), pupil=a_pupil(ARRIVAL))

    restored = restore(ID, HERE, THERE, origin, destination)

    assert restored is not None
    assert (restored.id, restored.state) == (ID, "completed")
    assert (restored.match_key, restored.origin_revision) == ("ine:1:then", 11)
    assert (restored.epoch, restored.records, restored.finished_at) == (3, 3, NOON)
    assert restored.called_for_at == MORNING


@pytest.mark.parametrize(
    ("moved", "last", "revision"),
    [
        pytest.param(True, ID, 30, id="the last that took the records: the revision that the pupil still has"),
        pytest.param(True, UUID(int=8), -4, id="a later one took them again: its own number, negative"),
        pytest.param(False, ID, -4, id="the pupil has come back since"),
    ],
)
def test_without_an_event_log_the_revision_is_the_pupils_or_one_that_no_event_has(
    moved: bool, last: UUID, revision: int
) -> None:
    origin = End(outgoing=a_receipt(LEAVER, NOON), pupil=a_pupil(LEAVER, moved=moved, last=last))

    restored = restore(ID, HERE, THERE, origin, End(pupil=a_pupil(ARRIVAL)))

    assert restored is not None
    assert restored.origin_revision == revision


def test_with_the_destinations_receipt_alone_it_has_landed() -> None:
    origin = End(hold=HoldSaid(LEAVER, 5, SWITCHED, MORNING), pupil=a_pupil(LEAVER, *LOG))

    restored = restore(ID, HERE, THERE, origin, End(incoming=a_receipt(ARRIVAL, NOON), pupil=a_pupil(ARRIVAL)))

    assert restored is not None
    assert (restored.state, restored.epoch, restored.finished_at) == ("landed", 5, None)


def test_with_a_hold_alone_a_mover_carries_it_on() -> None:
    origin = End(hold=HoldSaid(LEAVER, 1, SWITCHED, NOON), pupil=a_pupil(LEAVER, *LOG))

    restored = restore(ID, HERE, THERE, origin, End(fence_epoch=4, pupil=a_pupil(ARRIVAL)))

    assert restored is not None
    assert (restored.state, restored.epoch, restored.landed_at) == ("holding", 4, None)


def test_with_a_fence_alone_there_is_nothing_to_write_down() -> None:
    ends = End(fence_epoch=1, pupil=a_pupil(LEAVER)), End(fence_epoch=1, pupil=a_pupil(ARRIVAL))

    assert restore(ID, HERE, THERE, *ends) is None
