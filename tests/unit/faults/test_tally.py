"""The last lines of a run say what was done and what came of it."""

import json

from cpro_test_support.faults import tally


def _summed(*notes: dict[str, object]) -> tally.Tally:
    return tally.read(json.dumps(note) for note in notes)


def test_the_last_line_sums_up_all_processes_of_the_run() -> None:
    summed = _summed(
        {"kill": "move"},
        {"kill": "join"},
        {"outage": "store", "phase": "move.held", "how": "kill"},
        {"ended": {"lost": 0, "doubled": 0, "half": 0, "stuck": 0}},
        {"moves": 3},
    )

    assert summed.last_line() == "faults: kills=2 outages=1 lost=0 doubled=0 half=0 stuck=0"
    assert summed.is_clean
    assert summed.moves == 3


def test_one_finding_in_one_check_is_a_run_that_found_something() -> None:
    clean = {"lost": 0, "doubled": 0, "half": 0, "stuck": 0}

    summed = _summed({"ended": clean}, {"ended": clean | {"half": 2}}, {"ended": clean})

    assert summed.last_line().endswith("lost=0 doubled=0 half=2 stuck=0")
    assert not summed.is_clean


def test_the_table_has_a_row_for_each_phase_and_a_column_for_each_dependency() -> None:
    summed = _summed(
        {"outage": "store", "phase": "move.held", "how": "kill"},
        {"outage": "origin", "phase": "move.held", "how": "stop"},
        {"outage": "origin", "phase": "move.held", "how": "stop"},
        {"outage": "origin", "phase": "import: import.parsed", "how": "stop"},
    )

    rows = [line.split() for line in summed.table()[:3]]
    assert rows[0] == ["outages", "origin", "store"]
    assert rows[1] == ["import:", "import.parsed", "1", "-"]
    assert rows[2] == ["move.held", "2", "1"]
