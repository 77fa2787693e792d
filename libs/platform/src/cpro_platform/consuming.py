"""A Kafka consumer whose batch is one unit of work, and which neither loses nor invents work when things go wrong.

What can go wrong, and what it then does:

| what                                   | answer                                                                  |
|----------------------------------------|-------------------------------------------------------------------------|
| a dependency is away                   | wait with backoff, not ready, keep the membership, try the batch again  |
| a message can't be handled             | halve the batch until it is alone, then to the dead letters with why    |
| too many messages in a row fail        | stop and say so: a bad deployment must not empty a topic                |
| a partition is taken away              | finish the batch and commit, or abandon it, before letting go           |
| the process dies                       | the offsets were not committed: the batch comes again                   |

While a batch is handled the next one is fetched, read and prepared, so that the database and this process work at the
same time. It is not begun before the batch has ended, and it is dropped when partitions change hands: it comes again,
to whoever gets them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

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
from cpro_platform.concurrency import see_out
from cpro_platform.dead_letters import DeadLetters, describe
from cpro_platform.kafka import Record
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient

_FETCH_WAIT_MS = 1_000
_LAG_SECONDS = 10.0
_ASKING_SECONDS = 5.0
_LEAVING_SECONDS = 10.0
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


Prepared = TypeVar("Prepared")
"""What `handle` is given of a message: the message itself, unless it is prepared ahead."""


@dataclass(frozen=True, slots=True)
class _Unusable:
    """A message that never reaches `handle`, and why."""

    cause: Exception


@dataclass(frozen=True, slots=True)
class _Batch(Generic[Prepared]):
    """What was fetched at once, read and prepared; where each partition goes on after it; in which term of ours."""

    contents: list[tuple[Record, Prepared | _Unusable]]
    ends: dict[TopicPartition, int]
    term: int


def _as_it_is(message: Message) -> Any:
    return message


class Consumer(Generic[Prepared]):
    """Reads topics in a group and hands each batch to `handle`, which must be safe to repeat.

    Messages of one partition are handled in order. `handle` returns once its transaction is committed; only then are
    the offsets. It may take as long as it needs: the membership is kept meanwhile.

    `prepare` makes of each message what `handle` needs of it, while the batch before is under way: it asks nothing of
    anyone, and changes nothing. What it refuses goes to the dead letters, as what `handle` refuses does.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        group: str,
        topics: Sequence[str],
        handle: Callable[[Sequence[Prepared]], Awaitable[None]],
        dead_letters: DeadLetters,
        prepare: Callable[[Message], Prepared] = _as_it_is,
        batch_size: int = 500,
        member: str | None = None,
        readiness: Readiness | None = None,
        metrics: Metrics | None = None,
        failure_limit: FailureLimit = FailureLimit(),
        revocation_grace_seconds: float = 20.0,
        session_timeout_seconds: float = 30.0,
        max_poll_interval_seconds: float = 300.0,
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._topics = tuple(topics)
        self._handle = handle
        self._prepare = prepare
        self._dead_letters = dead_letters
        self._batch_size = batch_size
        self._member = member
        self._readiness = readiness or Readiness()
        self._measures = _Measures(metrics or Metrics(), group)
        self._limit = failure_limit
        self._grace_seconds = revocation_grace_seconds
        self._session_timeout_ms = int(session_timeout_seconds * 1000)
        self._max_poll_interval_ms = int(max_poll_interval_seconds * 1000)
        self._keep_alive_seconds = max_poll_interval_seconds / 10
        self._outcomes: deque[bool] = deque(maxlen=failure_limit.window)
        self._failures_in_a_row = 0
        self._batch: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[Any] | None = None
        self._leaving = asyncio.Event()
        self._term = 0
        self._log = structlog.get_logger().bind(group=group)

    async def run(self) -> None:
        """Consume until cancelled; on cancellation finish or abandon the batch, then leave the group.

        Raises:
            TooManyFailuresError: see `FailureLimit`.
        """
        consumer = self._new_consumer()
        ahead: asyncio.Task[_Batch[Prepared]] | None = None
        watching: asyncio.Task[None] | None = None
        try:
            await self._join_group(consumer)
            # Fetching nothing looks the same whether there is nothing or Kafka is away: so it is asked.
            self._readiness.add_probe(f"{self._group}/kafka", partial(self._ask_kafka, consumer))
            watching = asyncio.create_task(self._watch_lag(consumer))
            ahead = asyncio.create_task(self._read_next(consumer))
            while True:
                batch = await ahead
                if batch.term != self._term:
                    await self._rewind(consumer, batch)
                    batch = _Batch([], {}, self._term)
                ahead = asyncio.create_task(self._read_next(consumer))
                if batch.contents:
                    await self._process(consumer, batch, ahead)
        finally:
            await self._leave(consumer, ahead, watching)

    async def _leave(
        self,
        consumer: AIOKafkaConsumer,
        ahead: "asyncio.Task[_Batch[Prepared]] | None",
        watching: asyncio.Task[None] | None,
    ) -> None:
        """Finish or abandon the batch, then leave the group: in this order, however often we are told to stop."""
        self._readiness.remove_probe(f"{self._group}/kafka")
        self._leaving.set()
        try:
            if ahead:
                await see_out(ahead, grace_seconds=0)
            # Cancelled while they connect, aiokafka would lose the connection: they finish first.
            for task in (watching, self._asking):
                if task:
                    await see_out(task, grace_seconds=_ASKING_SECONDS)
            await self._let_go()
        finally:
            await see_out(asyncio.create_task(consumer.stop()), grace_seconds=_LEAVING_SECONDS)

    async def _watch_lag(self, consumer: AIOKafkaConsumer) -> None:
        """Beside the batches: a batch that can't be handled is when the lag matters."""
        while not self._leaving.is_set():
            try:
                await self._measures.look_at_lag(consumer)
            except KafkaError as error:
                self._log.info("consumer.lag_unknown", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAG_SECONDS):
                    await self._leaving.wait()

    async def _ask_kafka(self, consumer: AIOKafkaConsumer) -> None:
        """Whether a broker answers. Whoever asks may give up; the question goes on to its end, one at a time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(consumer.topics())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        await asyncio.shield(self._asking)

    async def _read_next(self, consumer: AIOKafkaConsumer) -> _Batch[Prepared]:
        """Fetch the next messages and read them, a few at a time: the batch before them may be under way."""
        term = self._term
        fetched = await consumer.getmany(timeout_ms=_FETCH_WAIT_MS, max_records=self._batch_size)
        ends = {place: records[-1].offset + 1 for place, records in fetched.items() if records}
        records = [record for partition in fetched.values() for record in partition]
        contents: list[tuple[Record, Prepared | _Unusable]] = []
        for start in range(0, len(records), _READ_AT_ONCE):
            contents += [(record, self._read(record)) for record in records[start : start + _READ_AT_ONCE]]
            await asyncio.sleep(0)
        return _Batch(contents, ends, term)

    def _read(self, record: Record) -> Prepared | _Unusable:
        try:
            envelope = Envelope.read(record.headers, record.value)
            return self._prepare(Message(record.topic, record.partition, record.offset, envelope))
        except Exception as error:  # noqa: BLE001 - whatever it is, the message is set aside with it in its turn
            return _Unusable(error)

    async def _rewind(self, consumer: AIOKafkaConsumer, dropped: _Batch[Prepared]) -> None:
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

    async def _process(
        self, consumer: AIOKafkaConsumer, batch: _Batch[Prepared], ahead: "asyncio.Task[_Batch[Prepared]]"
    ) -> None:
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

    async def _handle_and_commit(self, consumer: AIOKafkaConsumer, batch: _Batch[Prepared]) -> None:
        with self._measures.seconds.time():
            await self._handle_contents(batch)
        crash_points.reach("consumer.handled")
        try:
            await consumer.commit(batch.ends)
        except (CommitFailedError, IllegalGenerationError, IllegalStateError, UnknownMemberIdError):
            self._log.info(
                "consumer.commit_superseded"
            )  # the partitions are another member's, who will repeat the batch
        except KafkaError as error:
            if not is_transient(error):
                raise
            self._log.warning("consumer.commit_postponed", error=type(error).__name__)

    async def _handle_contents(self, batch: _Batch[Prepared]) -> None:
        """Handle the batch in order, so that a run of failures is one of messages that follow each other."""
        usable: list[tuple[Record, Prepared]] = []
        for record, content in batch.contents:
            if isinstance(content, _Unusable):
                await self._handle_or_split(usable)
                usable = []
                await self._set_aside(record, content.cause)
            else:
                usable.append((record, content))
        await self._handle_or_split(usable)

    async def _handle_or_split(self, contents: list[tuple[Record, Prepared]]) -> None:
        if not contents:
            return
        try:
            await self._handle_when_possible([content for _, content in contents])
        except Exception as error:  # noqa: BLE001 - whatever it is, the culprit is found and set aside with it
            if len(contents) > 1:
                middle = len(contents) // 2
                await self._handle_or_split(contents[:middle])
                await self._handle_or_split(contents[middle:])
                return
            await self._set_aside(contents[0][0], error)
        else:
            self._measures.handled.inc(len(contents))
            self._outcomes.extend([True] * min(len(contents), self._limit.window))
            self._failures_in_a_row = 0

    async def _handle_when_possible(self, contents: list[Prepared]) -> None:
        for delay in backoff(longest_seconds=10):
            try:
                await self._handle(contents)
            except Exception as error:
                if not is_transient(error):
                    raise
                self._wait_for(error)
                await asyncio.sleep(delay)
            else:
                self._readiness.ready(self._group)
                return

    async def _set_aside(self, record: Record, cause: Exception) -> None:
        if not isinstance(cause, UnreadableEventError):
            self._log.error("message.failed", type=_type_of(record), detail=describe(cause), exc_info=cause)
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
                self._measures.set_aside.inc()
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
        batch.add_done_callback(self._note_abandoned)
        await see_out(batch, grace_seconds=self._grace_seconds)

    def _note_abandoned(self, batch: "asyncio.Task[None]") -> None:
        if batch.cancelled():
            self._log.warning("consumer.batch_abandoned")


class _Measures:
    """What a consumer counts and times."""

    def __init__(self, metrics: Metrics, group: str) -> None:
        messages = metrics.counter(
            "cpro_consumer_messages_total", "Messages, by what became of them", ["group", "outcome"]
        )
        seconds = metrics.histogram("cpro_consumer_batch_seconds", "Time to handle a batch", ["group"])
        self.handled = messages.labels(group, "handled")
        self.set_aside = messages.labels(group, "set_aside")
        self.seconds = seconds.labels(group)
        self._lag = metrics.gauge(
            "cpro_consumer_lag_messages", "Messages that wait to be handled", ["group", "topic", "partition"]
        )
        self._group = group
        self._shown: set[TopicPartition] = set()

    async def look_at_lag(self, consumer: AIOKafkaConsumer) -> None:
        """Of the partitions that are ours: what is in them after what is committed."""
        places = consumer.assignment()
        ends = await consumer.end_offsets(places) if places else {}
        lags = {place: end - (await consumer.committed(place) or 0) for place, end in ends.items()}
        for gone in self._shown - lags.keys():
            self._lag.remove(*self._labels(gone))
        for place, lag in lags.items():
            self._lag.labels(*self._labels(place)).set(lag)
        self._shown = set(lags)

    def _labels(self, place: TopicPartition) -> tuple[str, str, str]:
        return self._group, place.topic, str(place.partition)


def _type_of(record: Record) -> str:
    return next((value.decode(errors="replace") for name, value in record.headers if name == "ce_type"), "")


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
