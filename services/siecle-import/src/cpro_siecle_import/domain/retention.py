"""How long an upload is kept. The figures of its import stay; the file, which names minors, does not."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cpro_siecle_import.domain.jobs import Job, State


@dataclass(frozen=True, slots=True)
class Retention:
    """Counted from the upload. An import that is not at rest keeps its file, whatever its age."""

    uploads: timedelta = timedelta(days=30)
    unclaimed: timedelta = timedelta(hours=1)
    """An object this old that no job names was left by a process that died before it entered the job."""

    def available_until(self, job: Job) -> datetime | None:
        """Until when the file is there at least; None once it is removed, or may be at any time."""
        if job.upload_removed_at is not None or job.state is State.CANCELLED:
            return None
        return job.requested_at + self.uploads
