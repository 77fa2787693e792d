"""A process that has imported the services and forks their processes: each is at work in tens of milliseconds.

Started by `Zygote` in `processes.py`. One thread and no event loop, ever, so that a fork copies nothing half-way. Only
it signals its children, and it is their parent: a recycled pid is never hit. They end with it, however it ends.

Lines of JSON. In: `{"run": [service, command], "environment": {...}, "log": path}` or `{"pid": 1, "signal": 9}`.
Out: `{"pid": 1}` for each run, in order; `{"pid": 1, "status": -9}` at each end.
"""

import ctypes
import gc
import json
import os
import select
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

from cpro_platform import crash_points

SERVICES = ("transfer", "siecle_import")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Fork until the standard input ends."""
    for service in SERVICES:
        _commands(service)
    gc.freeze()  # what is imported stays shared with the children
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _say({"ready": True})
    children: set[int] = set()
    unread = b""
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap(children)
        if 0 in ready:
            piece = os.read(0, 65536)
            if not piece:
                return
            *orders, unread = (unread + piece).split(b"\n")
            for order in orders:
                _obey(json.loads(order), children)


def _obey(order: dict[str, Any], children: set[int]) -> None:
    if "signal" in order:
        if order["pid"] in children:
            os.kill(order["pid"], order["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _be(order)
    children.add(pid)
    _say({"pid": pid})


def _be(order: dict[str, Any]) -> None:
    """The child's life: the command of the service, as an installation starts it. Never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        crash_points.arm(os.environ.get(crash_points.VARIABLE, ""))
        service, command = order["run"]
        getattr(_commands(service), command)()
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it must not come out in the parent's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _commands(service: str) -> Any:
    return import_module(f"cpro_{service}.entrypoints.cli")


def _reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _say({"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _say(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
