"""The service's own database: import jobs, and the outbox that tells of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cpro_contracts.imports import SiecleImportCompleted, SiecleImportFailed, SiecleImportRequested
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_siecle_import.domain.export import Export
from cpro_siecle_import.domain.guard import StopReason
from cpro_siecle_import.domain.jobs import AT_REST, Counts, Job, Mode, Phase, State
from cpro_siecle_import.ports import Applied, Planned, Progress

SOURCE = "/services/siecle-import"
_COLUMNS = tuple(column.name for column in fields(Job))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM import_job"
_OVER = "('completed', 'failed', 'cancelled')"
_MAY_BE_APPLIED = "('applying', 'publishing')"

_FIND = f"{_SELECT} WHERE uai = %s AND id = %s"
_SAME_FILE = f"""
{_SELECT} WHERE uai = %s AND file_sha256 = %s AND mode = %s ORDER BY requested_at DESC, id DESC LIMIT 1
"""
# Two uploads of one file at once: the second waits here and then finds the first.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_PAGE = f"""
{_SELECT} WHERE uai = %(uai)s AND (%(at)s::timestamptz IS NULL OR (requested_at, id) < (%(at)s, %(id)s))
ORDER BY requested_at DESC, id DESC LIMIT %(limit)s
"""
# Where a job stands among those of its school: by its upload, or by its confirmation.
_PLACE = "(coalesce({0}.confirmed_at, {0}.requested_at), {0}.id)"
_INSERT = """
INSERT INTO import_job (id, uai, mode, state, phase, file_sha256, file_bytes, object_key, requested_by, requested_at)
VALUES (%(id)s, %(uai)s, %(mode)s, %(state)s, %(phase)s, %(file_sha256)s, %(file_bytes)s, %(object_key)s,
    %(requested_by)s, %(requested_at)s)
"""
# A running job is claimed again: its worker died, or lives and is kept off by the lock in the school's database. Where
# it may have been applied the phase stays, and with it the refusal to cancel, until this attempt has looked.
_CLAIM = f"""
UPDATE import_job j SET state = 'running', ask_again_at = NULL, attempts = attempts + 1,
    bytes_read = 0, pupils_read = 0, pupils_per_second = NULL, seconds_left = NULL,
    phase = CASE WHEN phase IN {_MAY_BE_APPLIED} THEN phase ELSE 'reading' END,
    started_at = coalesce(started_at, %(now)s), revision = revision + 1
WHERE uai = %(uai)s AND id = %(id)s AND state IN ('queued', 'running') AND NOT EXISTS (
    SELECT FROM import_job e
    WHERE e.uai = j.uai AND e.state IN ('queued', 'running') AND {_PLACE.format("e")} < {_PLACE.format("j")}
)
RETURNING {", ".join(_COLUMNS)}
"""
_WAIT_IN_LINE = """
UPDATE import_job SET state = 'queued', ask_again_at = %(again)s, revision = revision + 1
WHERE uai = %(uai)s AND id = %(id)s AND state IN ('queued', 'running')
"""
_POSTPONE = f"""
UPDATE import_job SET attempts = greatest(attempts - 1, 0), ask_again_at = %(again)s, revision = revision + 1,
    state = CASE WHEN cancel_requested_by IS NULL OR phase IN {_MAY_BE_APPLIED} THEN 'queued' ELSE 'cancelled' END,
    phase = CASE WHEN phase IN {_MAY_BE_APPLIED} THEN phase
        WHEN cancel_requested_by IS NULL THEN 'waiting' ELSE 'done' END,
    finished_at = CASE WHEN cancel_requested_by IS NULL OR phase IN {_MAY_BE_APPLIED} THEN NULL ELSE %(now)s END
WHERE id = %(id)s AND state = 'running'
"""
# The message of a job that was not put aside is still on its way: asking for it twice would be harmless, and useless.
_NEXT_IN_LINE = f"""
{_SELECT} j WHERE uai = %s AND state = 'queued' AND ask_again_at IS NOT NULL ORDER BY {_PLACE.format("j")} LIMIT 1
"""
# Two relays: the second waits for the rows and then finds them no longer due.
_DUE_SCHOOLS = """
UPDATE import_job SET ask_again_at = %(again)s
WHERE ask_again_at <= %(now)s AND state IN ('queued', 'running') RETURNING uai
"""
_FIRST_IN_LINE = f"""
SELECT DISTINCT ON (uai) {", ".join(_COLUMNS)} FROM import_job j
WHERE uai = ANY(%s) AND state IN ('queued', 'running') ORDER BY uai, {_PLACE.format("j")}
"""
# No row is returned for a job that is no longer running: someone ended it, and this attempt must not go on.
_PROGRESS = """
UPDATE import_job SET phase = CASE WHEN cancel_requested_by IS NULL THEN %(phase)s ELSE phase END,
    bytes_read = %(bytes_read)s, bytes_expected = %(bytes_expected)s,
    pupils_read = %(pupils_read)s, pupils_per_second = %(pupils_per_second)s, seconds_left = %(seconds_left)s,
    revision = revision + 1
