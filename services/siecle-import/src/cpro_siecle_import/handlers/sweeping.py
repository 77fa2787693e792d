"""Let go of files that have been kept long enough, and of files that never became an import.

The object goes first, then the job says so: who dies in between leaves an object that is gone and a job that does not
say it yet, and the next sweep removes nothing and says it. Only files of imports that are over are touched, so workers
need not be asked; and any number may sweep at once.
"""

from dataclasses import dataclass

from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_siecle_import.domain.refusals import CONFIRMATION_EXPIRED, FileRefusedError
from cpro_siecle_import.domain.retention import Retention
from cpro_siecle_import.ports import Jobs, UploadStore

_BATCH_UPLOADS = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: confirmations that came to their end, files removed, files removed that no job knew."""

    expired: int
    removed: int
    unclaimed: int

    def __bool__(self) -> bool:
        return bool(self.expired or self.removed or self.unclaimed)


async def sweep(*, jobs: Jobs, uploads: UploadStore, clock: Clock, retention: Retention) -> Swept:
    """Remove what is due. Safe to repeat, to interrupt and to run beside anything.

    Raises:
        Exception: transient: the database or the object store is away; the next sweep goes on.
    """
    expired = await _expire(jobs, clock, retention)
    removed = await _remove_kept_long_enough(jobs, uploads, clock, retention)
    return Swept(expired, removed, await _remove_unclaimed(jobs, uploads, clock, retention))


async def _expire(jobs: Jobs, clock: Clock, retention: Retention) -> int:
    """What waits for a confirmation can't go on without its file, so it ends with it."""
    now = clock.now()
    reason = FileRefusedError(CONFIRMATION_EXPIRED, days=retention.uploads.days)
    return await jobs.expire_confirmations(now - retention.uploads, now, reason.code, reason.detail)


async def _remove_kept_long_enough(jobs: Jobs, uploads: UploadStore, clock: Clock, retention: Retention) -> int:
    removed = 0
    while due := await jobs.removable_uploads(clock.now() - retention.uploads, _BATCH_UPLOADS):
        await uploads.remove_many([object_key for _, object_key in due])
        crash_points.reach("upload.removed")
        await jobs.uploads_removed([job_id for job_id, _ in due], clock.now())
        removed += len(due)
    return removed


async def _remove_unclaimed(jobs: Jobs, uploads: UploadStore, clock: Clock, retention: Retention) -> int:
    """A process died between storing the file and entering its job, or before it removed the file of a repetition."""
    removed = 0
    async for stored in uploads.stored_before(clock.now() - retention.unclaimed):
        left = await jobs.unclaimed(stored) if stored else []
        if left:
            await uploads.remove_many(left)
            removed += len(left)
    return removed
