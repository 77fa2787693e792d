"""A server lives under its guard: started, stopped in order, killed, started again, never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpro_embedded.errors import ServerFailedError
from cpro_embedded.guard import process_start
from cpro_embedded.process import ServerProcess, minimal_environment

# Says that it is up, and ends in order when asked to.
OBEDIENT = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
# Has a child of its own and does not listen.
STUBBORN = "trap '' TERM; sleep 600 & echo child $!; echo up; while :; do sleep 0.05; done"


def a_server(folder: Path, script: str) -> ServerProcess:
    return ServerProcess(
        name="server",
        command=("sh", "-c", script),
        folder=folder,
        cwd=folder,
        env=minimal_environment(),
        stop_seconds=0.5,
    )


def is_up(server: ServerProcess) -> bool:
    return server.printed("up\n")


def eventually(condition: Callable[[], bool], within_seconds: float = 15) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[str], ServerProcess]]:
    servers: list[ServerProcess] = []

    def start(script: str) -> ServerProcess:
        servers.append(a_server(tmp_path, script))
        servers[-1].start(is_up)
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def pid_of(server: ServerProcess) -> int:
    assert server.pid is not None
    return server.pid


def test_a_stop_lets_the_server_end_in_order(started: Callable[[str], ServerProcess]) -> None:
    server = started(OBEDIENT)
    pid = pid_of(server)

    server.stop()

    assert server.printed("bye\n")
    assert process_start(pid) is None
    assert not list((server.folder / "pids").iterdir())


def test_a_kill_gives_the_server_no_time(started: Callable[[str], ServerProcess]) -> None:
    server = started(OBEDIENT)

    server.kill()

    assert not server.running
    assert not server.printed("bye\n")


def test_a_server_that_does_not_listen_is_killed_with_its_children(started: Callable[[str], ServerProcess]) -> None:
    server = started(STUBBORN)
    child = int(server.log.read_text().partition("child ")[2].split()[0])
    assert process_start(child) is not None

    server.stop()

    assert eventually(lambda: process_start(child) is None)


def test_a_server_can_be_started_again(started: Callable[[str], ServerProcess]) -> None:
    server = started(OBEDIENT)
    first = pid_of(server)
    server.kill()

    server.start(is_up)

    assert server.running
    assert pid_of(server) != first


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    server = a_server(tmp_path, "echo the port is taken; exit 3")

    with pytest.raises(ServerFailedError, match="the port is taken"):
        server.start(is_up)


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    server = a_server(tmp_path, "while :; do sleep 0.05; done")

    with pytest.raises(ServerFailedError, match="not ready after"):
        server.start(is_up, within_seconds=0.3)

    assert not server.running


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    server = a_server(tmp_path, "")
    server.command = (str(tmp_path / "absent"),)

    with pytest.raises(ServerFailedError, match="could not be started"):
        server.start(is_up)


def test_a_server_ends_with_a_starter_that_was_killed(tmp_path: Path) -> None:
    pid, _ = start_elsewhere(tmp_path, then="os.kill(os.getpid(), signal.SIGKILL)")

    assert eventually(lambda: process_start(pid) is None)
    assert eventually(lambda: "bye\n" in (tmp_path / "logs" / "server.log").read_text())


def test_a_server_ends_with_a_starter_whose_child_holds_the_pipe(tmp_path: Path) -> None:
    """A fork inherits the pipe to the guard, so its end of file alone would not tell that the starter is gone."""
    fork = "child = os.fork()\nif child == 0: time.sleep(600); os._exit(0)\nprint(child, flush=True)\n"

    pid, child = start_elsewhere(tmp_path, then=fork + "os.kill(os.getpid(), signal.SIGKILL)")

    try:
        assert eventually(lambda: process_start(pid) is None)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_server_ends_with_its_guard(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux can tie one process's end to another's")
    server = a_server(tmp_path, OBEDIENT)
    server.start(is_up)
    pid = pid_of(server)
    guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    os.kill(guard, signal.SIGKILL)

    assert eventually(lambda: process_start(pid) is None)
    server.kill()


def start_elsewhere(folder: Path, then: str) -> tuple[int, int]:
    """Start an obedient server from another process that ends as `then` says; the server's pid, and what it printed."""
    program = (
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from test_server_process import OBEDIENT, a_server, is_up\n"
        f"server = a_server(Path({str(folder)!r}), OBEDIENT)\n"
        "server.start(is_up)\n"
        "print(server.pid, flush=True)\n" + then
    )
    ended = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert ended.stdout is not None
    pid = int(ended.stdout.readline())
    child = ended.stdout.readline()
    ended.stdout.close()
    assert ended.wait(timeout=10) == -signal.SIGKILL
    return pid, int(child or 0)
