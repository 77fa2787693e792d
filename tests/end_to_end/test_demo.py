"""The demo as a user starts it, with fewer pupils: its last line and its exit status are what a script relies on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cpro_test_support.depth import slow

DEADLINE_SECONDS = 240
PUPILS, SINGLE_MOVES = 12, 1
# One pupil in five on each of three ways, those who move one at a time, and the one who was authorised and stands.
EXPECTED = 3 * (PUPILS // 5) + SINGLE_MOVES + 1

pytestmark = pytest.mark.timeout(DEADLINE_SECONDS + 30)


def play(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cpro_embedded.demo", "--run-folder", str(folder)]
    command += ["--pupils", str(PUPILS), "--single-moves", str(SINGLE_MOVES), *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE_SECONDS)


def test_the_demo_moves_what_it_must_says_what_waits_and_ends_with_one_line(tmp_path: Path) -> None:
    played = play(tmp_path)

    assert played.returncode == 0, played.stdout[-3000:] + played.stderr[-3000:]
    lines = played.stdout.splitlines()
    assert re.fullmatch(
        rf"demo: ok moved={EXPECTED} expected={EXPECTED} lost=0 doubled=0 p50_ms=\d+ p99_ms=\d+ seconds=\d+\.\d",
        lines[-1],
    )
    assert sum(line.startswith("demo:") for line in lines) == 1
    for code in ("no_ine", "identity_mismatch", "not_left", "not_arrived", "destination_not_opted_in"):
        assert code in played.stdout
    assert "Fichier d'un autre établissement" in played.stdout
    assert "one pupil at a time" in played.stdout
    # Who was authorised, refused, carried out and taken back, as the administrator and support read it.
    for said in ("transfer_is_automatic", "authorisation_revoked", "authorisation.replayed", "transfer.undo_asked"):
        assert said in played.stdout
    assert "Dry run: nothing was written." in played.stdout
    assert "undone by support" in played.stdout
    assert list((tmp_path / "demo" / "pids").iterdir()) == []


@slow
def test_records_that_are_not_as_they_were_written_fail_the_demo(tmp_path: Path) -> None:
    played = play(tmp_path, "--tamper", "changed", "--tamper", "lost", "--tamper", "moved", "--tamper", "lost-at-cfa")

    assert played.returncode == 1
    last = played.stdout.splitlines()[-1]
    assert last.startswith("demo: FAILED ")
    for why in ("1 records changed", "2 records lost", "1 records of another person than expected"):
        assert why in last
