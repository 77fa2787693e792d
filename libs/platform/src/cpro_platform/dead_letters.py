"""Setting aside a message that can't be handled: untouched, with why and where from in its headers."""

import psycopg

from cpro_contracts.envelope import UnreadableEventError
from cpro_contracts.topics import dead_letters_of
from cpro_platform.clock import Clock
from cpro_platform.errors import PoisonMessageError
from cpro_platform.kafka import EventPublisher, OutgoingMessage, Record


class DeadLetters:
    """Where a consumer group puts what it can't handle."""

    def __init__(self, publisher: EventPublisher, *, group: str, clock: Clock) -> None:
        self._publisher = publisher
        self._group = group
        self._clock = clock

    async def put(self, record: Record, cause: BaseException) -> None:
        """Publish the message to its topic's dead letters.

        Raises:
            aiokafka.errors.KafkaError: it was not acknowledged; the source offset must not be committed.
        """
        why = {
            "cpro_dlq_cause": type(cause).__name__,
            "cpro_dlq_detail": describe(cause),
            "cpro_dlq_group": self._group,
            "cpro_dlq_topic": record.topic,
            "cpro_dlq_partition": str(record.partition),
            "cpro_dlq_offset": str(record.offset),
            "cpro_dlq_time": self._clock.now().isoformat(),
        }
        headers = list(record.headers) + [(name, value.encode()) for name, value in why.items()]
        await self._publisher.publish(
            [OutgoingMessage(dead_letters_of(record.topic), record.key, headers, record.value)]
        )


def describe(cause: BaseException) -> str:
    """What can be said of a failure without repeating a value: driver errors quote rows, ours name no person."""
    if isinstance(cause, PoisonMessageError | UnreadableEventError):
        return str(cause)
    if isinstance(cause, psycopg.Error):
        where = cause.diag.constraint_name or cause.diag.table_name or ""
        return f"{cause.sqlstate or ''} {where}".strip()
    return ""
