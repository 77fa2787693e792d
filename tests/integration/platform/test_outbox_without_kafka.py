"""A broker of these tests' own, which is stopped while others are connected to it."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaError

from cpro_embedded.kafka import KafkaServer
from cpro_platform.kafka import EventPublisher, OutgoingMessage
from cpro_platform.transience import is_transient
from cpro_test_support.consumers import Handler, commits, consuming, new_group
from cpro_test_support.depth import slow
from cpro_test_support.messages import own_topic

TIMEOUT_SECONDS = 2.0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    server = KafkaServer(tmp_path_factory.mktemp("own-kafka"))
    server.start()
    yield server
    server.stop()


@slow
async def test_a_publisher_says_within_its_time_that_kafka_has_gone_and_publishes_when_it_is_back(
    kafka: KafkaServer,
) -> None:
    topic = await own_topic(kafka.bootstrap)
    publisher = EventPublisher(kafka.bootstrap, client_id="tests", request_timeout_seconds=TIMEOUT_SECONDS)
    one, two, three = (OutgoingMessage.of(envelope) for envelope in topic.envelopes(1, 2, 3))
    more_than_a_buffer = [OutgoingMessage.of(envelope) for envelope in topic.envelopes(*[2] * 200, key="k" * 500)]
    await publisher.publish([one])

    await asyncio.to_thread(kafka.stop)
    started = time.monotonic()
    failures = await asyncio.gather(
        publisher.publish([two]), publisher.publish(more_than_a_buffer), return_exceptions=True
    )
    gave_up_after = time.monotonic() - started
    await asyncio.to_thread(kafka.start)
    await publisher.publish([three])
    await publisher.stop()

    assert [isinstance(failure, Exception) and is_transient(failure) for failure in failures] == [True, True]
    assert gave_up_after < 3 * TIMEOUT_SECONDS
    numbers = await topic.numbers()
    assert numbers[0] == 1
    assert numbers[-1] == 3


@slow
async def test_a_process_can_end_while_kafka_is_away(kafka: KafkaServer) -> None:
    topic = await own_topic(kafka.bootstrap)
    publisher = EventPublisher(kafka.bootstrap, client_id="tests", request_timeout_seconds=TIMEOUT_SECONDS)
    one, two = (OutgoingMessage.of(envelope) for envelope in topic.envelopes(1, 2))
    await publisher.publish([one])
    await asyncio.to_thread(kafka.stop)
    try:
        under_way = asyncio.create_task(publisher.publish([two]))

        async with asyncio.timeout(3 * TIMEOUT_SECONDS):
            await publisher.stop()
            with pytest.raises(KafkaError):
                await under_way
    finally:
        await asyncio.to_thread(kafka.start)


@slow
async def test_a_consumer_goes_on_after_the_broker_was_killed(kafka: KafkaServer) -> None:
    topic, group, handler = await own_topic(kafka.bootstrap), new_group(), Handler()
    await topic.receives(1, 2)
    async with consuming(topic, handler, group, session_timeout_seconds=6) as task:
        await handler.handles(1, 2)
        await commits(topic, group, 2)

        await asyncio.to_thread(kafka.kill)
        await asyncio.to_thread(kafka.start)
        await topic.receives(3, 4)

        await handler.handles(3, 4)
        await commits(topic, group, 4)
        assert not task.done()
