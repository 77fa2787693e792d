"""Read files as the worker does, in a process of its own, and measure what each costs.

Memory is what the kernel saw: the highest resident size since it was told to forget the previous one, less the size
before the file, so that the allocations of C libraries count; only Linux tells it, elsewhere it reads 0. Each file is read by a new thread, as in the worker: the
parser keeps a dictionary for each thread. The files are written by the parent, whose own memory is not measured.
"""

import ctypes
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from cpro_siecle_import.adapters.packaging import ExpansionLimits, opened_export
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_siecle_import.domain.export import accept
from cpro_siecle_import.domain.refusals import FileRefusedError

ACCEPTED = "accepted"
_STATUS, _FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEASURES_MEMORY = _FORGET_PEAK.exists()


@dataclass(frozen=True, slots=True)
class Reading:
    """How one file ended. `code` is that of the refusal, `accepted`, or the name of an error that should not be.

    `seconds` is processor time, which a busy machine does not stretch; reading waits for nothing.
    """

    code: str
    detail: str
    seconds: float
    peak_megabytes: float


class ReadingProcess:
    """The other process, as long as `reading_process` is open."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def read(self, path: Path, *, uai: str, received_on: datetime) -> Reading:
        """Have it read a file for a school.

        Raises:
            RuntimeError: it died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"path": str(path), "uai": uai, "received_on": received_on.isoformat()}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that reads died on {path.name}")
        return Reading(**json.loads(answer))


@contextmanager
def reading_process() -> Iterator[ReadingProcess]:
    """Start the process; it ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "cpro_test_support.measured_reading"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield ReadingProcess(process)
        finally:
            process.kill()


def read_as_the_worker_does(path: Path, uai: str, received_on: datetime) -> tuple[str, str]:
    """The code and the text with which a file is refused. Nothing is kept of its lines, as in the worker."""
    try:
        with path.open("rb") as file, opened_export(file, ExpansionLimits()) as stream:
            reader = SiecleReader(stream)
            for _ in reader.batches():
                pass
        accept(reader.header, expected_uai=uai, received_on=received_on)
    except FileRefusedError as refused:
        return refused.code, refused.detail
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        return type(error).__name__, str(error)
    return ACCEPTED, ""


def _measured(path: Path, uai: str, received_on: datetime) -> Reading:
    outcome: list[tuple[str, str]] = []
    thread = threading.Thread(target=lambda: outcome.append(read_as_the_worker_does(path, uai, received_on)))
    gc.collect()
    _give_memory_back()
    if _MEASURES_MEMORY:
        _FORGET_PEAK.write_text("5")
    before, started = _megabytes("VmRSS"), time.process_time()
    thread.start()
    thread.join()
    seconds, peak = time.process_time() - started, _megabytes("VmHWM")
    ((code, detail),) = outcome
    return Reading(code, detail, seconds, max(0.0, peak - before))


def _give_memory_back() -> None:
    """What earlier files left free would hide what the next one takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _megabytes(field: str) -> float:
    if not _MEASURES_MEMORY:
        return 0.0
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading = _measured(Path(order["path"]), order["uai"], datetime.fromisoformat(order["received_on"]))
        sys.stdout.write(json.dumps(asdict(reading)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
