"""A data folder has one owner, and the next owner ends what was left, and nothing else."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpro_embedded.errors import FolderInUseError
from cpro_embedded.folder import StackFolder, shared_folder
from cpro_embedded.guard import process_start

ENDED_BY_SIGTERM = -15


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that does nothing for longer than any test takes."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[StackFolder]:
    folder = StackFolder(tmp_path)
    yield folder
    folder.release()


def record(folder: Path, pid: int, start: str | None) -> None:
    pids = folder / "pids"
    pids.mkdir()
    (pids / "kafka.json").write_text(json.dumps({"pid": pid, "start": start}))


def test_what_an_earlier_stack_left_running_is_ended(folder: StackFolder, bystander: "subprocess.Popen[bytes]") -> None:
    record(folder.path, bystander.pid, process_start(bystander.pid))

    folder.take()

    assert bystander.wait(timeout=10) == ENDED_BY_SIGTERM


def test_a_process_that_took_over_the_pid_is_left_alone(
    folder: StackFolder, bystander: "subprocess.Popen[bytes]"
) -> None:
    record(folder.path, bystander.pid, "a-start:before-this-one")

    folder.take()

    assert bystander.poll() is None


def test_a_pid_file_without_a_start_ends_nothing(folder: StackFolder, bystander: "subprocess.Popen[bytes]") -> None:
    record(folder.path, bystander.pid, None)

    folder.take()

    assert bystander.poll() is None


def test_what_an_earlier_stack_wrote_is_deleted_and_nothing_else(folder: StackFolder) -> None:
    for path in ("kafka/data/log", "postgres-main/data/base", "object-store/data/1.dat", "session.json"):
        (folder.path / path).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / path).write_text("earlier")

    folder.take()

    assert sorted(path.name for path in folder.path.iterdir()) == ["owner.lock", "session.json"]


def test_data_kept_in_the_shared_folder_is_deleted_with_its_link(folder: StackFolder) -> None:
    kept = Path(tempfile.mkdtemp(dir=shared_folder()))
    (kept / "data").mkdir()
    (folder.path / "postgres-main").symlink_to(kept)

    folder.take()

    assert not kept.exists()


def test_a_link_to_anywhere_else_is_never_followed(folder: StackFolder) -> None:
    outside = folder.path.with_name("somebody-elses")
    (outside / "data").mkdir(parents=True)
    (folder.path / "postgres-main").symlink_to(outside)

    folder.take()

    assert (outside / "data").exists()
    assert not (folder.path / "postgres-main").exists()


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = StackFolder(tmp_path), StackFolder(tmp_path)
    first.take()

    with pytest.raises(FolderInUseError):
        second.take()

    first.release()
    second.take()
    second.release()
