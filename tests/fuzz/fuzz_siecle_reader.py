"""Whatever is read, only a refusal comes out, or lines that the database can take; and the chunks don't matter.

A short run is part of the tests. `make fuzz SECONDS=600` goes on as long as it is told, and keeps what it finds.
"""

import argparse
import io
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import IO

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpro_contracts.identifiers import parse_ine, parse_uai
from cpro_siecle_import.adapters.copy_text import copy_text
from cpro_siecle_import.adapters.packaging import ExpansionLimits, ExportStream, opened_export
from cpro_siecle_import.adapters.siecle_xml import SiecleReader
from cpro_siecle_import.domain.export import ExportHeader, accept
from cpro_siecle_import.domain.lines import LONGEST_CODE, LONGEST_NAME, DivisionLine, PupilLine
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_test_support.depth import examples
from cpro_test_support.mutated_exports import SCHOOL, mutated_export

ACCEPTED = "accepted"
LONGEST_SECONDS = 2.0
MOST_MEGABYTES = 64
"""How much the whole run may add to the process after its first files."""
WARM_UP_FILES = 500
SHORTEST_PIECE, LONGEST_PIECE = 64, 70_000
RECEIVED_ON = SCHOOL.exported_at.replace(tzinfo=None) + timedelta(days=5)
_CODES = ("mef_code", "status_code", "boarding_code", "leaving_reason", "school_number")
_NAMES = ("family_name", "usage_name", "first_name", "other_first_names")
Contents = tuple[ExportHeader, list[PupilLine], list[DivisionLine]]


class InPieces:
    """A file that gives less than it is asked for."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        self._file = io.BytesIO(content)
        self._piece_bytes = piece_bytes

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._piece_bytes))


def contents(stream: ExportStream) -> Contents:
    """Everything that a file says."""
    reader = SiecleReader(stream)
    pupils: list[PupilLine] = []
    divisions: list[DivisionLine] = []
    for batch in reader.batches():
        assert copy_text(batch.pupils).count(b"\n") == len(batch.pupils)
        assert copy_text(batch.divisions).count(b"\n") == len(batch.divisions)
        pupils += batch.pupils
        divisions += batch.divisions
    return reader.header, pupils, divisions


def outcome(file: IO[bytes], content: bytes, piece_bytes: int) -> str:
    """How the file ends: the code of its refusal, or `accepted`. Anything else is raised.

    The file lies on a disk as in the worker: a seek out of it fails there, and not in memory.
    """
    file.seek(0)
    file.truncate()
    file.write(content)
    try:
        with opened_export(file, ExpansionLimits()) as stream:
            found = contents(stream)
    except FileRefusedError as refused:
        assert _in_pieces(content, piece_bytes) is None
        return _code_of(refused)
    check_lines(*found)
    if not content.startswith(b"PK"):
        assert _in_pieces(content, piece_bytes) == found
    try:
        accept(found[0], expected_uai=SCHOOL.uai, received_on=RECEIVED_ON)
    except FileRefusedError as refused:
        return _code_of(refused)
    return ACCEPTED


def _code_of(refused: FileRefusedError) -> str:
    assert refused.detail.isprintable()
    return refused.code


def _in_pieces(content: bytes, piece_bytes: int) -> Contents | None:
    """What a plain file says in other pieces; None if it is refused."""
    size = len(content)
    try:
        return contents(ExportStream(InPieces(content, piece_bytes), size, size, ExpansionLimits()))
    except FileRefusedError:
        return None


def check_lines(header: ExportHeader, pupils: list[PupilLine], divisions: list[DivisionLine]) -> None:
    """What the import relies on."""
    assert pupils
    assert divisions
    assert_storable(text for text in (header.uai, header.school_year, header.export_date, header.timestamp) if text)
    for line in divisions:
        assert_storable([line.siecle_id or "", *line.divisions])
    for pupil in pupils:
        assert_storable(text for field in pupil for text in _texts(field))
        assert len(pupil.warnings) == len(pupil.warned_values)
        assert all(len(getattr(pupil, name) or "") <= LONGEST_CODE for name in _CODES)
        assert all(parse_ine(ine) is not None for ine in pupil.all_ine)
        assert pupil.ine is None or pupil.ine in pupil.all_ine
        assert pupil.previous_uai is None or parse_uai(pupil.previous_uai) == pupil.previous_uai
        if pupil.rejection is None:
            _check_named(pupil)


def _check_named(pupil: PupilLine) -> None:
    assert pupil.siecle_id is not None
    assert pupil.siecle_id.isdecimal()
    assert pupil.family_name
    assert pupil.first_name
    assert pupil.birth_date is not None
    assert all(len(getattr(pupil, name) or "") <= LONGEST_NAME for name in _NAMES)


def _texts(field: object) -> Iterable[str]:
    if isinstance(field, str):
        return [field]
    return field if isinstance(field, tuple) else []


def assert_storable(texts: Iterable[str]) -> None:
    """PostgreSQL takes the text, and so does a line of the report."""
    for text in texts:
        text.encode()
        assert not any(character < " " for character in text), ascii(text)


@settings(max_examples=examples(150), deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False), piece_bytes=st.integers(SHORTEST_PIECE, LONGEST_PIECE))
def test_a_damaged_export_is_refused_or_read_as_lines_that_can_be_stored(random: Random, piece_bytes: int) -> None:
    with tempfile.TemporaryFile() as file:
        outcome(file, mutated_export(random), piece_bytes)


def main() -> int:
    """Fuzz for a while; returns how many kinds of failure were found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=None, help="the first file's; the next ones count on from it")
    arguments.add_argument("--keep", type=Path, default=Path(".cache/fuzz"), help="where failing files go")
    asked = arguments.parse_args()
    first = time.time_ns() if asked.seed is None else asked.seed
    ends: Counter[str] = Counter()
    failures: dict[str, int] = {}
    until, seed, slowest, warm_megabytes = time.monotonic() + asked.seconds, first, 0.0, 0
    with tempfile.TemporaryFile() as file:
        while time.monotonic() < until:
            random, started = Random(seed), time.process_time()
            content = mutated_export(random)
            try:
                ends[outcome(file, content, random.randrange(SHORTEST_PIECE, LONGEST_PIECE))] += 1
                slowest = max(slowest, time.process_time() - started)
                assert time.process_time() - started <= LONGEST_SECONDS
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
                _keep(error, seed, content, asked.keep, failures)
            seed += 1
            if seed - first == WARM_UP_FILES:
                warm_megabytes = _peak_megabytes()
    grown = _peak_megabytes() - warm_megabytes if warm_megabytes else 0
    if grown > MOST_MEGABYTES:
        failures["memory grows"] = first
    print(  # noqa: T201
        f"fuzz: files={seed - first} seconds={asked.seconds:.0f} first_seed={first} slowest_seconds={slowest:.2f} "
        f"grown_mb={grown} failures={len(failures)} ends={dict(ends.most_common())}"
    )
    return min(len(failures), 100)


def _keep(error: Exception, seed: int, content: bytes, folder: Path, failures: dict[str, int]) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (
        f"{type(error).__name__} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    )
    if place in failures:
        return
    failures[place] = seed
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}").write_bytes(content)
    print(f"fuzz: seed={seed} {place}: {ascii(str(error))[:300]}", flush=True)  # noqa: T201


def _peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
