"""What the import does, step by step. Adapters do the work; here is the order, and what a crash at each step means.

| dies after                     | what is there                        | the redelivered request then          |
|--------------------------------|--------------------------------------|---------------------------------------|
| `import.claimed`               | a job marked as running              | starts over                           |
| `import.parsed`                | nothing more: the transaction is gone| starts over                           |
| `import.applied`               | pupils, events, `siecle_import_applied` | finds it applied, publishes, completes |
| `import.published`             | the same, events on Kafka            | publishes nothing, completes          |
"""

import asyncio
from dataclasses import dataclass, field, replace
from uuid import UUID

from cpro_platform import crash_points, tracing
from cpro_platform.clock import Clock
from cpro_platform.logs import get_logger
from cpro_platform.transience import is_transient
from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.export import (
    SCHOOLS_TIME,
    Export,
    ExportHeader,
    accept,
    refuse_if_outdated,
    school_year_of,
)
from cpro_siecle_import.domain.guard import GuardLimits, StopReason, reasons_to_stop
from cpro_siecle_import.domain.jobs import MAY_BE_APPLIED, Job, Mode, Phase
from cpro_siecle_import.domain.pace import Reading, pace
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_siecle_import.errors import ImportCancelledError, ImportPostponedError, UploadMissingError
from cpro_siecle_import.ports import (
    Applied,
    Exports,
    JobsAtWork,
    Lines,
    Planned,
    Progress,
    Rosters,
    RosterWork,
    Upload,
)

_PROGRESS_SECONDS = 0.5
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ImportRules:
    """What an operator may set. After `max_attempts` deaths of its worker a job is given up."""

    guard: GuardLimits = field(default_factory=GuardLimits)
    max_attempts: int = 5


async def run_import(
    uai: str, job_id: UUID, *, jobs: JobsAtWork, rosters: Rosters, exports: Exports, clock: Clock, rules: ImportRules
) -> None:
    """Carry out an import that was asked for. Safe to repeat at any point: see the table above.

    On return it is at rest, or waits in its school's line to be asked for again.

    Raises:
        Exception: transient: a dependency is away; the same request is to be handled again.
    """
    job = await jobs.claim(uai, job_id, clock.now())
    if job is None:
        _log.info("import.nothing_to_do", uai=uai, import_id=str(job_id))
        return
    crash_points.reach("import.claimed")
    try:
        if job.is_given_up_in_time:
            raise ImportCancelledError
        if job.attempts > rules.max_attempts and not await _is_applied(job, rosters):
            raise FileRefusedError(refusals.PROCESSING_ERROR, import_id=job.id)
        await _carry_out(job, jobs=jobs, rosters=rosters, exports=exports, clock=clock, rules=rules)
    except FileRefusedError as refused:
        await _fail(job, refused, jobs=jobs, clock=clock)
    except UploadMissingError:
        await _fail(job, FileRefusedError(refusals.FILE_MISSING), jobs=jobs, clock=clock)
    except ImportCancelledError:
        await jobs.cancelled(job, clock.now())
    except ImportPostponedError as why:
        _log.warning("import.postponed", uai=uai, import_id=str(job_id), error=str(why))
        await jobs.postpone(job, clock.now())
    except asyncio.CancelledError:
        await asyncio.shield(jobs.give_back(job))
        raise
    except Exception as error:
        if is_transient(error):
            await jobs.give_back(job)
            raise
        _log.exception("import.broke", uai=uai, import_id=str(job_id))
        await _fail(job, FileRefusedError(refusals.PROCESSING_ERROR, import_id=job.id), jobs=jobs, clock=clock)


async def _is_applied(job: Job, rosters: Rosters) -> bool:
    """Whether an earlier attempt has applied it: then it is not to be given up, only its end is to be told."""
    if job.phase not in MAY_BE_APPLIED:
        return False
    async with rosters.open(job.uai) as work:
        return await work.applied(job.id) is not None


async def _fail(job: Job, refused: FileRefusedError, *, jobs: JobsAtWork, clock: Clock) -> None:
    _log.info("import.refused", uai=job.uai, import_id=str(job.id), code=refused.code)
    await jobs.fail(job, refused.code, refused.detail, clock.now())


async def _carry_out(
    job: Job, *, jobs: JobsAtWork, rosters: Rosters, exports: Exports, clock: Clock, rules: ImportRules
) -> None:
    reporter = _Reporter(job, jobs)
    note: UUID | None = None
    stop: _Stop | None = None
    async with rosters.open(job.uai) as work:
        applied = await work.applied(job.id)
        if applied is None:
            export = await _read(job, work, exports, reporter)
            crash_points.reach("import.parsed")
            stop, school_year, planned = await _plan(job, export, work, reporter, rules)
            warnings = await work.describe(job.id, clock.now(), applying=stop is None)
            planned = replace(planned, counts=replace(planned.counts, warnings=warnings))
            if stop is None:
                await reporter.report(Phase.APPLYING)
                note = await rosters.note(job.uai)
                applied = await work.apply(job, export, school_year, planned, clock.now())
    if stop is not None or applied is None:
        assert stop is not None
        await jobs.stop(job, export, school_year, planned, stop.reasons)
        _log.info("import.stopped", uai=job.uai, import_id=str(job.id), reasons=[str(why) for why in stop.reasons])
        return
    crash_points.reach("import.applied")
    await _publish(job, applied, note, jobs=jobs, rosters=rosters, clock=clock, reporter=reporter)


