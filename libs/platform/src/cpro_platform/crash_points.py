"""Named points at which a test can kill the process, as a power cut would, or put it to sleep, as a paused machine is.

In production nothing sets `CPRO_CRASH_AT`, and reaching a point costs one comparison.

| `CPRO_CRASH_AT`     | what happens                                             |
|---------------------|----------------------------------------------------------|
| `move.landed`       | SIGKILL the first time that the point is reached         |
| `move.landed#3`     | SIGKILL the third time                                   |
| `move.landed:stop`  | SIGSTOP the first time: goes on when somebody sends SIGCONT |
| `move.landed#3:stop`| SIGSTOP the third time                                   |
"""

import os
import signal

VARIABLE = "CPRO_CRASH_AT"


class _Armed:
    """The one point at which something happens in this process, once."""

    def __init__(self, said: str) -> None:
        place, _, action = said.partition(":")
        self.point, _, nth = place.partition("#")
        self._remaining = int(nth or 1)
        self._signal = {"": signal.SIGKILL, "stop": signal.SIGSTOP}[action]

    def met(self) -> None:
        self._remaining -= 1
        if self._remaining == 0:
            os.kill(os.getpid(), self._signal)


_armed = _Armed(os.environ.get(VARIABLE, ""))


def arm(said: str) -> None:
    """Name the point anew: for a process that is forked from one that has read the environment already.

    Raises:
        KeyError: what should happen there is not `stop`.
        ValueError: the number is none.
    """
    global _armed  # noqa: PLW0603 - one process, one point
    _armed = _Armed(said)


def reach(point: str) -> None:
    """Die or sleep here if `CPRO_CRASH_AT` names this point."""
    if point == _armed.point:
        _armed.met()
