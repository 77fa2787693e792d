"""What differs between an establishment's word and what the transfer database knows of it."""

import re
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from cpro_transfer.domain.reconciliation import (
    Differences,
    Kind,
    KnownEnrolment,
    KnownState,
    OptIn,
    PupilTruth,
    Truth,
    compare,
)

UAI_KEY = "0752387M/transfer-opt-in"
OPEN = OptIn(enabled=True, roster_source="siecle", revision=1)
PUPIL = PupilTruth(UUID(int=1), "ine:1:a", True, "siecle", "trusted", 5, False)
HEARD = KnownEnrolment("ine:1:a", UUID(int=1), True, False, "siecle", "trusted", 5, 0)


def truth(
    *pupils: PupilTruth, opt_in: OptIn = OPEN, newest: int = 9, going: set[tuple[str, int]] | None = None
) -> Truth:
    return Truth(UAI_KEY, opt_in, pupils, newest, frozenset(going or set()), 0)


def known(*enrolments: KnownEnrolment, opt_in: OptIn = OPEN, moving: set[UUID] | None = None) -> KnownState:
    return KnownState(opt_in, {one.match_key: one for one in enrolments}, frozenset(moving or set()))


def names(found: Differences) -> set[str]:
    """The kinds that were found."""
    kinds = {str(kind) for kind in found.ids()}
    kinds |= {str(found.opt_in)} if found.opt_in else set()
    return kinds | ({"revisions_behind"} if found.continue_after else set())


def test_what_was_heard_in_full_does_not_differ() -> None:
    found = compare(known(HEARD), truth(PUPIL))

    assert names(found) == set()
    assert not found.is_to_be_told()


@pytest.mark.parametrize(
    ("heard", "kind"),
    [
        pytest.param(None, "pupil_unknown", id="never heard of"),
        pytest.param(
            replace(HEARD, revision=0, withdrawn=True), "pupil_unknown", id="only that the records have moved"
        ),
        pytest.param(replace(HEARD, revision=4), "pupil_behind", id="an earlier state"),
        pytest.param(replace(HEARD, revision=6), "pupil_ahead", id="a later state"),
        pytest.param(replace(HEARD, active=False), "pupil_ahead", id="another state under the same revision"),
        pytest.param(replace(HEARD, withdrawn=True), "pupil_ahead", id="withdrawn under the same revision"),
        pytest.param(replace(HEARD, pupil_id=UUID(int=2)), "pupil_ahead", id="another pupil under the same revision"),
    ],
)
def test_each_way_in_which_a_pupil_can_differ_has_its_name(heard: KnownEnrolment | None, kind: str) -> None:
    found = compare(known(*([heard] if heard else [])), truth(PUPIL))

    assert names(found) == {kind}


def test_whom_a_school_has_entered_by_hand_nobody_misses() -> None:
    by_hand = replace(PUPIL, source="manual", ine_status="absent")

    assert names(compare(known(), truth(by_hand))) == set()
    assert names(compare(known(replace(HEARD, source="manual", revision=4)), truth(by_hand))) == {"pupil_behind"}


def test_what_is_on_its_way_is_no_difference() -> None:
    found = compare(known(replace(HEARD, revision=4)), truth(PUPIL, going={("ine:1:a", 5)}))

    assert (names(found), found.on_their_way) == (set(), 1)


def test_what_was_said_lately_is_lost_where_nothing_is_known_at_all() -> None:
    blank = KnownState(OptIn(), {}, frozenset())

    found = compare(blank, truth(PUPIL, going={("ine:1:a", 5), (UAI_KEY, 1)}))

    assert names(found) == {"pupil_unknown", "opt_in_behind"}


@pytest.mark.parametrize(
    ("stale", "expected"),
    [
        pytest.param(replace(HEARD, match_key="ine:1:old", revision=3), {"enrolment_stale"}, id="a key given up"),
        pytest.param(replace(HEARD, match_key="ine:1:old", withdrawn=True), set(), id="withdrawn already"),
        pytest.param(replace(HEARD, match_key=f"authorisation:{uuid4()}"), set(), id="a replay of support's"),
    ],
)
def test_a_key_that_nobody_has_any_more_is_stale(stale: KnownEnrolment, expected: set[str]) -> None:
    assert names(compare(known(HEARD, stale), truth(PUPIL))) == expected


def test_a_withdrawal_on_its_way_is_no_difference() -> None:
    stale = replace(HEARD, match_key="ine:1:old", revision=3)

    found = compare(known(HEARD, stale), truth(PUPIL, going={("ine:1:old", 4)}))

    assert (names(found), found.on_their_way) == (set(), 1)


@pytest.mark.parametrize(
    ("heard", "own", "kind"),
    [
        pytest.param(OptIn(), OPEN, Kind.OPT_IN_BEHIND, id="never heard of"),
        pytest.param(replace(OPEN, revision=3), OPEN, Kind.OPT_IN_AHEAD, id="a later one"),
        pytest.param(replace(OPEN, enabled=False), OPEN, Kind.OPT_IN_AHEAD, id="another one under the same revision"),
        pytest.param(OptIn(), OptIn(enabled=False, roster_source="siecle"), None, id="never switched"),
    ],
)
def test_the_opt_in_differs_in_the_same_ways(heard: OptIn, own: OptIn, kind: Kind | None) -> None:
    assert compare(known(HEARD, opt_in=heard), truth(PUPIL, opt_in=own)).opt_in is kind


def test_revisions_that_were_known_already_are_not_given_again() -> None:
    found = compare(known(replace(HEARD, revision=50)), truth(PUPIL, newest=9))

    assert found.continue_after == 50


def test_records_that_have_left_are_noted_unless_a_mover_is_about_to() -> None:
    gone = replace(PUPIL, active=False, records_moved=True)
    heard = replace(HEARD, active=False)

    assert names(compare(known(heard), truth(gone))) == {"move_not_noted"}
    assert names(compare(known(heard, moving={gone.pupil_id}), truth(gone))) == set()
    assert names(compare(known(replace(heard, moved_at_revision=5)), truth(gone))) == set()


def test_a_new_revision_takes_along_that_the_records_have_left() -> None:
    gone = replace(PUPIL, active=False, records_moved=True)
    found = compare(known(replace(HEARD, active=False, revision=7, moved_at_revision=7)), truth(gone))

    found.renumbered({gone.pupil_id: 12})

    assert [pupil.revision for pupil in found.ahead] == [12]
    assert [pupil.revision for pupil in found.not_noted] == [12]


def test_of_a_pupil_who_is_held_for_an_unknown_transfer_nothing_is_said() -> None:
    found = compare(known(), truth(PUPIL), deferred={PUPIL.pupil_id})

    assert names(found) == set()


def test_the_guide_has_a_line_for_every_kind_of_difference() -> None:
    guide = Path(__file__).parents[3] / "docs/how-to/reconcile.md"
    lines = [line.split("|")[1] for line in guide.read_text().splitlines() if line.startswith("| `")]

    named = [kind for line in lines for kind in re.findall(r"`([a-z_]+)`", line)]

    assert sorted(named) == sorted(Kind)