WHERE id = %(id)s AND state = 'running'
RETURNING cancel_requested_by IS NOT NULL
"""
_STOP = """
UPDATE import_job SET
    state = CASE WHEN cancel_requested_by IS NULL THEN 'awaiting_confirmation' ELSE 'cancelled' END,
    phase = CASE WHEN cancel_requested_by IS NULL THEN 'waiting' ELSE 'done' END,
    finished_at = CASE WHEN cancel_requested_by IS NULL THEN NULL ELSE %(now)s END, school_year = %(school_year)s,
    exported_at = %(exported_at)s, reference_date = %(reference_date)s, counts = %(counts)s,
    stop_reasons = %(reasons)s, plan_digest = %(digest)s, attempts = 0, confirmed_by = NULL, confirmed_at = NULL,
    revision = revision + 1
WHERE id = %(id)s AND state = 'running'
"""
_COMPLETE = """
UPDATE import_job SET state = 'completed', phase = 'done', school_year = %(school_year)s,
    exported_at = %(exported_at)s, reference_date = %(reference_date)s, counts = %(counts)s, stop_reasons = '{}',
    plan_digest = %(digest)s, finished_at = %(now)s, revision = revision + 1
WHERE id = %(id)s AND state = 'running'
"""
_FAIL = """
UPDATE import_job SET state = 'failed', phase = 'done', refusal_code = %(code)s, refusal_detail = %(detail)s,
    finished_at = %(now)s, revision = revision + 1
WHERE id = %(id)s AND state = 'running'
"""
_GIVE_UP = """
UPDATE import_job SET state = 'cancelled', phase = 'done', finished_at = %(now)s, revision = revision + 1
WHERE id = %(id)s AND state = 'running'
"""
_CONFIRM = f"""
UPDATE import_job SET state = 'queued', confirmed_by = %(by)s, confirmed_at = %(now)s, revision = revision + 1
WHERE uai = %(uai)s AND id = %(id)s AND state = 'awaiting_confirmation'
RETURNING {", ".join(_COLUMNS)}
"""
_CANCEL = f"""
UPDATE import_job SET
    state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
    phase = CASE WHEN state = 'running' THEN phase ELSE 'done' END,
    finished_at = CASE WHEN state = 'running' THEN NULL ELSE %(now)s END,
    cancel_requested_by = %(by)s, ask_again_at = NULL, revision = revision + 1
WHERE uai = %(uai)s AND id = %(id)s AND state NOT IN {_OVER} AND phase NOT IN {_MAY_BE_APPLIED}
RETURNING {", ".join(_COLUMNS)}
"""
# Who confirms and this take the row in turn: a job that was confirmed is not waiting any more.
_EXPIRE_CONFIRMATIONS = """
UPDATE import_job SET state = 'cancelled', phase = 'done', finished_at = %(now)s, refusal_code = %(code)s,
    refusal_detail = %(detail)s, revision = revision + 1
WHERE state = 'awaiting_confirmation' AND upload_removed_at IS NULL AND requested_at <= %(uploaded_until)s
"""
# Of jobs that nothing changes any more: a worker never reads these files again.
_REMOVABLE_UPLOADS = """
SELECT id, object_key FROM import_job
WHERE upload_removed_at IS NULL
    AND (state = 'cancelled' OR (state IN ('completed', 'failed') AND requested_at <= %(uploaded_until)s))
