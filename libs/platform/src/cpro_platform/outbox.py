"""The transactional outbox: an event is written with the change it tells of, and published afterwards.

Rows are kept once published, for a while: a tenant's outbox is also its event log, from which events can be replayed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from opentelemetry.trace import SpanKind

from cpro_contracts.envelope import SPEC_VERSION, Event
from cpro_platform import crash_points, tracing
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_platform.kafka import EventPublisher, OutgoingMessage
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient

CREATE_TABLE = """
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    topic text NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    subject text NOT NULL,
    occurred_at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    traceparent text,
    published_at timestamptz
);
CREATE INDEX outbox_pending ON outbox (position) WHERE published_at IS NULL;
"""
_CHANNEL = "outbox"
_BATCH_ROWS = 1_000
_POLL_SECONDS = 5.0

COLUMNS = "topic, key, type, source, subject, occurred_at, payload, traceparent"
"""What a statement that writes many events at once fills in; the id and the position are the table's."""
MESSAGE_COLUMNS = "position, id, topic, key, type, source, subject, occurred_at, payload::text, traceparent"
"""What `message_of` makes a message of."""
# One statement for all: the join writes hundreds of events in a transaction.
# The payloads come as lines of one text: JSON on one line has no line feed, and an array would have to be quoted.
_INSERT = f"""
INSERT INTO outbox ({COLUMNS})
SELECT topic, key, type, %s, subject, %s, payload::jsonb, traceparent
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], string_to_array(%s, E'\\n')) WITH ORDINALITY
    AS said (topic, key, type, subject, traceparent, payload, number)
ORDER BY number
"""  # noqa: S608 - the columns are those above
# A plain lock, not SKIP LOCKED: who finds nothing left may then say that everything is on Kafka.
_PENDING = f"""
SELECT {MESSAGE_COLUMNS}
FROM outbox WHERE published_at IS NULL AND position > %s ORDER BY position LIMIT %s FOR UPDATE
"""  # noqa: S608 - the columns are those above
KEPT = timedelta(days=400)
"""As long as the topics keep them, unless a setting says otherwise."""
# The oldest are in front by position, give or take those that waited: so no index and no look at the rest are needed.
_FORGET = """
DELETE FROM outbox WHERE published_at < clock_timestamp() - %s AND position = ANY (ARRAY(
    SELECT position FROM outbox ORDER BY position LIMIT %s))
"""
_OLDEST = """
SELECT extract(epoch FROM clock_timestamp() - occurred_at)::float8 FROM outbox
WHERE published_at IS NULL ORDER BY position LIMIT 1
"""
_FORGET_EVERY_SECONDS = 3600.0
_PUBLISHED = "UPDATE outbox SET published_at = clock_timestamp() WHERE position = ANY(%s)"

Begin = Callable[[], AbstractAsyncContextManager[Connection]]


async def add(
    tx: Connection,
    events: Sequence[Event],
    *,
    source: str,
    clock: Clock,
    wake_relay: bool = True,
    traceparents: Sequence[str | None] | None = None,
) -> None:
    """Write events into the outbox of the caller's transaction.

    `source` is the CloudEvents source (`/services/settings`). `wake_relay` notifies a listening relay at the commit; a
    tenant's outbox has none. `traceparents` say which trace each event belongs to; else it is the one under way.
    """
    if not events:
        return
    columns = zip(*((event.topic, event.key(), event.type, event.subject()) for event in events), strict=True)
    payloads = "\n".join(event.model_dump_json() for event in events)
    async with tx.cursor() as cursor:
        traces = list(traceparents) if traceparents is not None else [tracing.current_traceparent()] * len(events)
        arguments = [source, clock.now(), *map(list, columns), traces, payloads]
        await cursor.execute(_INSERT, arguments)
        if wake_relay:
            await cursor.execute("SELECT pg_notify(%s, '')", (_CHANNEL,))


