"""What the import needs from outside, named by role."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import IO, Protocol
from uuid import UUID

from cpro_siecle_import.domain.export import AppliedExport, Export, ExportHeader
from cpro_siecle_import.domain.guard import PlannedEffect, StopReason
from cpro_siecle_import.domain.jobs import Counts, Job, Phase


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored upload: where, how long (bytes), and its SHA-256 in hexadecimal."""

    object_key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What an import would do. `digest` stands for every value that it would write; made where a person is asked."""

    counts: Counts
    effect: PlannedEffect
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What an import did, as the establishment's own database remembers it."""

    school_year: int
    exported_at: datetime | None
    reference_date: date
    plan_digest: str | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running import is."""

    phase: Phase
    bytes_read: int
    bytes_expected: int
    pupils_read: int
    pupils_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Lines:
    """A stretch of the file, ready for the database, and how far the reading is (bytes of the XML, pupils)."""

    header: ExportHeader
    """What is known so far of what the file says of itself; complete with the last stretch."""
    pupils: bytes
    divisions: bytes
    bytes_read: int
    bytes_expected: int
    pupils_read: int


class Exports(Protocol):
    """Reads stored uploads."""

    def read(self, upload: Upload) -> AsyncIterator[Lines]:
        """The lines of the file, stretch by stretch, the memory flat.

        Raises:
            FileRefusedError: it is no file that could be applied; forget what was read.
            UploadMissingError: it is gone.
        """


class Establishments(Protocol):
    """Which establishments there are."""

    async def known(self, uai: str) -> bool:
        """Whether the establishment has a database here."""


class UploadStore(Protocol):
    """Where uploads wait for a worker."""

    async def keep(self, object_key: str, chunks: AsyncIterator[bytes]) -> Upload:
        """Store a stream. What it raises leaves nothing behind."""

    async def fetch(self, upload: Upload, destination: IO[bytes]) -> None:
        """Write the upload into an open file.

        Raises:
            UploadMissingError: it is gone, or is not what was uploaded.
        """

    async def remove(self, object_key: str) -> None:
        """Forget an upload. Removing what is not there is no error."""

    async def remove_many(self, object_keys: Sequence[str]) -> None:
        """Forget uploads. Removing what is not there is no error."""

    def stored_before(self, instant: datetime) -> AsyncIterator[Sequence[str]]:
        """The keys of all uploads that were stored before, a page at a time. What is not an upload is left out."""


class JobsAtWork(Protocol):
    """The service's own record of imports, as far as it takes to carry one out."""

    async def claim(self, uai: str, job_id: UUID, now: datetime) -> Job | None:
        """Mark a queued or running job as running and count the attempt.

        None where there is nothing to run, or where an earlier job of the school is not over: this one waits in line.
        """

    async def give_back(self, job: Job) -> None:
        """The attempt failed for a reason outside the job: it does not count."""

    async def postpone(self, job: Job, now: datetime) -> None:
        """The school can't be had now: the job is queued again, unless someone has asked to cancel it."""

    async def note_progress(self, job: Job, progress: Progress) -> bool:
        """Save how far it is. Returns whether to stop: someone asked to cancel, or the job was ended meanwhile."""

    async def stop(
        self, job: Job, export: Export, school_year: int, planned: Planned, reasons: Sequence[StopReason]
    ) -> None:
        """The job waits for a confirmation of this plan, or is over if someone has asked to cancel."""

    async def complete(self, job: Job, applied: Applied, now: datetime) -> None:
        """The job is done and its events are out. Repeating it changes nothing."""

    async def fail(self, job: Job, code: str, detail: str, now: datetime) -> None:
        """The file was refused. Repeating it changes nothing."""

    async def cancelled(self, job: Job, now: datetime) -> None:
        """A running job gave up because someone asked for it."""


