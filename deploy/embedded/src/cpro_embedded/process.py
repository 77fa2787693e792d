"""A server process on the starter's side: started through its guard, stopped gracefully or killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cpro_embedded import guard
from cpro_embedded.errors import ServerFailedError

START_SECONDS = 90.0
_KILL_SECONDS = 20.0
_POLL_SECONDS = 0.03
_LOG_TAIL_LINES = 25


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that a server runs as."""

    uid: int
    gid: int


@dataclass
class ServerProcess:
    """One server under its guard; can be started again after a stop or a kill, with the same command.

    Attributes:
        name: How messages and the log file call it.
        command: Program and arguments; the ports are in it, so a restart comes back on the same ones.
        folder: The stack's folder; `logs/<name>.log` and `pids/<name>.json` are written below it.
        cwd: Working directory.
        env: The whole environment of the server.
        account: Who it runs as; the starter's own user when absent.
        stop_signal: What asks it to end in good order.
        stop_seconds: How long it may take for that before it is killed.
        leaves_behind: Files outside its folder that it does not remove itself.
        discards: A folder that is of no more use once the starter is gone, kept where none would look for it.
    """

    name: str
    command: Sequence[str]
    folder: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    leaves_behind: tuple[Path, ...] = ()
    discards: Path | None = None
    pid: int | None = None
    _guard: "subprocess.Popen[bytes] | None" = None
    _log_start: int = 0

    @property
    def log(self) -> Path:
        """Everything that the server prints, over all its starts."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._guard is not None and self._guard.poll() is None

    def start(self, ready: Callable[["ServerProcess"], bool], *, within_seconds: float = START_SECONDS) -> None:
        """Start the server and wait until `ready`; does nothing when it runs already.

        Raises:
            ServerFailedError: It ended, or was not ready in time; it is then stopped.
        """
        if self.running:
            return
        pid_file = self.folder / "pids" / f"{self.name}.json"
        for parent in (self.log.parent, pid_file.parent):
            parent.mkdir(parents=True, exist_ok=True)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._guard = subprocess.Popen(  # noqa: S603 - this package's own guard
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A session of its own: Ctrl-C in a terminal reaches the starter only, which stops things in order.
            start_new_session=True,
            cwd="/",
        )
        self._tell(json.dumps(self._specification(pid_file)).encode() + b"\n")
        if self._guard.stdout is None:
            raise ServerFailedError(f"{self.name}: no answer from its guard")
        with self._guard.stdout as answer:
            said = answer.readline()
        if not said:
            self._reap()
            raise ServerFailedError(f"{self.name} could not be started: {self.command[0]}")
        self.pid = int(said)
        self._wait_until(ready, within_seconds)

    def stop(self) -> None:
        """End the server in good order; SIGKILL when it takes longer than `stop_seconds`."""
        if not self.running:
            self._reap()
            return
        self._tell(b"s")
        if not self._ended_within(self.stop_seconds):
            self.kill()
        self._reap()

    def kill(self) -> None:
        """SIGKILL to the server and to the processes that it started, as a crash would end it."""
        if not self.running:
            self._reap()
            return
        self._tell(b"k")
        self._ended_within(_KILL_SECONDS)
        self._reap()

    def printed(self, text: str) -> bool:
        """Whether the server has printed `text` since its last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def _specification(self, pid_file: Path) -> dict[str, object]:
        return {
            "command": list(self.command),
            "cwd": str(self.cwd),
            "env": dict(self.env),
            "uid": self.account.uid if self.account else None,
            "gid": self.account.gid if self.account else None,
            "stop_signal": int(self.stop_signal),
            "grace_seconds": self.stop_seconds,
            "leaves_behind": [str(path) for path in self.leaves_behind],
            "discards": str(self.discards) if self.discards else None,
            "pid_file": str(pid_file),
            "log": str(self.log),
        }

    def _wait_until(self, ready: Callable[["ServerProcess"], bool], within_seconds: float) -> None:
        deadline = time.monotonic() + within_seconds
        while not ready(self):
            if not self.running:
                self._reap()
                raise ServerFailedError(f"{self.name} ended while it started\n{self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self.name} not ready after {within_seconds:g} s\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def _tell(self, command: bytes) -> None:
        # The guard may have ended with its server: then there is nothing left to tell.
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._guard.stdin.fileno(), command)

    def _ended_within(self, seconds: float) -> bool:
        if self._guard is None:
            return True
        try:
            self._guard.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _reap(self) -> None:
        if self._guard is not None:
            if self._guard.stdin is not None:
                self._guard.stdin.close()
            self._guard.wait(timeout=_KILL_SECONDS)
        self._guard = None
        self.pid = None

    def _log_tail(self) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])


def minimal_environment(**more: str) -> dict[str, str]:
    """What a server needs of the environment: nothing of the caller's may change how it behaves."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **more}
