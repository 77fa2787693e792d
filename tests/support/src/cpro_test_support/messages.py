"""Topics of a test's own, with events to put on them, and what is on them in the end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from cpro_contracts.envelope import Envelope, Event
from cpro_contracts.topics import Topic, dead_letters_of
from cpro_platform.clock import SystemClock
from cpro_platform.kafka import EventPublisher, OutgoingMessage, Record, ensure_topics

DEADLINE_SECONDS = 30.0


class Numbered(Event):
    """An event with a number in it, and a key to say where it goes."""

    number: int
    goes_by: str = "one"

    def key(self) -> str:
        return self.goes_by

    def subject(self) -> str:
        return "0752387M"


@dataclass(frozen=True, slots=True)
class OwnTopic:
    """A topic that only one test uses, and its dead letters."""

    bootstrap: str
    name: str
    event: type[Numbered]

    def events(self, *numbers: int, key: str = "one") -> list[Event]:
        """Events for it."""
        return [self.event(number=number, goes_by=key) for number in numbers]

    def envelopes(self, *numbers: int, key: str = "one") -> list[Envelope]:
        """Events for it as they travel."""
        now = SystemClock().now()
        return [Envelope(uuid4(), "/tests", now, event) for event in self.events(*numbers, key=key)]

    async def receives(self, *numbers: int, key: str = "one") -> None:
        """Publish events with these numbers."""
        await self.receives_raw([OutgoingMessage.of(envelope) for envelope in self.envelopes(*numbers, key=key)])

    async def receives_raw(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish whatever these are."""
        publisher = EventPublisher(self.bootstrap, client_id="tests")
        try:
            await publisher.publish(messages)
        finally:
            await publisher.stop()

    async def receives_in_partition(self, partition: int, *numbers: int) -> None:
        """Publish events with these numbers to one partition, whatever their key."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True)
        await producer.start()
        try:
            for envelope in self.envelopes(*numbers):
                await producer.send_and_wait(
                    self.name, envelope.payload(), b"one", partition=partition, headers=envelope.headers()
                )
        finally:
            await producer.stop()

    async def records(self) -> list[Record]:
        """All that is on it now, partition by partition."""
        return await records_of(self.bootstrap, self.name)

    async def numbers(self) -> list[int]:
        """The numbers of the events on it now, partition by partition."""
        return [number_of(record) for record in await self.records()]

    async def dead_letters(self) -> list[Record]:
        """What was set aside."""
        return await records_of(self.bootstrap, dead_letters_of(self.name))

    async def committed(self, group: str) -> int:
        """How many messages the group has behind it, over all partitions."""
        async with self._admin() as admin:
            offsets = await admin.list_consumer_group_offsets(group)
        return sum(max(found.offset, 0) for place, found in offsets.items() if place.topic == self.name)

    async def members(self, group: str) -> tuple[str, set[str]]:
        """The state of the group and the ids of its members."""
        async with self._admin() as admin:
            (response,) = await admin.describe_consumer_groups([group])
        (described,) = response.groups
        return described[2], {member[0] for member in described[5]}

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await _coordinator_there(admin)
            yield admin
        finally:
            await admin.close()


async def _coordinator_there(admin: AIOKafkaAdminClient) -> None:
    """The first group of a new broker makes it create the topic of the offsets, which takes a moment."""
    while True:
        try:
            await admin.find_coordinator("any")
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.05)
        else:
            return


async def own_topic(bootstrap: str, *, partitions: int = 1) -> OwnTopic:
    """Create a topic and its dead letters."""
    name = f"test.{uuid4().hex[:12]}"
    topics = [Topic(name, partitions, 3_600_000), Topic(dead_letters_of(name), 1, 3_600_000)]
    await ensure_topics(bootstrap, topics)

    class Happened(Numbered):
        """It happened."""

        type: ClassVar[str] = f"{name}.happened.v1"
        topic: ClassVar[str] = name

    return OwnTopic(bootstrap, name, Happened)


async def records_of(bootstrap: str, topic: str) -> list[Record]:
    """All that is on a topic now, partition by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (partitions := await _partitions(consumer, topic)):
                pass
            places = [TopicPartition(topic, partition) for partition in sorted(partitions)]
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            found: dict[TopicPartition, list[Record]] = {place: [] for place in places}
            while any([await consumer.position(place) < ends[place] for place in places]):
                for place, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[place] += records
    finally:
        await consumer.stop()
    return [record for place in places for record in found[place]]


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    await consumer.topics()
    return consumer.partitions_for_topic(topic) or set()


def number_of(record: Record) -> int:
    """The number of the event in a record."""
    event = Envelope.read(record.headers, record.value).event
    assert isinstance(event, Numbered)
    return event.number


class Gate:
    """A port where nothing listens until it is opened; then it leads to `target` (`host:port`)."""

    def __init__(self, target: str, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self._target = target
        self._port = port
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self._port)

    async def close(self) -> None:
        """Let nothing new through."""
        if self._server:
            self._server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


@asynccontextmanager
async def gate(target: str, port: int) -> AsyncIterator[Gate]:
    """A gate that is closed at first."""
    made = Gate(target, port)
    try:
        yield made
    finally:
        await made.close()
