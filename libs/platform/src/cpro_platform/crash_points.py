"""Named points at which a test can kill the process, as a power cut would.

In production nothing sets `CPRO_CRASH_AT`, and reaching a point costs one comparison.
"""

import os
import signal

_TARGET, _, _NTH = os.environ.get("CPRO_CRASH_AT", "").partition("#")
_remaining = int(_NTH or 1)


def reach(point: str) -> None:
    """Die here with SIGKILL if `CPRO_CRASH_AT` names this point (`move.landed#3`: the third time)."""
    global _remaining  # noqa: PLW0603 - one process, one death
    if point != _TARGET:
        return
    _remaining -= 1
    if _remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
