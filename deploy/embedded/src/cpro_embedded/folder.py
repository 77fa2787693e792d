"""A stack's data folder: one owner at a time, and nothing left of an earlier one."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import stat
import tempfile
import time
from pathlib import Path
from typing import IO

from cpro_embedded.errors import FolderInUseError, ServerFailedError
from cpro_embedded.guard import process_start

# What a stack writes; nothing else in the folder is touched.
_OWN = ("logs", "pids", "kafka", "object-store")
_OWN_PATTERN = "postgres-*"
_END_SECONDS = 15.0
_POLL_SECONDS = 0.05


class StackFolder:
    """Holds the folder by a lock that the kernel gives back when the holder ends, however it ends."""

    def __init__(self, path: Path) -> None:
        # Absolute: the servers have working directories of their own.
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Become the owner, end what an earlier owner left running and delete what it left behind.

        Raises:
            FolderInUseError: A running stack owns it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / "owner.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise FolderInUseError(f"another running stack owns {self.path}") from None
        self._lock = lock
        end_leftovers(self.path / "pids")
        self._clear()

    def release(self) -> None:
        """Give the folder back; safe to repeat."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _clear(self) -> None:
        for found in (*(self.path / name for name in _OWN), *self.path.glob(_OWN_PATTERN)):
            if found.is_symlink():
                # Data that could not be here; a link to anywhere else is not ours to follow.
                if found.readlink().parent == shared_folder():
                    shutil.rmtree(found.readlink(), ignore_errors=True)
                found.unlink()
            elif found.exists():
                shutil.rmtree(found)


def shared_folder() -> Path:
    """This user's folder under the temporary one, that all may enter and only its owner may change.

    Raises:
        ServerFailedError: Something that another user made is in its place: what is in it can't be trusted.
    """
    folder = Path(tempfile.gettempdir()) / f"cpro-embedded-{os.geteuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ServerFailedError(f"{folder} is not a folder that only this user can write: remove it")
    folder.chmod(0o755)
    return folder


def end_leftovers(pids: Path) -> None:
    """End the servers whose pid files are in this folder: SIGTERM to let them finish, then SIGKILL.

    A pid file carries the start of its process. A process with that pid and another start is someone else's,
    and is left alone.
    """
    recorded = [_read(path) for path in pids.glob("*.json")]
    ours = [(pid, start) for pid, start in recorded if pid and start]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid, start in ours:
            if process_start(pid) == start:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + _END_SECONDS
        while any(process_start(pid) == start for pid, start in ours):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        else:
            return


def _read(path: Path) -> tuple[int, str]:
    try:
        content = json.loads(path.read_text())
        return int(content["pid"]), str(content["start"] or "")
    except FileNotFoundError:
        return 0, ""  # its guard has just finished
