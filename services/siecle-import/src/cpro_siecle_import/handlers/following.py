"""Many people follow the progress of imports; the database is asked once for all of them.

Between two looks nobody holds a connection. While nobody follows, nobody looks.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from uuid import UUID

from cpro_platform.logs import get_logger
from cpro_platform.transience import is_transient
from cpro_siecle_import.domain.jobs import AT_REST, Job
from cpro_siecle_import.ports import Jobs

_log = get_logger(__name__)


@dataclass(slots=True)
class _Followed:
    latest: Job
    followers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, job: Job) -> None:
        if job.revision > self.latest.revision:
            self.latest = job
            self.changed.set()
            self.changed = asyncio.Event()


class Followers:
    """Those who follow imports in this process."""

    def __init__(self, jobs: Jobs, *, interval_seconds: float) -> None:
        self._jobs = jobs
        self._interval_seconds = interval_seconds
        self._followed: dict[UUID, _Followed] = {}
        self._looking: asyncio.Task[None] | None = None
        self._letting_go = False

    @property
    def number(self) -> int:
        """How many are following now."""
        return sum(followed.followers for followed in self._followed.values())

    async def follow(self, job: Job, *, seen_revision: int | None = None) -> AsyncGenerator[Job, None]:
        """The import now, unless it was seen at this revision, then whenever it has changed, until it is at rest
        or we are stopping.
        """
        followed = self._followed.setdefault(job.id, _Followed(job))
        followed.followers += 1
        followed.show(job)
        self._look()
        told = seen_revision
        try:
            while True:
                current = followed.latest
                if current.revision != told:
                    told = current.revision
                    yield current
                if current.state in AT_REST or self._letting_go:
                    return
                if followed.latest.revision == told:
                    await followed.changed.wait()
        finally:
            followed.followers -= 1
            if not followed.followers:
                self._followed.pop(job.id, None)

    def let_go(self) -> None:
        """Let everyone go after what they have seen: they follow on elsewhere, from there."""
        self._letting_go = True
        for followed in self._followed.values():
            followed.changed.set()

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    def _look(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_while_followed(), name="followers")

    async def _look_while_followed(self) -> None:
        while self._followed:
            await asyncio.sleep(self._interval_seconds)
            try:
                found = await self._jobs.find_all(list(self._followed))
            except Exception as error:  # noqa: BLE001 - those who follow wait on; their connection is kept alive
                if is_transient(error):
                    _log.warning("followers.waiting", error=type(error).__name__)
                else:
                    _log.exception("followers.broke")
                continue
            for job in found:
                if job.id in self._followed:
                    self._followed[job.id].show(job)
