"""When records move, in the words of the manual."""

from dataclasses import replace
from uuid import uuid4

import pytest

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.matching import Decision, Enrolment, Held, Move, Waiting, decide

LYCEE_A, LYCEE_B, LYCEE_C = "0752387M", "0750680G", "0660864F"
INE = "ine:1:abc"
BOTH = frozenset({LYCEE_A, LYCEE_B})


def present(uai: str) -> Enrolment:
    return Enrolment(uai, uuid4(), True, EnrolmentSource.SIECLE, IneStatus.TRUSTED, revision=1)


def gone(uai: str) -> Enrolment:
    return replace(present(uai), active=False, revision=2)


def decided(*enrolments: Enrolment, opted_in: frozenset[str] = BOTH, match_key: str = INE) -> Decision:
    return decide(match_key, enrolments[0], enrolments, opted_in)


def test_records_move_when_a_pupil_has_left_one_school_and_arrived_at_another_and_both_opted_in() -> None:
    assert decided(gone(LYCEE_A), present(LYCEE_B)) == Move(LYCEE_B)


@pytest.mark.parametrize(
    ("enrolments", "opted_in", "reason"),
    [
        ((present(LYCEE_A), present(LYCEE_B)), BOTH, Reason.NOT_LEFT),
        ((gone(LYCEE_A),), BOTH, Reason.NOT_ARRIVED),
        ((gone(LYCEE_A), gone(LYCEE_B)), BOTH, Reason.NOT_ARRIVED),
        ((gone(LYCEE_A), replace(present(LYCEE_B), withdrawn=True, active=False)), BOTH, Reason.NOT_ARRIVED),
        ((gone(LYCEE_A), replace(present(LYCEE_B), source=EnrolmentSource.MANUAL)), BOTH, Reason.NOT_ARRIVED),
        ((gone(LYCEE_A), present(LYCEE_B)), frozenset({LYCEE_B}), Reason.ORIGIN_NOT_OPTED_IN),
        ((gone(LYCEE_A), present(LYCEE_B)), frozenset({LYCEE_A}), Reason.DESTINATION_NOT_OPTED_IN),
        ((replace(gone(LYCEE_A), source=EnrolmentSource.MANUAL), present(LYCEE_B)), BOTH, Reason.NOT_FROM_SIECLE),
        ((replace(gone(LYCEE_A), moved_at_revision=2), present(LYCEE_B)), BOTH, Reason.COMPLETED),
        ((replace(gone(LYCEE_A), withdrawn=True), present(LYCEE_B)), BOTH, Reason.INE_WITHDRAWN),
    ],
)
def test_records_wait_and_say_for_what(
    enrolments: tuple[Enrolment, ...], opted_in: frozenset[str], reason: Reason
) -> None:
    assert decided(*enrolments, opted_in=opted_in) == Waiting(reason)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(IneStatus.ABSENT, Reason.NO_INE), (IneStatus.NOT_TRUSTED, Reason.INE_NOT_TRUSTED)],
)
def test_a_pupil_without_a_number_to_trust_is_never_joined(status: IneStatus, reason: Reason) -> None:
    leaver = replace(gone(LYCEE_A), ine_status=status)

    assert decided(leaver, present(LYCEE_B), match_key=f"pupil:{LYCEE_A}:1") == Waiting(reason)


def test_a_pupil_present_at_two_schools_is_for_a_person_to_look_at() -> None:
    everywhere = BOTH | {LYCEE_C}

    assert decided(gone(LYCEE_A), present(LYCEE_B), present(LYCEE_C), opted_in=everywhere) == Held(
        Reason.AMBIGUOUS_DESTINATION
    )


def test_a_pupil_who_came_back_and_left_again_has_new_records_to_move() -> None:
    left_again = replace(gone(LYCEE_A), revision=4, moved_at_revision=2)

    assert decided(left_again, present(LYCEE_B)) == Move(LYCEE_B)
