"""Run one server and end it when whoever asked for it is gone.

A process of its own between the starter and the server, so that a starter ended by `kill -9` leaves nothing
running. It uses the standard library only, for it is run by path with `python -I -S` and must be up at once.

Protocol: the first line on stdin is the specification (JSON); the guard answers with the server's pid on stdout.
Then `s` asks for a graceful stop, `k` for SIGKILL. End of file, or another parent, means that the starter is gone:
graceful stop, and SIGKILL after the grace period. Only the guard signals the server, and it is the server's
parent, so a recycled pid can never be hit.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PARENT_CHECK_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


def process_start(pid: int) -> str | None:
    """What tells this process from a later one with the same pid; None when there is no such process."""
    try:
        # The command name, between parentheses, may itself hold spaces: count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        shown = subprocess.run(  # noqa: S603 - fixed command, an integer
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return shown.stdout.strip() or None
    return None if fields[0] == "Z" else f"{boot}:{fields[19]}"


def _children(pid: int) -> dict[int, str | None]:
    """The processes that `pid` started (Linux), each with its start. PostgreSQL's leave its process group."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        if parent == pid:
            children[int(stat.parent.name)] = process_start(int(stat.parent.name))
    return children


def _kill(server: "subprocess.Popen[bytes]") -> None:
    """SIGKILL to the server and its children, so that a restart finds the place free at once."""
    children = _children(server.pid)
    server.kill()
    for pid, start in children.items():
        if start is not None and process_start(pid) == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _in_the_server() -> None:
    """Before the exec: signals as usual again; on Linux, the kernel ends the server if the guard is killed."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _spawn(spec: dict[str, Any]) -> "subprocess.Popen[bytes]":
    identity: dict[str, Any] = {}
    if spec["uid"] is not None:
        identity = {"user": spec["uid"], "group": spec["gid"], "extra_groups": []}
    with Path(spec["log"]).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the command is the stack's own
            spec["command"],
            cwd=spec["cwd"],
            env=spec["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_in_the_server,  # noqa: PLW1509 - the guard has a single thread
            **identity,
        )


def _write_pid_file(path: Path, pid: int) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"pid": pid, "start": process_start(pid)}))
    draft.replace(path)


def main() -> int:
    """Run the server of the specification on stdin until it ends; return its exit status."""
    starter = os.getppid()
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    asked_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.append(True))

    spec = json.loads(_first_line())
    server = _spawn(spec)
    pid_file = Path(spec["pid_file"])
    _write_pid_file(pid_file, server.pid)
    os.write(1, f"{server.pid}\n".encode())
    os.close(1)

    watched = [0, wake_read]
    kill_at: float | None = None
    while server.poll() is None:
        ready, _, _ = select.select(watched, [], [], PARENT_CHECK_SECONDS)
        if wake_read in ready:
            os.read(wake_read, 512)
        commands = os.read(0, 64) if 0 in ready else None
        if commands == b"":
            watched.remove(0)
        gone = commands == b"" or os.getppid() != starter or bool(asked_to_end)
        if commands and b"k" in commands:
            _kill(server)
        elif commands and b"s" in commands:
            server.send_signal(spec["stop_signal"])
        elif gone and kill_at is None:
            kill_at = time.monotonic() + spec["grace_seconds"]
            server.send_signal(spec["stop_signal"])
        if kill_at is not None and time.monotonic() > kill_at:
            _kill(server)
    for path in (pid_file, *map(Path, spec["leaves_behind"])):
        path.unlink(missing_ok=True)
    if kill_at is not None and spec["discards"]:
        shutil.rmtree(spec["discards"], ignore_errors=True)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _first_line() -> bytes:
    """Read byte by byte: a buffered read could swallow the commands that follow."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("the starter ended before it said what to run")
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main())
