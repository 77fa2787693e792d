"""Three brokers, three copies of everything, two needed: each is killed in its turn while pupils move, and nothing stops."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from cpro_contracts import topics
from cpro_embedded.kafka import KafkaCluster
from cpro_embedded.stack import EmbeddedStack
from cpro_test_support.faults import tally
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.load import Load
from cpro_test_support.faults.processes import Zygote
from cpro_test_support.transfers import environment_of, eventually, opened_world

PUPILS = 40
MOVES_WITHOUT_IT = 15
SESSION_SECONDS = 3.0
TOPICS = [topics.PUPIL, topics.ESTABLISHMENT, topics.TRANSFER]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    brokers = KafkaCluster(tmp_path_factory.mktemp("brokers"))
    brokers.start()
    yield brokers
    brokers.stop()


@pytest.fixture
async def replicated(servers: EmbeddedStack, cluster: KafkaCluster, zygote: Zygote) -> AsyncIterator[Journeys]:
    """A world whose events are on the three brokers."""
    endpoints = replace(servers.endpoints, kafka_bootstrap=cluster.bootstrap)
    kafka = {"bootstrap_servers": cluster.bootstrap, "replication_factor": 3}
    async with opened_world(endpoints, kafka=kafka, consumer_session_seconds=SESSION_SECONDS) as world:
        yield Journeys(world)
    await zygote.end()


async def test_each_broker_is_killed_under_load_and_every_event_and_every_record_arrives(
    replicated: Journeys, cluster: KafkaCluster, zygote: Zygote
) -> None:
    seed = random.randrange(1_000_000)
    tally.seed("brokers", seed)
    load = Load(replicated, random.Random(seed))
    await load.begins(PUPILS)
    environment = environment_of(replicated.world.config)
    processes = [await zygote.start("transfer", command, environment) for command in ("join", "relay", "move", "move")]

    for broker in cluster.brokers:
        await _all_in_sync(cluster.bootstrap)
        before = await load.completed()
        moving = asyncio.create_task(load.all_move())
        await asyncio.to_thread(broker.kill)
        await moving
        await replicated.publish()
        await _moves_go_on(load, before + MOVES_WITHOUT_IT)
        await asyncio.to_thread(broker.start)
        tally.outage("broker", "load of moves", "kill")
    await load.rests(within_seconds=120)
    findings = await replicated.examined(published=True)

    assert findings.nothing, f"seed {seed}: {findings}"
    assert all(process.running for process in processes)


async def _moves_go_on(load: Load, completed: int) -> None:
    async def so_many() -> bool | None:
        return True if await load.completed() >= completed else None

    await eventually(so_many, load.world.transfers, within_seconds=120)


async def _all_in_sync(bootstrap: str) -> None:
    """Until each partition is on all three brokers: one more may go."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def three_of_each() -> bool | None:
        described = await admin.describe_topics([*TOPICS, "__consumer_offsets"])
        replicas = [len(partition["isr"]) for topic in described for partition in topic["partitions"]]
        return True if replicas and min(replicas) == 3 else None

    try:
        await eventually(three_of_each, lambda: admin.describe_topics(TOPICS), within_seconds=90)
    finally:
        await admin.close()
