"""The establishments' event logs: the published rows of their outboxes, counted and published once more.

An event goes out again as it went out first: the same id, time, key and bytes, with the replay in an extension
attribute. So whoever goes by ids sees what it has seen, and whoever goes by revisions learns nothing new.

A topic that keeps only the last message of each key needs care: an older state published again would be the last, and
whoever reads the topic anew would be told what was true before. So of those topics only the newest event of each key is
published again, and the opt-in is locked meanwhile: no newer one can come between the look and the acknowledgement.
"""

from typing import Any
from uuid import UUID

from cpro_contracts import topics
from cpro_platform import outbox
from cpro_platform.kafka import EventPublisher
from cpro_tenant_db.connections import TenantConnections
from cpro_transfer.domain.event_replays import Selection
from cpro_transfer.ports.event_replays import LogCount

REPLAY_ATTRIBUTE = "ce_cproreplay"
"""The CloudEvents extension attribute, as a Kafka header, that names the replay."""
_COMPACTED = [topic.name for topic in topics.ALL if topic.retention_ms is None]
_CHOSEN = """
published_at IS NOT NULL
    AND (%(pupil)s::text IS NULL OR payload ->> 'pupil_id' = %(pupil)s)
    AND (%(import)s::text IS NULL OR payload ->> 'import_id' = %(import)s)
    AND (%(from)s::timestamptz IS NULL OR published_at >= %(from)s)
    AND (%(to)s::timestamptz IS NULL OR published_at < %(to)s)
    AND (topic <> ALL (%(compacted)s) OR NOT EXISTS (
        SELECT FROM outbox later
        WHERE later.topic = o.topic AND later.key = o.key AND later.position > o.position))
"""
_COUNT = f"SELECT type, count(*), max(position) FROM outbox o WHERE {_CHOSEN} GROUP BY type"
_LOCK_OPT_IN = "SELECT FROM transfer_opt_in FOR SHARE"
_NEXT = f"""
SELECT {outbox.MESSAGE_COLUMNS} FROM outbox o
WHERE position > %(after)s AND position <= %(up_to)s AND {_CHOSEN}
ORDER BY position LIMIT %(limit)s
"""


class TenantEventLogs:
    """Implements `ports.EventLogs`."""

    def __init__(self, tenants: TenantConnections, publisher: EventPublisher) -> None:
        self._tenants = tenants
        self._publisher = publisher

    async def count(self, uai: str, selection: Selection) -> LogCount:
        """How much is chosen there.

        Raises:
            TenantUnknownError: there is no such establishment any more.
            Exception: transient.
        """
        async with self._tenants.begin(uai) as tx:
            rows = await (await tx.execute(_COUNT, _arguments(selection))).fetchall()
        return LogCount({row[0]: row[1] for row in rows}, max((row[2] for row in rows), default=0))

    async def publish_again(
        self, uai: str, selection: Selection, *, replay_id: UUID, after: int, up_to: int, limit: int
    ) -> tuple[int, int]:
        """Publish the next `limit` chosen events after a position; returns how many, and the last's position.

        Raises as `count` does, and what Kafka raises.
        """
        arguments = _arguments(selection) | {"after": after, "up_to": up_to, "limit": limit}
        async with self._tenants.begin(uai) as tx:
            await tx.execute(_LOCK_OPT_IN)
            rows = await (await tx.execute(_NEXT, arguments)).fetchall()
            messages = [outbox.message_of(row) for row in rows]
            for message in messages:
                message.headers.append((REPLAY_ATTRIBUTE, str(replay_id).encode()))
            await self._publisher.publish(messages)
        return len(rows), rows[-1][0] if rows else after


def _arguments(selection: Selection) -> dict[str, Any]:
    return {
        "pupil": str(selection.pupil_id) if selection.pupil_id else None,
        "import": str(selection.import_id) if selection.import_id else None,
        "from": selection.published_from,
        "to": selection.published_to,
        "compacted": _COMPACTED,
    }
