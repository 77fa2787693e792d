"""A Kafka consumer whose batch is one unit of work, and which neither loses nor invents work when things go wrong.

What can go wrong, and what it then does:

| what                                   | answer                                                                  |
|----------------------------------------|-------------------------------------------------------------------------|
| a dependency is away                   | wait with backoff, not ready, keep the membership, try the batch again  |
| a message can't be handled             | halve the batch until it is alone, then to the dead letters with why    |
| too many messages in a row fail        | stop and say so: a bad deployment must not empty a topic                |
| a partition is taken away              | finish the batch and commit, or abandon it, before letting go           |
| the process dies                       | the offsets were not committed: the batch comes again                   |

While a batch is handled the next one is fetched and read, so that the database and this process work at the same time.
It is not begun before the batch has ended, and it is dropped when partitions change hands: it comes again, to whoever
gets them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    UnknownMemberIdError,
)

from cpro_contracts.envelope import Envelope, UnreadableEventError
from cpro_platform import crash_points
from cpro_platform.concurrency import end
from cpro_platform.dead_letters import DeadLetters, describe
from cpro_platform.kafka import Record
from cpro_platform.readiness import Readiness
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient

_FETCH_WAIT_MS = 1_000
_READ_AT_ONCE = 100
"""Messages read before the event loop may go on with the batch that is being handled."""


class TooManyFailuresError(Exception):
    """So many messages fail that the fault is more likely ours than theirs. Nothing of the batch is committed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event of a batch, with where it was read."""

    topic: str
    partition: int
    offset: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """When failing messages stop the consumer: `in_a_row` of them, or `share` of the last `window`."""

    in_a_row: int = 20
    share: float = 0.5
    window: int = 100


Handle = Callable[[Sequence[Message]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What was fetched at once, read; and in which term of our partitions."""

    contents: list[tuple[Record, Message | UnreadableEventError]]
    term: int


