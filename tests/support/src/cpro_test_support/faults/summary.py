"""A pytest plugin (`-p cpro_test_support.faults.summary`): sums up the faults of the run as its very last lines.

The run fails when any check found something, whatever its tests made of it.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from cpro_test_support.faults import tally

_notes: list[Path] = []


def pytest_configure(config: pytest.Config) -> None:
    """Make the file that all processes of the run note their faults in. Workers of a run have their controller's."""
    if hasattr(config, "workerinput"):
        return
    descriptor, name = tempfile.mkstemp(prefix="cpro-faults-", suffix=".jsonl")
    os.close(descriptor)
    os.environ[tally.VARIABLE] = name
    _notes.append(Path(name))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that found something is no success."""
    if _notes and exitstatus == pytest.ExitCode.OK and not _summed().is_clean:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Print the sums, after everything else."""
    if not _notes:
        return
    summed = _summed()
    sys.stdout.write("\n".join([*summed.table(), summed.last_line(), ""]))
    sys.stdout.flush()
    _notes.pop().unlink()


def _summed() -> tally.Tally:
    return tally.read(_notes[0].read_text().splitlines())
