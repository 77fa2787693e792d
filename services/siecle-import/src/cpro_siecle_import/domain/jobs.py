"""The life of an import, from the upload to the end.

queued ─► running ─► completed
             ├─► awaiting_confirmation ─► queued (confirmed) | cancelled
             ├─► failed       (the file was refused; nothing applied)
             └─► cancelled    (asked for while it ran, before anything was applied)

From the phase `applying` on an import may be in the school's database, so nobody can cancel it: a worker enters that
phase only if nobody has asked to cancel, and who asks to cancel is heard only before it. The row of the job orders the
two. A later attempt leaves the phase as it is until it has looked, under the school's lock, whether it was applied.

Jobs of one school stand in line, by the time of their upload or of their confirmation. One that can't be carried out
now (the school's database is away, or something holds its lock) goes back to `queued` so that other schools go on;
those behind it in its own line wait for it.
"""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from cpro_siecle_import.domain import refusals


class Mode(StrEnum):
    """What the upload asks for."""

    APPLY = "apply"
    PREVIEW = "preview"
    """Always stops before it applies, to show what it would do."""


class State(StrEnum):
    """Where an import stands."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_CONFIRMATION = "awaiting_confirmation"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a running import is doing."""

    WAITING = "waiting"
    READING = "reading"
    COMPARING = "comparing"
    APPLYING = "applying"
    PUBLISHING = "publishing"
    DONE = "done"


AT_REST = frozenset({State.AWAITING_CONFIRMATION, State.COMPLETED, State.FAILED, State.CANCELLED})
"""States that only a person, or nobody, changes."""
MAY_BE_APPLIED = frozenset({Phase.APPLYING, Phase.PUBLISHING})
"""Phases in which it is too late to cancel. In every earlier one nothing is applied."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The figures of an import, in pupils (`warnings` in remarks)."""

    present: int = 0
    created: int = 0
    updated: int = 0
    deactivated: int = 0
    reactivated: int = 0
    unchanged: int = 0
    not_arrived: int = 0
    ignored: int = 0
    """Leavers whom the establishment never knew."""
    rejected: int = 0
    warnings: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One import as the service keeps it. It holds no name: those stay in the establishment's database."""

    id: UUID
    uai: str
    mode: Mode
    state: State
    phase: Phase
    file_sha256: str
    file_bytes: int
    object_key: str
    requested_by: str
    requested_at: datetime
    attempts: int = 0
    bytes_read: int = 0
    bytes_expected: int | None = None
    pupils_read: int = 0
    pupils_per_second: float | None = None
    seconds_left: float | None = None
    school_year: int | None = None
    exported_at: datetime | None = None
    reference_date: date | None = None
    counts: Counts | None = None
    stop_reasons: tuple[str, ...] = ()
    plan_digest: str | None = None
    refusal_code: str | None = None
    refusal_detail: str | None = None
    confirmed_by: str | None = None
    confirmed_at: datetime | None = None
    cancel_requested_by: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    upload_removed_at: datetime | None = None
    ask_again_at: datetime | None = None
    revision: int = field(default=0)
    """Grows with every change of the row."""

    @property
    def is_given_up_in_time(self) -> bool:
        """Whether someone asked to cancel it before anything could be applied."""
        return self.cancel_requested_by is not None and self.phase not in MAY_BE_APPLIED

    @property
    def answers_the_same_file(self) -> bool:
        """Whether uploading the very same file again is this import: not if it was cancelled or could now be taken."""
        if self.state is State.CANCELLED:
            return False
        if self.state is State.FAILED:
            refusal = refusals.BY_CODE.get(self.refusal_code or "")
            return refusal is not None and not refusal.retry_may_help
        return True