class Consumer:
    """Reads topics in a group and hands each batch to `handle`, which must be safe to repeat.

    Messages of one partition are handled in order. `handle` returns once its transaction is committed; only then are
    the offsets. It may take as long as it needs: the membership is kept meanwhile.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        group: str,
        topics: Sequence[str],
        handle: Handle,
        dead_letters: DeadLetters,
        batch_size: int = 500,
        member: str | None = None,
        readiness: Readiness | None = None,
        failure_limit: FailureLimit = FailureLimit(),
        revocation_grace_seconds: float = 20.0,
        session_timeout_seconds: float = 30.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._topics = tuple(topics)
        self._handle = handle
        self._dead_letters = dead_letters
        self._batch_size = batch_size
        self._member = member
        self._readiness = readiness or Readiness()
        self._limit = failure_limit
        self._grace_seconds = revocation_grace_seconds
        self._session_timeout_ms = int(session_timeout_seconds * 1000)
        self._max_poll_interval_ms = int(max_poll_interval_seconds * 1000)
        self._keep_alive_seconds = max_poll_interval_seconds / 10
        self._outcomes: deque[bool] = deque(maxlen=failure_limit.window)
        self._failures_in_a_row = 0
        self._batch: asyncio.Task[None] | None = None
        self._term = 0
        self._log = structlog.get_logger().bind(group=group)

    async def run(self) -> None:
        """Consume until cancelled; on cancellation finish or abandon the batch, then leave the group.

        Raises:
            TooManyFailuresError: see `FailureLimit`.
        """
        consumer = self._new_consumer()
        ahead: asyncio.Task[_Batch] | None = None
        try:
            await self._join_group(consumer)
            ahead = asyncio.create_task(self._read_next(consumer))
            while True:
                batch = await ahead
                if batch.term != self._term:
                    await self._rewind(consumer, batch)
                    batch = _Batch([], self._term)
                ahead = asyncio.create_task(self._read_next(consumer))
                if batch.contents:
                    await self._process(consumer, batch, ahead)
        finally:
            if ahead:
                await end({ahead})
            await self._let_go()
            await consumer.stop()

    async def _read_next(self, consumer: AIOKafkaConsumer) -> _Batch:
        """Fetch the next messages and read them, a few at a time: the batch before them may be under way."""
        term = self._term
        fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=self._batch_size)
        records = [record for partition in fetched.values() for record in partition]
        contents: list[tuple[Record, Message | UnreadableEventError]] = []
        for start in range(0, len(records), _READ_AT_ONCE):
            contents += [(record, _read(record)) for record in records[start : start + _READ_AT_ONCE]]
            await asyncio.sleep(0)
        return _Batch(contents, term)

    async def _rewind(self, consumer: AIOKafkaConsumer, dropped: _Batch) -> None:
        """Let what is dropped come again.

        A fetch that was waiting while partitions changed hands may have returned what is ours in the new term, and the
        position has then moved past it. It only moves back: what was fetched before is behind a batch that may have
        been abandoned, and the new term begins at what is committed.
        """
        first: dict[TopicPartition, int] = {}
        for record, _ in dropped.contents:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for place, offset in first.items():
            with suppress(IllegalStateError):  # another's by now
                term = None
                while term != self._term:
                    term, position = self._term, await consumer.position(place)
                if position > offset:
                    consumer.seek(place, offset)

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # The assignor keeps what it knows in its class: each consumer of a process needs one of its own.
            partition_assignment_strategy=(type("OwnStickyPartitionAssignor", (StickyPartitionAssignor,), {}),),
            session_timeout_ms=self._session_timeout_ms,
            max_poll_interval_ms=self._max_poll_interval_ms,
            heartbeat_interval_ms=min(3_000, self._session_timeout_ms // 3),
            isolation_level="read_committed",
        )

    async def _join_group(self, consumer: AIOKafkaConsumer) -> None:
        self._readiness.not_ready(self._group, "connecting")
        consumer.subscribe(self._topics, listener=_Rebalance(self._end_term))
        for delay in backoff(longest_seconds=10):
            try:
                await finish_connecting(consumer)
            except KafkaError as error:
                if not is_transient(error):
                    raise
                self._wait_for(error)
                await asyncio.sleep(delay)
            else:
                self._readiness.ready(self._group)
                return

    async def _process(self, consumer: AIOKafkaConsumer, batch: _Batch, ahead: "asyncio.Task[_Batch]") -> None:
        """Run the batch as a task that a rebalance can wait for, and keep polling so that the group keeps us."""
        self._batch = asyncio.create_task(self._handle_and_commit(consumer, batch))
        try:
            while not self._batch.done():
                await asyncio.wait({self._batch}, timeout=self._keep_alive_seconds)
                if ahead.done() and not self._batch.done():
                    await self._poll_without_reading(consumer)
            with suppress(asyncio.CancelledError):  # abandoned by a rebalance: the batch comes again
                self._batch.result()
        finally:
            if self._batch.done():
                self._batch = None

    @staticmethod
    async def _poll_without_reading(consumer: AIOKafkaConsumer) -> None:
        assigned = consumer.assignment()
        if assigned:
            consumer.pause(*assigned)
            await consumer.getmany(timeout_ms=0)
            consumer.resume(*(assigned & consumer.assignment()))

    async def _handle_and_commit(self, consumer: AIOKafkaConsumer, batch: _Batch) -> None:
        await self._handle_contents(batch)
        crash_points.reach("consumer.handled")
        offsets: dict[TopicPartition, int] = {}
        for record, _ in batch.contents:
            offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalGenerationError, IllegalStateError, UnknownMemberIdError):
            self._log.info(
                "consumer.commit_superseded"
            )  # the partitions are another member's, who will repeat the batch
        except KafkaError as error:
            if not is_transient(error):
                raise
            self._log.warning("consumer.commit_postponed", error=type(error).__name__)

    async def _handle_contents(self, batch: _Batch) -> None:
        """Handle the batch in order, so that a run of failures is one of messages that follow each other."""
        by_place = {(record.topic, record.partition, record.offset): record for record, _ in batch.contents}
        readable: list[Message] = []
        for record, content in batch.contents:
            if isinstance(content, Message):
                readable.append(content)
            else:
                await self._handle_or_split(readable, by_place)
                readable = []
                await self._set_aside(record, content)
        await self._handle_or_split(readable, by_place)

    async def _handle_or_split(self, messages: list[Message], records: dict[tuple[str, int, int], Record]) -> None:
        if not messages:
            return
        try:
            await self._handle_when_possible(messages)
        except Exception as error:  # noqa: BLE001 - whatever it is, the culprit is found and set aside with it
            if len(messages) > 1:
                middle = len(messages) // 2
                await self._handle_or_split(messages[:middle], records)
                await self._handle_or_split(messages[middle:], records)
                return
            only = messages[0]
            self._log.exception("message.failed", type=only.envelope.event.type, detail=describe(error))
            await self._set_aside(records[only.topic, only.partition, only.offset], error)
        else:
            self._outcomes.extend([True] * min(len(messages), self._limit.window))
            self._failures_in_a_row = 0

    async def _handle_when_possible(self, messages: list[Message]) -> None:
        for delay in backoff(longest_seconds=10):
            try:
                await self._handle(messages)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._wait_for(error)
                await asyncio.sleep(delay)
            else:
                self._readiness.ready(self._group)
                return

    async def _set_aside(self, record: Record, cause: Exception) -> None:
        self._outcomes.append(False)
        self._failures_in_a_row += 1
        self._stop_if_hopeless()
        for delay in backoff(longest_seconds=10):
            try:
                await self._dead_letters.put(record, cause)
            except KafkaError as error:
                if not is_transient(error):
                    raise
                self._wait_for(error)
                await asyncio.sleep(delay)
            else:
                self._readiness.ready(self._group)
                self._log.warning("message.set_aside", topic=record.topic, cause=type(cause).__name__)
                return

    def _stop_if_hopeless(self) -> None:
        full = len(self._outcomes) == self._limit.window
        failed_share = self._outcomes.count(False) / len(self._outcomes)
        if self._failures_in_a_row >= self._limit.in_a_row or (full and failed_share > self._limit.share):
            self._readiness.not_ready(self._group, "too_many_failures")
            raise TooManyFailuresError(self._group)

    def _wait_for(self, error: BaseException) -> None:
        self._readiness.not_ready(self._group, type(error).__name__)
        self._log.warning("consumer.waiting", error=type(error).__name__)

    async def _end_term(self) -> None:
        """Our partitions may be another's from now on: what was read ahead is dropped."""
        self._term += 1
        await self._let_go()

    async def _let_go(self) -> None:
        """Before partitions change hands: let the batch finish and commit, else abandon it. Nothing runs afterwards."""
        batch = self._batch
        if batch is None or batch.done():
            return
        await asyncio.wait({batch}, timeout=self._grace_seconds)
        if not batch.done():
            self._log.warning("consumer.batch_abandoned")
            await end({batch})


def _read(record: Record) -> Message | UnreadableEventError:
    try:
        envelope = Envelope.read(record.headers, record.value)
    except UnreadableEventError as error:
        return error
    return Message(record.topic, record.partition, record.offset, envelope)


async def finish_connecting(consumer: AIOKafkaConsumer) -> None:
    """Start the consumer. Cancelled while it connects, aiokafka would lose the connection: it finishes first."""
    starting = asyncio.create_task(consumer.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.gather(starting, return_exceptions=True)
        raise


class _Rebalance(ConsumerRebalanceListener):
    def __init__(self, end_term: Callable[[], Awaitable[None]]) -> None:
        self._end_term = end_term

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002
        await self._end_term()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        pass
