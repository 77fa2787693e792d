"""`make run` as a user starts and stops it."""

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpro_embedded.guard import process_start
from cpro_test_support.depth import slow

DEADLINE_SECONDS = 150
STOP_SECONDS = 60

pytestmark = pytest.mark.timeout(DEADLINE_SECONDS + STOP_SECONDS + 30)


@pytest.fixture
def running(tmp_path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """The run, started in the background; killed at the end if the test has not stopped it."""
    command = (sys.executable, "-m", "cpro_embedded.run", "--run-folder", str(tmp_path), "--pupils", "20")
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    yield process
    process.kill()
    process.wait()


@slow
def test_a_run_gives_a_session_to_work_with_and_leaves_nothing_behind(
    running: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    session = wait_for_session(running, tmp_path)
    headers = {who: {"Authorization": f"Bearer {token}"} for who, token in session["tokens"].items()}
    administrators = {who: who.removeprefix("administrator ") for who in headers if who.startswith("administrator ")}

    with httpx.Client(base_url=session["url"], timeout=30, trust_env=False) as client:
        assert client.get("/docs").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert len(administrators) == 2
        for who, uai in administrators.items():
            assert client.get(f"/v1/establishments/{uai}", headers=headers[who]).json()["uai"] == uai
        (uai, *_) = administrators.values()
        waiting = client.get(f"/v1/establishments/{uai}/transferable-pupils", headers=headers[f"administrator {uai}"])
        assert "destination_not_opted_in" in {pupil["code"] for pupil in waiting.json()["items"]}
        # Known, and not an administrator: forbidden is not unauthenticated.
        for role in ("support", "operations"):
            assert client.get(f"/v1/establishments/{uai}/transfers", headers=headers[role]).status_code == 403
        assert client.get(f"/v1/establishments/{uai}/transfers").status_code == 401
    assert stat.S_IMODE((tmp_path / "session.json").stat().st_mode) == 0o600

    processes = recorded_processes(tmp_path)
    assert set(session["pids"]) <= processes.keys()
    running.send_signal(signal.SIGINT)

    assert running.wait(timeout=STOP_SECONDS) == 0, (tmp_path / "output").read_text()[-3000:]
    assert [pid for pid, start in processes.items() if process_start(pid) == start] == []
    assert not (tmp_path / "session.json").exists()


@slow
def test_a_run_that_is_killed_leaves_no_process_behind(running: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    wait_for_session(running, tmp_path)
    processes = recorded_processes(tmp_path)

    running.kill()

    deadline = time.monotonic() + STOP_SECONDS
    while left := [pid for pid, start in processes.items() if process_start(pid) == start]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def wait_for_session(running: "subprocess.Popen[bytes]", folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (folder / "session.json").exists():
        assert running.poll() is None, (folder / "output").read_text()[-3000:]
        assert time.monotonic() < deadline, (folder / "output").read_text()[-3000:]
        time.sleep(0.1)
    session: dict[str, Any] = json.loads((folder / "session.json").read_text())
    return session


def recorded_processes(folder: Path) -> dict[int, str]:
    """The pid of every server and service, each with its start, which tells it from a later process of that pid."""
    found = [json.loads(path.read_text()) for path in (folder / "servers" / "pids").glob("*.json")]
    assert found
    return {one["pid"]: one["start"] for one in found}
