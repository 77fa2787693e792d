"""Decode pictures as the media service does, and measure what each costs: wall time and highest resident memory.

The kernel charges a child that was started from a large process with that process's memory, so a small launcher starts
the worker, passes the file and reads what the kernel says of it when it has ended, killed or not.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from tempfile import TemporaryFile

from cpro_media.adapters.decoder import answer_of, command_of
from cpro_media.config import DecoderSettings
from cpro_media.domain.images import Refusal, RefusedImageError, Rendition

_LAUNCHER = """
import json, os, sys, time
started = time.monotonic()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], {})
_, status, used = os.wait4(pid, 0)
print(json.dumps({
    "exit_code": os.waitstatus_to_exitcode(status),
    "seconds": time.monotonic() - started,
    "processor_seconds": used.ru_utime + used.ru_stime,
    "megabytes": used.ru_maxrss / 1024,
}), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How one file ended, and what it took. `rendition` is None where it was refused."""

    refusal: Refusal | None
    rendition: Rendition | None
    died: bool
    seconds: float
    processor_seconds: float
    megabytes: float


def measured(data: bytes, settings: DecoderSettings | None = None) -> Decoding:
    """Decode `data` in a worker of its own, under the service's limits unless `settings` says otherwise."""
    settings = settings or DecoderSettings()
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        launched = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command_of(settings)],
            stdin=file,
            capture_output=True,
            check=True,
            timeout=60,
        )
    used = json.loads(launched.stderr.splitlines()[-1])
    exit_code = used.pop("exit_code")
    refusal, rendition = _outcome(exit_code, launched.stdout)
    return Decoding(refusal, rendition, exit_code != 0, **used)


def _outcome(exit_code: int, answer: bytes) -> tuple[Refusal | None, Rendition | None]:
    try:
        return None, answer_of(exit_code, answer)
    except RefusedImageError as refused:
        return refused.refusal, None
