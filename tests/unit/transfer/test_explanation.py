"""An administrator never has to wonder for two days whether something is broken."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.explanation import (
    Condition,
    Direction,
    Door,
    Known,
    OwnPupil,
    explain,
    explain_unannounced,
)
from cpro_transfer.domain.matching import Enrolment
from cpro_transfer.domain.sentences import NEXT_STEPS, SENTENCES, Turn, next_step, sentence, turn
from cpro_transfer.domain.transfers import Transfer, TransferState

LYCEE_A, LYCEE_B, LYCEE_C = "0752387M", "0750680G", "0660864F"
KEY = "ine:1:abc"
MONDAY = datetime(2026, 9, 7, 8, tzinfo=UTC)
SUMMER = MONDAY - timedelta(days=60)
OPEN = {LYCEE_A: Door(open=True, since=SUMMER), LYCEE_B: Door(open=True, since=SUMMER)}


def present(uai: str, since: datetime = MONDAY) -> Known:
    return Known(Enrolment(uai, uuid4(), True, EnrolmentSource.SIECLE, IneStatus.TRUSTED, revision=1), since)


def gone(uai: str, since: datetime = MONDAY) -> Known:
    known = present(uai, since)
    return replace(known, enrolment=replace(known.enrolment, active=False, revision=2))


def changed(known: Known, **changes: Any) -> Known:
    return replace(known, enrolment=replace(known.enrolment, **changes))


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

    closed = explain(LYCEE_A, KEY, situation, {LYCEE_A: OPEN[LYCEE_A]}, [], now=MONDAY)
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

    assert said.reason == reason
    assert said.since == (standing.state_changed_at if standing.reason or reason is Reason.UNDONE else MONDAY)


def test_a_held_identity_does_not_name_the_other_school() -> None:
    held = transfer(TransferState.HELD, Reason.IDENTITY_MISMATCH)

    said = explain(LYCEE_A, KEY, [gone(LYCEE_A), present(LYCEE_B)], OPEN, [held], now=MONDAY)

    assert said.other_uai is None


TUESDAY, FRIDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=4)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_whose_turn_it_is_and_what_would_change_it(reason: Reason) -> None:
    _, french, english = NEXT_STEPS[reason]

    assert french != english
    assert (next_step(reason, "fr"), next_step(reason, "en")) == (french, english)
    assert turn(reason) in Turn


@pytest.mark.parametrize(
    ("situation", "doors", "reason", "since"),
    [
        ([gone(LYCEE_A, FRIDAY)], {}, Reason.ORIGIN_NOT_OPTED_IN, FRIDAY),
        ([gone(LYCEE_A)], {LYCEE_A: Door(open=False, since=FRIDAY)}, Reason.ORIGIN_NOT_OPTED_IN, FRIDAY),
        ([gone(LYCEE_A)], {LYCEE_A: Door(open=True, since=TUESDAY)}, Reason.NOT_ARRIVED, TUESDAY),
        ([gone(LYCEE_A), gone(LYCEE_B, FRIDAY)], OPEN, Reason.NOT_ARRIVED, FRIDAY),
        ([gone(LYCEE_A), present(LYCEE_B, TUESDAY)], {LYCEE_A: OPEN[LYCEE_A]}, Reason.DESTINATION_NOT_OPTED_IN, TUESDAY),
        ([gone(LYCEE_A), present(LYCEE_B, TUESDAY)], OPEN | {LYCEE_B: Door(open=False, since=FRIDAY)},
         Reason.DESTINATION_NOT_OPTED_IN, FRIDAY),
        ([gone(LYCEE_A), present(LYCEE_B, TUESDAY), present(LYCEE_C, FRIDAY)], OPEN, Reason.AMBIGUOUS_DESTINATION, FRIDAY),
        ([gone(LYCEE_A), present(LYCEE_B, TUESDAY)], OPEN, Reason.IN_PROGRESS, TUESDAY),
        ([changed(gone(LYCEE_A), source=EnrolmentSource.MANUAL)], OPEN, Reason.NOT_FROM_SIECLE, MONDAY),
        ([changed(gone(LYCEE_A), withdrawn=True)], OPEN, Reason.INE_WITHDRAWN, MONDAY),
        ([present(LYCEE_A, TUESDAY)], OPEN, Reason.NOT_LEFT, TUESDAY),
    ],
)  # fmt: skip
def test_since_is_the_time_of_the_newest_fact_that_the_answer_rests_on(
    situation: list[Known], doors: dict[str, Door], reason: Reason, since: datetime
) -> None:
    said = explain(LYCEE_A, KEY, situation, doors, [], now=FRIDAY)

    assert (said.reason, said.since) == (reason, since)


def test_a_pupil_who_has_come_back_is_explained_by_the_return_and_not_by_the_cancelled_transfer() -> None:
    back = changed(present(LYCEE_A, FRIDAY), revision=3)
    cancelled = transfer(TransferState.CANCELLED, Reason.RETURNED)

    said = explain(LYCEE_A, KEY, [back], OPEN, [cancelled], now=FRIDAY)

    assert (said.reason, said.since, said.transfer) == (Reason.NOT_LEFT, FRIDAY, None)


def test_a_reason_that_is_met_again_and_again_lasts_since_the_first_time() -> None:
    tried = replace(transfer(TransferState.HELD, Reason.SCHEMA_BEHIND), reason_since=TUESDAY, state_changed_at=FRIDAY)

    said = explain(LYCEE_A, KEY, [gone(LYCEE_A), present(LYCEE_B)], OPEN, [tried], now=FRIDAY)

    assert (said.reason, said.since) == (Reason.SCHEMA_BEHIND, TUESDAY)


def test_a_pupil_who_went_on_is_seen_from_each_of_three_schools() -> None:
    first = changed(gone(LYCEE_A), moved_at_revision=2)
    second, third = gone(LYCEE_B, TUESDAY), present(LYCEE_C, FRIDAY)
    doors = OPEN | {LYCEE_C: OPEN[LYCEE_A]}
    done = replace(transfer(TransferState.COMPLETED), completed_at=TUESDAY)
    going_on = replace(
        transfer(TransferState.COPYING), origin_uai=LYCEE_B, destination_uai=LYCEE_C, called_for_at=FRIDAY
    )

    def seen_from(uai: str) -> tuple[Direction, Reason, datetime, str | None]:
        said = explain(uai, KEY, [first, second, third], doors, [going_on, done], now=FRIDAY)
        return said.direction, said.reason, said.since, said.other_uai

    assert seen_from(LYCEE_A) == (Direction.OUTGOING, Reason.COMPLETED, TUESDAY, None)
    assert seen_from(LYCEE_B) == (Direction.OUTGOING, Reason.IN_PROGRESS, FRIDAY, LYCEE_C)
    assert seen_from(LYCEE_C) == (Direction.INCOMING, Reason.IN_PROGRESS, FRIDAY, LYCEE_B)


def test_of_two_former_schools_the_one_whose_records_have_not_come_is_explained() -> None:
    came = changed(gone(LYCEE_B, FRIDAY), moved_at_revision=2)
    closed = {LYCEE_C: OPEN[LYCEE_A], LYCEE_B: OPEN[LYCEE_B]}

    said = explain(LYCEE_C, KEY, [gone(LYCEE_A), came, present(LYCEE_C)], closed, [], now=FRIDAY)

    assert (said.direction, said.reason) == (Direction.INCOMING, Reason.ORIGIN_NOT_OPTED_IN)


def test_a_pupil_entered_by_hand_has_not_arrived_for_that_and_is_told_so() -> None:
    by_hand = changed(present(LYCEE_B, TUESDAY), source=EnrolmentSource.MANUAL)

    here = explain(LYCEE_B, KEY, [gone(LYCEE_A), by_hand], OPEN, [], now=FRIDAY)
    there = explain(LYCEE_A, KEY, [gone(LYCEE_A), by_hand], OPEN, [], now=FRIDAY)

    assert (here.reason, here.since) == (Reason.NOT_FROM_SIECLE, TUESDAY)
    assert there.reason == Reason.NOT_ARRIVED


def test_the_other_school_is_forgotten_once_the_pupil_has_left_it_or_it_has_closed_its_doors() -> None:
    done = replace(transfer(TransferState.COMPLETED), completed_at=TUESDAY)
    moved = changed(gone(LYCEE_A), moved_at_revision=2)

    def named(other: Known, doors: dict[str, Door]) -> str | None:
        return explain(LYCEE_A, KEY, [moved, other], doors, [done], now=FRIDAY).other_uai

    assert named(present(LYCEE_B), OPEN) == LYCEE_B
    assert named(gone(LYCEE_B), OPEN) is None
    assert named(present(LYCEE_B), OPEN | {LYCEE_B: Door(open=False, since=FRIDAY)}) is None


@pytest.mark.parametrize(
    ("changes", "reason", "since"),
    [
        ({}, Reason.NOT_YET_ANNOUNCED, MONDAY),
        ({"active": False}, Reason.NOT_YET_ANNOUNCED, MONDAY),
        ({"source": EnrolmentSource.MANUAL}, Reason.NOT_FROM_SIECLE, MONDAY),
        ({"active": False, "records_moved_at": FRIDAY}, Reason.COMPLETED, FRIDAY),
    ],
)
def test_a_pupil_of_whom_nothing_was_announced_gets_the_answer_of_their_own_school(
    changes: dict[str, Any], reason: Reason, since: datetime
) -> None:
    pupil = OwnPupil(
        active=True, source=EnrolmentSource.SIECLE, ine_status=IneStatus.TRUSTED, revision=1, state_changed_at=MONDAY,
        records_moved_at=None, opted_in=True,
    )  # fmt: skip

    said = explain_unannounced(replace(pupil, **changes))

    assert (said.reason, said.since, said.other_uai) == (reason, since, None)