ORDER BY requested_at LIMIT %(limit)s
"""
_UPLOADS_REMOVED = """
UPDATE import_job SET upload_removed_at = %(now)s, revision = revision + 1
WHERE id = ANY(%(ids)s) AND upload_removed_at IS NULL
"""
_UNCLAIMED = """
SELECT object_key FROM unnest(%(keys)s::text[]) AS stored (object_key)
WHERE NOT EXISTS (
    SELECT FROM import_job j WHERE j.object_key = stored.object_key AND j.upload_removed_at IS NULL
)
"""


class PostgresJobs:
    """See `ports.Jobs`. Every change of a job and the event that tells of it are one transaction."""

    def __init__(self, database: Database, clock: Clock, *, ask_again_after: timedelta = timedelta(minutes=1)) -> None:
        self._database = database
        self._clock = clock
        self._ask_again_after = ask_again_after

    async def open(self, job: Job, *, force: bool) -> Job:
        """Enter the job and ask for a worker, or return the job that this very file already is.

        Safe to repeat: the same file of the same school and mode is the same job, unless `force` or it was cancelled
        or failed for a reason that may have gone.
        """
        async with self._database.begin() as tx:
            await tx.execute(_LOCK, (f"{job.uai}/{job.file_sha256}/{job.mode}",))
            if not force:
                earlier = await _one(tx, _SAME_FILE, (job.uai, job.file_sha256, job.mode))
                if earlier is not None and earlier.answers_the_same_file:
                    return earlier
            await tx.execute(_INSERT, asdict(job))
            await self._ask_for_a_worker(tx, job)
            opened = await _one(tx, _FIND, (job.uai, job.id))
        assert opened is not None
        return opened

    async def find(self, uai: str, job_id: UUID) -> Job | None:
        """A job of this school."""
        async with self._database.begin() as tx:
            return await _one(tx, _FIND, (uai, job_id))

    async def find_all(self, job_ids: Sequence[UUID]) -> Sequence[Job]:
        """These jobs, of whatever school."""
        async with self._database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(f"{_SELECT} WHERE id = ANY(%s)", (list(job_ids),))
            return [_job(row) for row in await cursor.fetchall()]

    async def page(self, uai: str, *, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[Job]:
        """The school's jobs, the newest first."""
        at, job_id = before or (None, None)
        async with self._database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_PAGE, {"uai": uai, "at": at, "id": job_id, "limit": limit})
            return [_job(row) for row in await cursor.fetchall()]

    async def claim(self, uai: str, job_id: UUID, now: datetime) -> Job | None:
        """Mark a queued or running job as running and count the attempt.

        None where there is nothing to run, or where an earlier job of the school is not over: then this one waits in
        line, and the end of the one before it asks for it.
        """
        parameters = {"uai": uai, "id": job_id, "now": now, "again": now + self._ask_again_after}
        async with self._database.begin() as tx:
            job = await _one(tx, _CLAIM, parameters)
            if job is None:
                await tx.execute(_WAIT_IN_LINE, parameters)
        return job

    async def give_back(self, job: Job) -> None:
        """The attempt failed for a reason outside the job: it does not count."""
        async with self._database.begin() as tx:
            await tx.execute("UPDATE import_job SET attempts = greatest(attempts - 1, 0) WHERE id = %s", (job.id,))

    async def postpone(self, job: Job, now: datetime) -> None:
        """The school can't be had now: the job is queued again, unless someone has asked to cancel it."""
        parameters = {"id": job.id, "now": now, "again": now + self._ask_again_after}
        async with self._database.begin() as tx:
            await tx.execute(_POSTPONE, parameters)

    async def ask_again(self, now: datetime) -> int:
        """Ask for the first job of every school that has one put aside for long enough. Returns how many.

        Asking for the first also revives one whose request was lost; the others follow as each comes to its end.
        """
        async with self._database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_DUE_SCHOOLS, {"now": now, "again": now + self._ask_again_after})
            schools = sorted({row["uai"] for row in await cursor.fetchall()})
            await cursor.execute(_FIRST_IN_LINE, (schools,))
            jobs = [_job(row) for row in await cursor.fetchall()]
            for job in jobs:
                await self._ask_for_a_worker(tx, job)
        return len(jobs)

    async def note_progress(self, job: Job, progress: Progress) -> bool:
        """Save how far it is. Returns whether to stop: someone asked to cancel, or the job was ended meanwhile."""
        async with self._database.begin() as tx:
            row = await (await tx.execute(_PROGRESS, {"id": job.id, **asdict(progress)})).fetchone()
        return row is None or bool(row[0])

    async def stop(
        self, job: Job, export: Export, school_year: int, planned: Planned, reasons: Sequence[StopReason]
    ) -> None:
        """The job waits for a confirmation of this plan, or is over if someone has asked to cancel.

        Repeating it changes nothing.
        """
        parameters = {
            "id": job.id,
            "now": self._clock.now(),
            "school_year": school_year,
            "exported_at": export.exported_at,
            "reference_date": export.reference_date,
            "counts": _figures(planned.counts),
            "digest": planned.digest,
            "reasons": [str(reason) for reason in reasons],
        }
        async with self._database.begin() as tx:
            await tx.execute(_STOP, parameters)
            await self._ask_for_the_next(tx, job.uai)

    async def complete(self, job: Job, applied: Applied, now: datetime) -> None:
        """The job is done and its events are out. Repeating it changes nothing and tells it once."""
        parameters = {
            "id": job.id,
            "now": now,
            "school_year": applied.school_year,
            "exported_at": applied.exported_at,
            "reference_date": applied.reference_date,
            "counts": _figures(applied.counts),
            "digest": applied.plan_digest,
        }
        counts = applied.counts
        event = SiecleImportCompleted(
            import_id=job.id,
            uai=job.uai,
            occurred_at=now,
            created=counts.created,
            updated=counts.updated,
            deactivated=counts.deactivated,
            reactivated=counts.reactivated,
            unchanged=counts.unchanged,
            rejected=counts.rejected,
        )
        async with self._database.begin() as tx:
            if (await tx.execute(_COMPLETE, parameters)).rowcount:
                await outbox.add(tx, [event], source=SOURCE, clock=self._clock)
                await self._ask_for_the_next(tx, job.uai)

    async def fail(self, job: Job, code: str, detail: str, now: datetime) -> None:
        """The file was refused. Repeating it changes nothing and tells it once."""
        event = SiecleImportFailed(import_id=job.id, uai=job.uai, occurred_at=now, code=code)
        async with self._database.begin() as tx:
            parameters = {"id": job.id, "code": code, "detail": detail, "now": now}
            if (await tx.execute(_FAIL, parameters)).rowcount:
                await outbox.add(tx, [event], source=SOURCE, clock=self._clock)
                await self._ask_for_the_next(tx, job.uai)

    async def cancelled(self, job: Job, now: datetime) -> None:
        """A running job gave up because someone asked for it."""
        async with self._database.begin() as tx:
            await tx.execute(_GIVE_UP, {"id": job.id, "now": now})
            await self._ask_for_the_next(tx, job.uai)

    async def confirm(self, uai: str, job_id: UUID, by: str, now: datetime) -> Job | None:
        """Queue a waiting job again; whoever confirms second finds it no longer waiting."""
        async with self._database.begin() as tx:
            job = await _one(tx, _CONFIRM, {"uai": uai, "id": job_id, "by": by, "now": now})
            if job is not None:
                await self._ask_for_a_worker(tx, job)
        return job

    async def cancel(self, uai: str, job_id: UUID, by: str, now: datetime) -> Job | None:
        """Cancel a job that is not running, or ask a running one to stop; None if it is over or may be applied."""
        async with self._database.begin() as tx:
            job = await _one(tx, _CANCEL, {"uai": uai, "id": job_id, "by": by, "now": now})
            if job is not None and job.state in AT_REST:
                await self._ask_for_the_next(tx, uai)
        return job

    async def expire_confirmations(self, uploaded_until: datetime, now: datetime, code: str, detail: str) -> int:
        """Cancel what has waited for a confirmation too long. Repeating it changes nothing."""
        parameters = {"uploaded_until": uploaded_until, "now": now, "code": code, "detail": detail}
        async with self._database.begin() as tx:
            return (await tx.execute(_EXPIRE_CONFIRMATIONS, parameters)).rowcount

    async def removable_uploads(self, uploaded_until: datetime, limit: int) -> Sequence[tuple[UUID, str]]:
        """Jobs whose file nobody needs any more, with its key: cancelled ones, and those over that are old enough."""
        async with self._database.begin() as tx:
            found = await tx.execute(_REMOVABLE_UPLOADS, {"uploaded_until": uploaded_until, "limit": limit})
            return [(row[0], row[1]) for row in await found.fetchall()]

    async def uploads_removed(self, job_ids: Sequence[UUID], now: datetime) -> None:
        """Note that the files are gone. Repeating it changes nothing."""
        async with self._database.begin() as tx:
            await tx.execute(_UPLOADS_REMOVED, {"ids": list(job_ids), "now": now})

    async def unclaimed(self, object_keys: Sequence[str]) -> Sequence[str]:
        """Those of these objects that no job has, or that its job has let go."""
        async with self._database.begin() as tx:
            found = await tx.execute(_UNCLAIMED, {"keys": list(object_keys)})
            return [row[0] for row in await found.fetchall()]

    async def _ask_for_the_next(self, tx: Connection, uai: str) -> None:
        waiting = await _one(tx, _NEXT_IN_LINE, (uai,))
        if waiting is not None:
            await self._ask_for_a_worker(tx, waiting)

    async def _ask_for_a_worker(self, tx: Connection, job: Job) -> None:
        request = SiecleImportRequested(import_id=job.id, uai=job.uai, occurred_at=self._clock.now())
        await outbox.add(tx, [request], source=SOURCE, clock=self._clock)


async def _one(tx: Connection, statement: str, parameters: Mapping[str, object] | Sequence[object]) -> Job | None:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, parameters)
        row = await cursor.fetchone()
    return None if row is None else _job(row)


def _job(row: dict[str, Any]) -> Job:
    counts = row["counts"]
    return Job(
        **{
            **row,
            "mode": Mode(row["mode"]),
            "state": State(row["state"]),
            "phase": Phase(row["phase"]),
            "counts": None if counts is None else Counts(**counts),
            "stop_reasons": tuple(row["stop_reasons"]),
        }
    )


def _figures(counts: Counts) -> Jsonb:
    return Jsonb(asdict(counts), dumps=json.dumps)
