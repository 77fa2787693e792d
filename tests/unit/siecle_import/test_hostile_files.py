"""No hostile or broken file is accepted, and none costs more than two seconds or 64 MB.

`make hostile` shows the worst of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from cpro_siecle_import.domain import refusals
from cpro_test_support.depth import in_part
from cpro_test_support.hostile_files import HostileFile, Target, hostile_files
from cpro_test_support.measured_reading import ACCEPTED, Reading, ReadingProcess, reading_process

LONGEST_SECONDS = 2.0
MOST_MEGABYTES = 64.0
AT_LEAST = 200
SCHOOL = Target()
RECEIVED_ON = SCHOOL.exported_at.replace(tzinfo=None) + timedelta(days=5)
# What the state of a school or of the service decides, not the file alone.
NOT_OF_THE_FILE = {
    "confirmation_expired",
    "export_outdated",
    "establishment_unknown",
    "file_missing",
    "processing_error",
}


@dataclass
class Costs:
    """What was read so far; shows its worst."""

    process: ReadingProcess
    folder: Path
    readings: dict[str, Reading] = field(default_factory=dict)

    def read(self, name: str, content: bytes) -> Reading:
        path = self.folder / "upload"
        path.write_bytes(content)
        reading = self.process.read(path, uai=SCHOOL.uai, received_on=RECEIVED_ON)
        self.readings[name] = reading
        return reading

    def __str__(self) -> str:
        slowest = max(self.readings, key=lambda name: self.readings[name].seconds)
        largest = max(self.readings, key=lambda name: self.readings[name].peak_megabytes)
        return (
            f"hostile: files={len(self.readings)} accepted={sum(r.code == ACCEPTED for r in self.readings.values())} "
            f"worst_seconds={self.readings[slowest].seconds:.2f} ({slowest}) "
            f"worst_mb={self.readings[largest].peak_megabytes:.1f} ({largest})"
        )


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Costs]:
    with reading_process() as process:
        found = Costs(process, tmp_path_factory.mktemp("hostile"))
        # What the libraries take once, for the first file ever, is no file's cost.
        found.read("good", SCHOOL.xml())
        found.readings.clear()
        yield found
        if found.readings:
            print(f"\n{found}")  # noqa: T201 - read by who runs it with -s


@pytest.mark.parametrize("file", in_part(hostile_files(), share=9), ids=lambda file: file.name)
def test_a_hostile_file_is_refused_with_its_code_at_little_cost(file: HostileFile, costs: Costs) -> None:
    reading = costs.read(file.name, file.make(SCHOOL))

    assert reading.code in file.codes, reading.detail
    assert reading.detail.isprintable()
    assert reading.seconds <= LONGEST_SECONDS
    assert reading.peak_megabytes <= MOST_MEGABYTES


def test_a_good_file_is_read_after_all_of_them(costs: Costs) -> None:
    assert costs.read("good", SCHOOL.xml()).code == ACCEPTED
    del costs.readings["good"]


def test_there_are_enough_of_them_for_every_refusal_that_a_file_can_meet() -> None:
    met = set().union(*(file.codes for file in hostile_files()))

    assert len(hostile_files()) >= AT_LEAST
    assert met == set(refusals.BY_CODE) - NOT_OF_THE_FILE


@pytest.mark.parametrize("file", hostile_files()[::40], ids=lambda file: file.name)
def test_a_hostile_file_is_the_same_bytes_every_time(file: HostileFile) -> None:
    assert file.make(SCHOOL) == file.make(SCHOOL)
