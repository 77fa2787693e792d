"""Publishing to Kafka, and the topics of an installation."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerClosed,
    TopicAlreadyExistsError,
    for_code,
)

from cpro_contracts.envelope import Envelope
from cpro_contracts.topics import Topic
from cpro_platform.metrics import Metrics
from cpro_platform.retry import backoff

Header = tuple[str, bytes]


class Record(Protocol):
    """A message as it was read from a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message ready for a topic."""

    topic: str
    key: bytes | None
    headers: list[Header]
    value: bytes | None

    @classmethod
    def of(cls, envelope: Envelope) -> Self:
        """The message that carries this event."""
        event = envelope.event
        return cls(event.topic, event.key().encode(), envelope.headers(), envelope.payload())


class EventPublisher:
    """Sends messages and returns once every broker in sync has them.

    Idempotent producer, `acks=all`: a retry inside a session is not a duplicate. A crash between the acknowledgement
    and the note of it can still publish twice; consumers are built for that.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        client_id: str,
        request_timeout_seconds: float = 15,
        metrics: Metrics | None = None,
    ) -> None:
        metrics = metrics or Metrics()
        self._published = metrics.counter("cpro_events_published_total", "Events that Kafka has, by topic", ["topic"])
        self._seconds = metrics.histogram("cpro_events_publish_seconds", "Time until Kafka had a batch of events")
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._timeout_seconds = request_timeout_seconds
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Send and wait for every acknowledgement.

        Raises:
            aiokafka.errors.KafkaError: some were not acknowledged in time; which ones is not known, so send all again.
        """
        if not messages:
            return
        started_at = time.perf_counter()
        producer = await self._started()
        sent: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(self._timeout_seconds):
                for message in messages:
                    sent.append(await producer.send(message.topic, message.value, message.key, headers=message.headers))
                await asyncio.gather(*sent)
        except TimeoutError:
            await self._give_up(producer)
            raise KafkaTimeoutError(f"not acknowledged within {self._timeout_seconds} s") from None
        except ProducerClosed:
            raise KafkaConnectionError("another call has given up on Kafka") from None
        except KafkaError as error:
            if not error.retriable:
                await self._give_up(producer)  # a producer that lost its sequence refuses everything from then on
            raise
        finally:
            _let_be(sent)
        self._seconds.observe(time.perf_counter() - started_at)
        for topic, number in Counter(message.topic for message in messages).items():
            self._published.labels(topic).inc(number)

    async def stop(self) -> None:
        """Send what is buffered, unless Kafka is away for too long, and close."""
        async with self._starting:
            producer, self._producer = self._producer, None
            if producer:
                await _close(producer, flush_seconds=self._timeout_seconds)

    async def _give_up(self, producer: AIOKafkaProducer) -> None:
        """Forget this producer and what it holds; the next call begins with a new one."""
        async with self._starting:
            if self._producer is producer:
                self._producer = None
                await _close(producer, flush_seconds=0)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                starting = asyncio.create_task(self._start())
                try:
                    await asyncio.shield(starting)
                except asyncio.CancelledError:
                    # Cancelled while it connects, aiokafka would lose the connection: let it finish, `stop` closes it.
                    await asyncio.gather(starting, return_exceptions=True)
                    raise
                return starting.result()
            return self._producer

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(self._timeout_seconds * 1000),
            linger_ms=0,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return producer


def _let_be(sent: Iterable[asyncio.Future[object]]) -> None:
    """Nobody waits for these any more: neither for their outcome nor for their error."""
    for future in sent:
        if not future.cancel() and not future.cancelled():
            future.exception()


async def _close(producer: AIOKafkaProducer, *, flush_seconds: float) -> None:
    """Close, whether or not Kafka answers.

    aiokafka tries an idempotent batch again for ever, flushes before it closes and has no way to give up; so its
    sending task is ended from here.
    """
    closing = asyncio.create_task(producer.stop())
    await asyncio.wait({closing}, timeout=flush_seconds)
    if not closing.done():
        producer._sender.sender_task.cancel()
        await closing
        buffer = producer._message_accumulator
        for batch in [batch for batches in buffer._batches.values() for batch in batches]:
            buffer._pending_batches.add(batch)  # where a callback of aiokafka takes it out of again
            batch.drain_ready()
            batch.failure(KafkaTimeoutError("given up"))


async def ensure_topics(bootstrap_servers: str, topics: Iterable[Topic], *, replication_factor: int = 1) -> None:
    """Create the topics that are missing. Leaves existing ones as they are: changing them is an operator's decision.

    Raises:
        aiokafka.errors.KafkaError: the cluster refused one, or did not answer within a minute.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="cpro-topics")
    await _start(admin)
    try:
        wanted = [
            NewTopic(topic.name, topic.partitions, replication_factor, topic_configs=topic.config()) for topic in topics
        ]
        response = await admin.create_topics(wanted)
        for name, code, *_ in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(name)
    finally:
        await admin.close()


async def _start(admin: AIOKafkaAdminClient) -> None:
    async with asyncio.timeout(60):
        for delay in backoff(longest_seconds=2):
            try:
                await admin.start()
            except KafkaConnectionError:
                await asyncio.sleep(delay)
            else:
                return
