"""What keeps one school waiting keeps no other: told apart here from what keeps all of them waiting.

A worker that waited in place for one school's lock, or for one cluster that is away, would keep every school of its
partitions waiting too. Kafka, the object store and the service's own database keep everyone waiting: those are waited
for in place.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from uuid import UUID

import psycopg

from cpro_platform.logs import get_logger
from cpro_platform.transience import is_transient
from cpro_siecle_import.errors import ImportPostponedError
from cpro_siecle_import.ports import Rosters, RosterWork
from cpro_tenant_db.errors import TenantUnavailableError

_OF_ONE_SCHOOL = (
    TenantUnavailableError,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DiskFull,
    psycopg.errors.ReadOnlySqlTransaction,
)
_log = get_logger(__name__)


class PostponingRosters:
    """See `ports.Rosters`: those given, with what concerns one school only raised as `ImportPostponedError`."""

    def __init__(self, rosters: Rosters) -> None:
        self._rosters = rosters

    def open(self, uai: str) -> AbstractAsyncContextManager[RosterWork]:
        """The transaction of one import."""
        return self._opened(uai)

    @asynccontextmanager
    async def _opened(self, uai: str) -> AsyncIterator[RosterWork]:
        with _one_school_only():
            async with self._rosters.open(uai) as work:
                yield work

    async def note(self, uai: str) -> UUID:
        """See `ports.Rosters`."""
        return await self._rosters.note(uai)

    async def publish(self, uai: str, note: UUID) -> int:
        """Publish what waits. What fails for good here is no fault of the import, which is applied: try again."""
        try:
            with _one_school_only():
                return await self._rosters.publish(uai, note)
        except ImportPostponedError:
            raise
        except Exception as error:
            if is_transient(error):
                raise
            _log.exception("import.publishing_broke", uai=uai)
            raise ImportPostponedError(type(error).__name__) from error


@contextmanager
def _one_school_only() -> Iterator[None]:
    try:
        yield
    except _OF_ONE_SCHOOL as error:
        raise ImportPostponedError(type(error).__name__) from error
