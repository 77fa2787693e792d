"""Events from a tenant's database, without ever polling a tenant.

Who is about to write to a tenant's outbox first leaves a note in its own service's database, then commits in the
tenant, publishes, and takes the note away. What dies in between is found by its note: a handful of rows, never a sweep
over thousands of databases.

For the same reason what is kept no longer is deleted by whoever publishes there: a tenant at rest is left at rest, with
what it has.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from cpro_platform import outbox
from cpro_platform.database import Connection, Database
from cpro_platform.kafka import EventPublisher
from cpro_platform.metrics import Metrics
from cpro_platform.retry import regularly
from cpro_platform.transience import is_transient
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.errors import TenantUnknownError

CREATE_NOTES_TABLE = """
CREATE TABLE tenant_outbox_note (
    id uuid PRIMARY KEY,
    uai text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenant_outbox_note IS 'A tenant whose outbox is being written to, or was when a process died';
"""

LEFT_BEHIND_AFTER = timedelta(seconds=10)
"""A note this old is looked after by someone else than its author."""
LONGEST_OPERATION = timedelta(hours=1)
"""A note is only taken away by another when its author can't still be about to commit."""
_SWEEP_SECONDS = 60.0


class TenantOutbox:
    """The outboxes of all tenants, as one service writes and publishes them."""

    def __init__(
        self,
        service_database: Database,
        tenants: TenantConnections,
        publisher: EventPublisher,
        *,
        kept: timedelta = outbox.KEPT,
        metrics: Metrics | None = None,
    ) -> None:
        self._oldest_note = (metrics or Metrics()).gauge(
            "cpro_tenant_outbox_oldest_seconds",
            "Time that the oldest note waits, of an establishment whose outbox may hold something",
            ["service"],
        )
        self._database = service_database
        self._kept = kept
        self._tenants = tenants
        self._publisher = publisher
        self._log = structlog.get_logger()

    @asynccontextmanager
    async def writing(self, uai: str) -> AsyncIterator[Connection]:
        """A transaction in the tenant whose outbox rows are on Kafka soon after it commits.

        When Kafka is away the commit stands and the note remains: `publish_leftovers` sees to it.
        """
        note = await self.note(uai)
        try:
            async with self._tenants.begin(uai) as tx:
                yield tx
        except BaseException:
            # Rolled back, or never begun. Should the outcome of the commit be unknown, there may be something to send.
            await asyncio.shield(self._settle(uai, note))
            raise
        await self._settle(uai, note)

    async def note(self, uai: str) -> UUID:
        """Leave a note that this tenant's outbox is about to be written to. Committed on return."""
        note = uuid4()
        async with self._database.begin() as tx:
            await tx.execute("INSERT INTO tenant_outbox_note (id, uai) VALUES (%s, %s)", (note, uai))
        return note

    async def publish(self, uai: str, note: UUID) -> int:
        """Publish all that waits in the tenant's outbox, then take the note away. Returns how many events.

        Raises:
            Exception: transient; the note stays.
        """
        published = await self._publish_pending(uai)
        await self._take_away(note)
        return published

    async def publish_leftovers(self) -> int:
        """Publish for every note whose author has not come back. Safe to run beside the authors, and twice."""
        async with self._database.begin() as tx:
            rows = await (
                await tx.execute(
                    "SELECT id, uai, now() - noted_at > %s, extract(epoch FROM now() - noted_at)::float8"
                    " FROM tenant_outbox_note WHERE now() - noted_at > %s",
                    (LONGEST_OPERATION, LEFT_BEHIND_AFTER),
                )
            ).fetchall()
        self._oldest_note.labels(self._database.name).set(max((row[3] for row in rows), default=0))
        published = 0
        for note, uai, abandoned, _ in rows:
            try:
                published += await self._publish_pending(uai)
            except TenantUnknownError:
                self._log.warning("tenant_outbox.note_of_unknown_tenant", uai=uai)
            except Exception as error:  # noqa: BLE001 - one that is away, or broken, keeps no other waiting
                if is_transient(error):
                    self._log.warning("tenant_outbox.left_for_later", uai=uai, error=type(error).__name__)
                else:
                    self._log.exception("tenant_outbox.broke", uai=uai)
                continue
            if abandoned:
                await self._take_away(note)
        return published

    async def look_after_leftovers(self) -> None:
        """Run `publish_leftovers` at the start and every minute until cancelled."""

        async def publish() -> None:
            published = await self.publish_leftovers()
            if published:
                self._log.info("tenant_outbox.leftovers_published", events=published)

        await regularly(publish, _SWEEP_SECONDS, log=self._log, waiting="tenant_outbox.waiting")

    async def _publish_pending(self, uai: str) -> int:
        def begin() -> AbstractAsyncContextManager[Connection]:
            return self._tenants.begin(uai)

        published = await outbox.publish_pending(begin, self._publisher)
        await outbox.forget(begin, self._kept)
        return published

    async def _settle(self, uai: str, note: UUID) -> None:
        try:
            await self.publish(uai, note)
        except TenantUnknownError:
            await self._take_away(note)
        except Exception as error:
            if not is_transient(error):
                raise
            self._log.warning("tenant_outbox.left_for_later", uai=uai, error=type(error).__name__)

    async def _take_away(self, note: UUID) -> None:
        async with self._database.begin() as tx:
            await tx.execute("DELETE FROM tenant_outbox_note WHERE id = %s", (note,))
