"""Dead letters on Kafka: read from their topics into the database, and given back to where they came from.

The place that reading goes on from is what the database has already, not a consumer group: so a database that starts
anew finds every letter that is still kept, any number of processes may read, and what is read twice is entered once,
for a letter's id is made of its place.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from cpro_contracts import topics
from cpro_platform.clock import Clock
from cpro_platform.consuming import finish_connecting
from cpro_platform.kafka import EventPublisher, Header, OutgoingMessage
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient
from cpro_transfer.domain.dead_letters import Letter, LetterState
from cpro_transfer.ports.letters import FoundLetter, Letters

REPLAY_MARK = "cpro_dlq_replay_of"
"""The header of a message that was given back: the id of its letter."""
KEPT = timedelta(days=400)
_NOTED = "cpro_dlq_"
_SUFFIX = topics.dead_letters_of("")
_LETTER_TOPICS = tuple(topic.name for topic in topics.ALL if topic.name.endswith(_SUFFIX))
_COMPACTED = frozenset(topic.name for topic in topics.ALL if topic.retention_ms is None)
_IDS = UUID("3d0c7c0e-3f0a-5a5e-9f53-7e2c1f0f5b11")
"""The name space of letters' ids."""
_FETCH_WAIT_MS = 1_000
_AT_ONCE = 200
_TIDY_EVERY = timedelta(hours=1)


class LetterReader:
    """Enters what is on the topics of dead letters. Any number may run beside each other."""

    def __init__(
        self,
        bootstrap_servers: str,
        letters: Letters,
        clock: Clock,
        *,
        letter_topics: Sequence[str] = _LETTER_TOPICS,
        kept: timedelta = KEPT,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._letters = letters
        self._clock = clock
        self._topics = tuple(letter_topics)
        self._kept = kept
        self._tidied_at: datetime | None = None
        self._log = structlog.get_logger()

    async def run(self) -> None:
        """Read until cancelled. Waits out a Kafka or a database that is away."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                async with _consumer(self._bootstrap_servers, *self._topics) as consumer:
                    await self._go_on_where_it_ended(consumer)
                    while True:
                        await self._tidy()
                        await self._enter_next(consumer)
                        delays = backoff(longest_seconds=10)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._log.warning("dead_letters.waiting", error=type(error).__name__)
                await asyncio.sleep(next(delays))

    async def _go_on_where_it_ended(self, consumer: AIOKafkaConsumer) -> None:
        known = await self._letters.read_up_to()
        for place in consumer.assignment():
            if (offset := known.get((place.topic, place.partition))) is not None:
                consumer.seek(place, offset)

    async def _tidy(self) -> None:
        """Once an hour, delete what is older than its topic keeps it."""
        now = self._clock.now()
        if self._tidied_at is None or now - self._tidied_at >= _TIDY_EVERY:
            await self._letters.forget(self._kept)
            self._tidied_at = now

    async def _enter_next(self, consumer: AIOKafkaConsumer) -> None:
        fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=_AT_ONCE)
        found = [_found(record) for records in fetched.values() for record in records]
        oldest = self._clock.now() - self._kept  # else what was forgotten, and is still there, would wait again
        kept = [one for one in found if one.letter.set_aside_at >= oldest]
        if kept:
            await self._letters.enter(kept)


class SourceTopics:
    """Implements `ports.SourceTopics`."""

    def __init__(self, bootstrap_servers: str, publisher: EventPublisher) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._publisher = publisher

    async def give_back(self, letters: Sequence[Letter]) -> None:
        """Publish the messages to where they came from: key, value and headers as they were, and a mark.

        Raises:
            aiokafka.errors.KafkaError: some were not acknowledged; which ones is not known.
        """
        await self._publisher.publish([_as_it_was(letter) for letter in letters])

    async def superseded(self, letters: Sequence[Letter]) -> set[UUID]:
        """Those whose topic keeps only the last message of each key, and has a newer one of theirs.

        Given back they would be the last themselves, and whoever reads the topic anew would be told what was true
        before. Reads the partitions from the oldest of the letters to their end: compacted topics are small.
        """
        compacted = [letter for letter in letters if letter.topic in _COMPACTED]
        since: dict[TopicPartition, int] = {}
        for letter in compacted:
            place = TopicPartition(letter.topic, letter.partition or 0)
            since[place] = min(since.get(place, letter.offset or 0), letter.offset or 0)
        newest = await self._newest_of_keys(since)
        return {letter.id for letter in compacted if newest.get((letter.topic, letter.key), 0) > (letter.offset or 0)}

    async def _newest_of_keys(self, since: Mapping[TopicPartition, int]) -> Mapping[tuple[str, bytes | None], int]:
        """The offset of the last message of every key after these places."""
        newest: dict[tuple[str, bytes | None], int] = {}
        if not since:
            return newest
        async with _consumer(self._bootstrap_servers) as consumer:
            consumer.assign(list(since))
            for place, offset in since.items():
                consumer.seek(place, offset)
            ends = await consumer.end_offsets(list(since))
            while any([await consumer.position(place) < ends[place] for place in since]):
                fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
                newest |= {
                    (record.topic, record.key): record.offset for records in fetched.values() for record in records
                }
        return newest


@asynccontextmanager
async def _consumer(bootstrap_servers: str, *names: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, of all partitions of these topics."""
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    try:
        await finish_connecting(consumer)
        yield consumer
    finally:
        await consumer.stop()


def _found(record: Any) -> FoundLetter:
    """The letter in a record of a topic of dead letters; what is missing in its headers is left empty."""
    noted = {name: value for name, value in record.headers if name.startswith(_NOTED) and value is not None}
    attributes = {name: value for name, value in record.headers if value is not None}
    place = f"{record.topic}/{record.partition}/{record.offset}/{record.timestamp}"
    letter = Letter(
        id=uuid5(_IDS, place),
        topic=record.topic.removesuffix(_SUFFIX),  # not as a header says: anybody could have written that
        partition=_number(noted.get(f"{_NOTED}partition")),
        offset=_number(noted.get(f"{_NOTED}offset")),
        set_aside_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
        cause=_text(noted.get(f"{_NOTED}cause")),
        detail=_text(noted.get(f"{_NOTED}detail")),
        group=_text(noted.get(f"{_NOTED}group")),
        event_type=_text(attributes.get("ce_type")),
        uai=_text(attributes.get("ce_subject")),
        key=record.key,
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(_NOTED)),
        replay_of=_id(noted.get(REPLAY_MARK)),
        state=LetterState.WAITING,
    )
    return FoundLetter(record.topic, record.partition, record.offset, letter)


def _as_it_was(letter: Letter) -> OutgoingMessage:
    headers: list[Header] = [*letter.headers, (REPLAY_MARK, str(letter.id).encode())]  # type: ignore[list-item]
    return OutgoingMessage(letter.topic, letter.key, headers, letter.value)


def _text(raw: bytes | None) -> str:
    """What can be stored and shown of a header."""
    return (raw or b"").decode(errors="replace").replace("\0", "\ufffd")[:500]


def _number(raw: bytes | None) -> int | None:
    text = _text(raw)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _id(raw: bytes | None) -> UUID | None:
    try:
        return UUID(_text(raw))
    except ValueError:
        return None
