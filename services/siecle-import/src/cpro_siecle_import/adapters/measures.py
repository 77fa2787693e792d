"""What a worker counts and times. Labels hold codes of closed lists, never a school and never a pupil."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from time import monotonic
from uuid import UUID

from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_siecle_import.domain.export import Export
from cpro_siecle_import.domain.guard import StopReason
from cpro_siecle_import.domain.jobs import Job, Phase, State
from cpro_siecle_import.ports import Applied, JobsAtWork, Planned, Progress
from cpro_tenant_db.connections import TenantConnections

PUT_ASIDE = "put_aside"
_CHANGES = ("created", "updated", "deactivated", "reactivated", "unchanged", "rejected")
_PHASE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
_log = get_logger(__name__)

CountFindings = Callable[[str, UUID], Awaitable[Sequence[tuple[str, str, int]]]]


class MeasuredJobs:
    """See `ports.JobsAtWork`: those given, measured on the way. One import at a time."""

    def __init__(self, jobs: JobsAtWork, metrics: Metrics, count_findings: CountFindings) -> None:
        self._jobs = jobs
        self._count_findings = count_findings
        self._outcomes = metrics.counter("cpro_imports_total", "Attempts that came to an end", ["outcome"])
        self._refusals = metrics.counter("cpro_import_refusals_total", "Files refused, by reason", ["code"])
        self._pupils = metrics.counter("cpro_import_pupils_total", "Pupils of completed imports", ["change"])
        self._findings = metrics.counter(
            "cpro_import_findings_total", "Remarks on lines of completed imports", ["severity", "code"]
        )
        self._seconds = metrics.histogram(
            "cpro_import_phase_seconds", "Time that an import spent in a phase", ["phase"], buckets=_PHASE_SECONDS
        )
        self._phase: tuple[Phase, float] | None = None

    async def claim(self, uai: str, job_id: UUID, now: datetime) -> Job | None:
        """See `ports.JobsAtWork`. The first phase begins: reading, with the wait for the school's lock."""
        job = await self._jobs.claim(uai, job_id, now)
        self._phase = None if job is None else (Phase.READING, monotonic())
        return job

    async def note_progress(self, job: Job, progress: Progress) -> bool:
        """See `ports.JobsAtWork`."""
        self._enter(progress.phase)
        return await self._jobs.note_progress(job, progress)

    async def stop(
        self, job: Job, export: Export, school_year: int, planned: Planned, reasons: Sequence[StopReason]
    ) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.stop(job, export, school_year, planned, reasons)
        self._end(State.AWAITING_CONFIRMATION)

    async def complete(self, job: Job, applied: Applied, now: datetime) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.complete(job, applied, now)
        self._end(State.COMPLETED)
        for change in _CHANGES:
            self._pupils.labels(change).inc(getattr(applied.counts, change))
        try:
            for severity, code, number in await self._count_findings(job.uai, job.id):
                self._findings.labels(severity, code).inc(number)
        except Exception as error:  # noqa: BLE001 - the import is done; what can't be counted is not
            _log.warning("import.not_counted", error=type(error).__name__)

    async def fail(self, job: Job, code: str, detail: str, now: datetime) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.fail(job, code, detail, now)
        self._end(State.FAILED)
        self._refusals.labels(code).inc()

    async def cancelled(self, job: Job, now: datetime) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.cancelled(job, now)
        self._end(State.CANCELLED)

    async def postpone(self, job: Job, now: datetime) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.postpone(job, now)
        self._end(PUT_ASIDE)

    async def give_back(self, job: Job) -> None:
        """See `ports.JobsAtWork`."""
        await self._jobs.give_back(job)
        self._end("given_back")

    def _enter(self, phase: Phase) -> None:
        if self._phase is not None and self._phase[0] is not phase:
            self._observe()
            self._phase = (phase, monotonic())

    def _end(self, outcome: str) -> None:
        self._observe()
        self._phase = None
        self._outcomes.labels(str(outcome)).inc()

    def _observe(self) -> None:
        if self._phase is not None:
            phase, since = self._phase
            self._seconds.labels(str(phase)).observe(monotonic() - since)


class TenantFindingCounts:
    """How many remarks of each kind an import made, as the school's database has them."""

    def __init__(self, tenants: TenantConnections) -> None:
        self._tenants = tenants

    async def __call__(self, uai: str, import_id: UUID) -> Sequence[tuple[str, str, int]]:
        """(severity, code, number)."""
        async with self._tenants.begin(uai) as tx:
            found = await tx.execute(
                "SELECT severity, code, count(*) FROM siecle_import_finding WHERE import_id = %s GROUP BY 1, 2",
                (import_id,),
            )
            return [(row[0], row[1], row[2]) for row in await found.fetchall()]