async def publish_pending(begin: Begin, publisher: EventPublisher) -> int:
    """Publish every event that waits, oldest first, and mark it. Returns how many.

    A crash after Kafka's acknowledgement and before the commit publishes some again: consumers go by the revision.

    Raises:
        Exception: transient, from the database or Kafka; what was not marked is sent again by the next call.
    """
    total = last = 0
    while True:
        async with begin() as tx:
            # From where the last batch ended: the index still holds the entries of all that was marked before.
            rows = await (await tx.execute(_PENDING, (last, _BATCH_ROWS))).fetchall()
            if rows:
                with tracing.batch(
                    "outbox.publish",
                    (row[-1] for row in rows),
                    tracing.KAFKA | {"messaging.batch.message_count": len(rows)},
                    kind=SpanKind.PRODUCER,
                ):
                    await publisher.publish([message_of(row) for row in rows])
                crash_points.reach("outbox.published")
                await tx.execute(_PUBLISHED, ([row[0] for row in rows],))
        if not rows and not last:
            return total
        total += len(rows)
        # At the end once more from the beginning: what took a lower position may have committed later.
        last = rows[-1][0] if rows else 0


async def forget(begin: Begin, kept: timedelta) -> int:
    """Delete what was published longer ago than it is kept. Returns how many. What was never published stays.

    Cheap enough to be called whenever an outbox is written to, so that nobody has to go round and look.
    """
    total = 0
    while True:
        async with begin() as tx:
            gone = (await tx.execute(_FORGET, (kept, _BATCH_ROWS))).rowcount
        total += gone
        if gone < _BATCH_ROWS:
            return total


def message_of(row: tuple[object, ...]) -> OutgoingMessage:
    """The message of a row of `MESSAGE_COLUMNS`: the same bytes under the same id, however often it is published."""
    _, event_id, topic, key, event_type, source, subject, occurred_at, payload, traceparent = row
    headers = [
        ("ce_specversion", SPEC_VERSION),
        ("ce_id", str(event_id)),
        ("ce_type", str(event_type)),
        ("ce_source", str(source)),
        ("ce_subject", str(subject)),
        ("ce_time", occurred_at.isoformat()),  # type: ignore[attr-defined]
        ("content-type", "application/json"),
    ]
    if traceparent:
        headers.append(("traceparent", str(traceparent)))
    encoded = [(name, value.encode()) for name, value in headers]
    return OutgoingMessage(str(topic), str(key).encode(), encoded, str(payload).encode())


class Relay:
    """Publishes the outbox of one service database, as soon as a transaction says that there is something.

    Any number may run: they take turns on the rows.
    """

    def __init__(
        self,
        database: Database,
        publisher: EventPublisher,
        readiness: Readiness | None = None,
        *,
        kept: timedelta = KEPT,
        metrics: Metrics | None = None,
    ) -> None:
        self._oldest = (metrics or Metrics()).gauge(
            "cpro_outbox_oldest_seconds", "Time that the oldest event waits to be published", ["service"]
        )
        self._measure_at = time.monotonic()
        self._database = database
        self._publisher = publisher
        self._kept = kept
        self._forget_at = time.monotonic()
        self._readiness = readiness or Readiness()
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Publish until cancelled. Waits out a database or a Kafka that is away."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                async with self._database.session() as session:
                    await session.execute(f"LISTEN {_CHANNEL}")
                    async for _ in _wake_ups(session):
                        await self._measure_now_and_then()
                        await publish_pending(self._database.begin, self._publisher)
                        await self._forget_now_and_then()
                        self._readiness.ready("relay")
                        delays = backoff(longest_seconds=10)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._readiness.not_ready("relay", type(error).__name__)
                self._log.warning("outbox.waiting", database=self._database.name, error=type(error).__name__)
                await asyncio.sleep(next(delays))

    async def _measure_now_and_then(self) -> None:
        """Before what waits is published, every few seconds: also while Kafka is away, which is when it matters."""
        if time.monotonic() >= self._measure_at:
            async with self._database.begin() as tx:
                row = await (await tx.execute(_OLDEST)).fetchone()
            self._oldest.labels(self._database.name).set(row[0] if row else 0)
            self._measure_at = time.monotonic() + _POLL_SECONDS

    async def _forget_now_and_then(self) -> None:
        """At the start, and then every hour."""
        if time.monotonic() >= self._forget_at:
            await forget(self._database.begin, self._kept)
            self._forget_at = time.monotonic() + _FORGET_EVERY_SECONDS


async def _wake_ups(session: Connection) -> AsyncIterator[None]:
    """Once at the start, then at each notification, and every few seconds for the one that was lost."""
    while True:
        yield
        async for _ in session.notifies(timeout=_POLL_SECONDS, stop_after=1):
            pass