@dataclass(frozen=True, slots=True)
class _Stop:
    reasons: tuple[StopReason, ...]


@tracing.traced("import.read", tracing.STORE)
async def _read(job: Job, work: RosterWork, exports: Exports, reporter: "_Reporter") -> Export:
    """Take the lines into the database, then say whether the file as a whole may be applied."""
    received_on = job.requested_at.astimezone(SCHOOLS_TIME).replace(tzinfo=None)
    header = ExportHeader()
    upload = Upload(job.object_key, job.file_bytes, job.file_sha256)
    checked = False
    async for lines in exports.read(upload):
        header = lines.header
        if header.uai is not None and not checked:
            accept(header, expected_uai=job.uai, received_on=received_on)
            checked = True
        await work.receive(lines.pupils, lines.divisions)
        reporter.read(lines)
        await reporter.report(Phase.READING, now_and_then=True)
    export = accept(header, expected_uai=job.uai, received_on=received_on)
    refuse_if_outdated(export, await work.last_applied())
    return export


@tracing.traced("import.compare", tracing.DATABASE)
async def _plan(
    job: Job, export: Export, work: RosterWork, reporter: "_Reporter", rules: ImportRules
) -> tuple[_Stop | None, int, Planned]:
    """What the import would do, and whether it must stop for a confirmation first.

    A confirmation holds for the plan that was shown: when the school's pupils have changed since, it stops again.
    """
    await reporter.report(Phase.COMPARING)
    current = school_year_of(job.requested_at.astimezone(SCHOOLS_TIME).date())
    school_year = export.school_year or school_year_of(export.reference_date)
    planned = await work.plan(export.reference_date)
    reasons = reasons_to_stop(
        planned.effect,
        rules.guard,
        first_of_school_year=await work.is_first_of_school_year(school_year),
        other_school_year=export.school_year != current,
        preview=job.mode is Mode.PREVIEW,
    )
    if reasons or job.confirmed_by is not None:
        planned = replace(planned, digest=await work.digest())
    if job.confirmed_by is not None:
        reasons = () if planned.digest == job.plan_digest else (StopReason.PLAN_CHANGED, *reasons)
    return (_Stop(reasons) if reasons else None), school_year, planned


@tracing.traced("import.publish", tracing.KAFKA)
async def _publish(
    job: Job,
    applied: Applied,
    note: UUID | None,
    *,
    jobs: JobsAtWork,
    rosters: Rosters,
    clock: Clock,
    reporter: "_Reporter",
) -> None:
    """Bring the events to Kafka; only then is the job completed, so that nobody has to poll the school's outbox."""
    await reporter.report(Phase.PUBLISHING, stoppable=False)
    events = await rosters.publish(job.uai, note or await rosters.note(job.uai))
    crash_points.reach("import.published")
    await jobs.complete(job, applied, clock.now())
    counts = applied.counts
    _log.info(
        "import.completed",
        uai=job.uai,
        import_id=str(job.id),
        events=events,
        created=counts.created,
        updated=counts.updated,
        deactivated=counts.deactivated,
        reactivated=counts.reactivated,
        rejected=counts.rejected,
    )


class _Reporter:
    """Saves how far an import is, not too often, and hears whether someone wants it to stop."""

    def __init__(self, job: Job, jobs: JobsAtWork) -> None:
        self._job = job
        self._jobs = jobs
        self._lines: Lines | None = None
        self._first: Reading | None = None
        self._latest: Reading | None = None
        self._last = float("-inf")

    def read(self, lines: Lines) -> None:
        """Note how far the reading is."""
        self._lines = lines
        self._latest = Reading(asyncio.get_running_loop().time(), lines.bytes_read, lines.pupils_read)
        self._first = self._first or self._latest

    async def report(self, phase: Phase, *, now_and_then: bool = False, stoppable: bool = True) -> None:
        """Save the progress.

        Raises:
            ImportCancelledError: someone asked to cancel, and it is not too late.
        """
        now = asyncio.get_running_loop().time()
        if now_and_then and now - self._last < _PROGRESS_SECONDS:
            return
        self._last = now
        lines = self._lines
        measured = None
        if lines is not None and self._first is not None and self._latest is not None:
            measured = pace(self._first, self._latest, lines.bytes_expected)
        progress = Progress(
            phase=phase,
            bytes_read=lines.bytes_read if lines else 0,
            bytes_expected=lines.bytes_expected if lines else self._job.file_bytes,
            pupils_read=lines.pupils_read if lines else 0,
            pupils_per_second=measured.pupils_per_second if measured else None,
            seconds_left=measured.seconds_left if measured and phase is Phase.READING else None,
        )
        asked_to_stop = await self._jobs.note_progress(self._job, progress)
        if asked_to_stop and stoppable:
            raise ImportCancelledError