class Jobs(JobsAtWork, Protocol):
    """All of that record, and what it tells the rest of the world about them."""

    async def open(self, job: Job, *, force: bool) -> Job:
        """Enter a new job and ask for a worker; or the job that the same file of the same school already has."""

    async def find(self, uai: str, job_id: UUID) -> Job | None:
        """A job of this school."""

    async def find_all(self, job_ids: Sequence[UUID]) -> Sequence[Job]:
        """These jobs, of whatever school."""

    async def page(self, uai: str, *, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Job]:
        """The school's jobs, the newest first, starting after `before`."""

    async def ask_again(self, now: datetime) -> int:
        """Ask for the first job of every school that has one put aside for long enough. Returns how many."""

    async def confirm(self, uai: str, job_id: UUID, by: str, now: datetime) -> Job | None:
        """Queue a waiting job again, confirmed; None if it is not waiting."""

    async def cancel(self, uai: str, job_id: UUID, by: str, now: datetime) -> Job | None:
        """Cancel a job that is not running, or ask a running one to stop; None if it is over or may be applied."""

    async def expire_confirmations(self, uploaded_until: datetime, now: datetime, code: str, detail: str) -> int:
        """Cancel what has waited for a confirmation since an upload this old. Returns how many."""

    async def removable_uploads(self, uploaded_until: datetime, limit: int) -> Sequence[tuple[UUID, str]]:
        """Jobs whose file nobody needs any more, with its key: cancelled ones, and those over that are old enough."""

    async def uploads_removed(self, job_ids: Sequence[UUID], now: datetime) -> None:
        """Note that the files are gone. Repeating it changes nothing."""

    async def unclaimed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Those of these objects that no job has, or that its job has let go."""


class RosterWork(Protocol):
    """An import inside the one transaction in the establishment's database."""

    async def applied(self, import_id: UUID) -> Applied | None:
        """What this very import has already done."""

    async def last_applied(self) -> AppliedExport | None:
        """The export that was applied last."""

    async def is_first_of_school_year(self, school_year: int) -> bool:
        """Whether no file of this school year was applied yet."""

    async def receive(self, pupils: bytes, divisions: bytes) -> None:
        """Take in lines, as prepared by the reader."""

    async def plan(self, reference_date: date) -> Planned:
        """Compare with the pupils known. From here to the end nobody else changes pupils."""

    async def digest(self) -> str:
        """What stands for every value that the plan would write."""

    async def describe(self, import_id: UUID, now: datetime, *, applying: bool) -> int:
        """Write what is said of single lines and what changes, pupil by pupil. Returns the number of warnings."""

    async def apply(self, job: Job, export: Export, school_year: int, planned: Planned, now: datetime) -> Applied:
        """Write everything, with the events that follow from it."""


class Rosters(Protocol):
    """The establishments' lists of pupils."""

    def open(self, uai: str) -> AbstractAsyncContextManager[RosterWork]:
        """The transaction: committed on leaving, rolled back on an exception. One at a time for a school.

        Raises:
            ImportPostponedError: its database is away, or something holds its lock for too long.
        """

    async def note(self, uai: str) -> UUID:
        """Say that events of this school are about to be written."""

    async def publish(self, uai: str, note: UUID) -> int:
        """Publish what waits in the school's outbox, then take the note away.

        Raises:
            ImportPostponedError: its database is away, or its events can't be sent; what is applied stays.
        """


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """A remark on a line."""

    ordinal: int
    severity: str
    code: str
    line: int | None
    siecle_id: str | None
    family_name: str | None
    first_name: str | None
    ine: str | None
    found: str | None


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change of a pupil."""

    ordinal: int
    kind: str
    pupil_id: UUID | None
    siecle_id: str | None
    family_name: str
    first_name: str
    birth_date: date
    division: str | None
    reason: str | None
    record_count: int | None
    before: dict[str, object] | None
    after: dict[str, object] | None


class Findings(Protocol):
    """What is said of the lines of an import."""

    async def findings(
        self, uai: str, import_id: UUID, *, severity: str | None, after: int, limit: int
    ) -> Sequence[StoredFinding]:
        """Rejections and warnings in the order of the file."""

    async def changes(
        self, uai: str, import_id: UUID, *, kind: str | None, after: int, limit: int
    ) -> Sequence[StoredChange]:
        """What changes, or would change, pupil by pupil."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What a rotation came to in one establishment: pupils with a new key, and pupils held for a transfer."""

    uai: str
    pupils: int = 0
    held: int = 0
    unread: bool = False

    def __add__(self, other: "Rekeyed") -> "Rekeyed":
        return Rekeyed(self.uai, self.pupils + other.pupils, self.held + other.held, self.unread or other.unread)


class MatchKeys(Protocol):
    """The match keys in establishments' databases."""

    async def rekey(self, uai: str, *, dry_run: bool) -> Rekeyed:
        """Give every pupil whose key was made with another secret the key of now. Safe to repeat."""
