"""Rate and time left are those of the reading, whatever came before it."""

from cpro_siecle_import.domain.pace import Pace, Reading, pace


def test_the_pace_is_that_between_the_first_look_and_the_last() -> None:
    first, last = Reading(100.0, 1_000_000, 500), Reading(104.0, 3_000_000, 1_500)

    assert pace(first, last, bytes_expected=8_000_000) == Pace(pupils_per_second=250.0, seconds_left=10.0)


def test_a_wait_before_the_reading_makes_nobody_wait_longer() -> None:
    soon, late = Reading(1.0, 10, 1), Reading(3_601.0, 10, 1)

    paces = {pace(first, Reading(first.at_seconds + 2, 30, 5), bytes_expected=50) for first in (soon, late)}

    assert paces == {Pace(2.0, 2.0)}


def test_one_look_says_nothing() -> None:
    only = Reading(5.0, 1_000, 10)

    assert pace(only, only, bytes_expected=2_000) is None


def test_nothing_is_left_of_a_file_that_is_longer_than_expected() -> None:
    found = pace(Reading(0.0, 0, 0), Reading(1.0, 2_000, 10), bytes_expected=1_500)

    assert found == Pace(10.0, 0.0)
