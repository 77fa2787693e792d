"""The embedded servers are real: they answer, survive a crash, and never outlive who started them."""

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError
from minio import Minio
from minio.commonconfig import CopySource

from cpro_embedded.endpoints import Endpoints
from cpro_embedded.errors import FolderInUseError
from cpro_embedded.guard import process_start
from cpro_embedded.stack import EmbeddedStack
from cpro_test_support.depth import in_part, slow

TOPIC = "stack.check"
BUCKET = "stack-check"
# What the starter of another process does once its stack is up: say the pids, then wait for its end.
STARTER = """
import json, pathlib, signal, sys, time
from cpro_embedded.stack import EmbeddedStack
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background has it ignored
with EmbeddedStack(pathlib.Path(sys.argv[1])) as stack:
    servers = (stack.kafka, stack.object_store, *stack.postgres.values())
    print(json.dumps([server.process.pid for server in servers]), flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), clusters=("north", "south")) as stack:
        yield stack


def s3_client(endpoints: Endpoints) -> Minio:
    return Minio(
        endpoint=endpoints.s3_endpoint,
        access_key=endpoints.s3_access_key,
        secret_key=endpoints.s3_secret_key,
        secure=endpoints.s3_secure,
    )


async def create_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, value: bytes, within_seconds: int = 30) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", request_timeout_ms=within_seconds * 1000
    ) as producer:
        await producer.send_and_wait(topic, value)


async def first_message(bootstrap: str, topic: str, group: str | None = None) -> bytes | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    if group is None:
        consumer.assign([TopicPartition(topic, 0)])
    else:
        consumer.subscribe([topic])
    async with consumer:
        message = await asyncio.wait_for(consumer.getone(), timeout=30)
    value: bytes | None = message.value
    return value


def select(url: str, query: str) -> object:
    with psycopg.connect(f"{url}/postgres") as connection:
        row = connection.execute(query).fetchone()
    return row[0] if row else None


def eventually(condition: Callable[[], bool], within_seconds: float = 30) -> bool:
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("cluster", ["north", "south"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [("fsync", "on"), ("timezone", "UTC"), ("jit", "off"), ("max_connections", "300"), ("server_encoding", "UTF8")],
)
def test_every_cluster_answers_with_the_settings_of_production(
    stack: EmbeddedStack, cluster: str, setting: str, value: str
) -> None:
    url = stack.endpoints.postgres_clusters[cluster]

    assert select(url, f"SHOW {setting}") == value


def test_case_and_order_do_not_depend_on_the_machine(stack: EmbeddedStack) -> None:
    url = stack.endpoints.postgres_clusters["north"]

    assert select(url, "SELECT lower('ÉLÈVE')") == "élève"
    assert select(url, "SELECT string_agg(n, '' ORDER BY n) FROM unnest(ARRAY['b', 'é', 'A', 'a', 'B']) n") == "ABabé"


def test_a_wrong_password_is_refused(stack: EmbeddedStack) -> None:
    cluster = stack.postgres["north"]

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://cpro:wrong@127.0.0.1:{cluster.port}/postgres")


async def test_a_message_comes_back_alone_and_in_a_group(stack: EmbeddedStack) -> None:
    bootstrap = stack.endpoints.kafka_bootstrap
    await create_topic(bootstrap, TOPIC)

    await produce(bootstrap, TOPIC, b"hello")

    assert await first_message(bootstrap, TOPIC) == b"hello"
    assert await first_message(bootstrap, TOPIC, group="stack-check") == b"hello"


async def test_a_topic_is_never_made_by_accident(stack: EmbeddedStack) -> None:
    with pytest.raises(UnknownTopicOrPartitionError):
        await produce(stack.endpoints.kafka_bootstrap, "a.topic.nobody.made", b"lost", within_seconds=2)


def test_an_object_can_be_put_read_copied_listed_and_removed(stack: EmbeddedStack) -> None:
    client = s3_client(stack.endpoints)
    client.make_bucket(bucket_name=BUCKET)
    content = bytes(range(256)) * 40_000  # 10 MB: several parts

    client.put_object(bucket_name=BUCKET, object_name="a/1", data=io.BytesIO(content), length=-1, part_size=5 << 20)
    source = CopySource(bucket_name=BUCKET, object_name="a/1")
    client.copy_object(bucket_name=BUCKET, object_name="b/1", source=source)
    client.remove_object(bucket_name=BUCKET, object_name="a/1")

    with client.get_object(bucket_name=BUCKET, object_name="b/1") as answer:
        assert answer.read() == content
    assert client.stat_object(bucket_name=BUCKET, object_name="b/1").size == len(content)
    assert [found.object_name for found in client.list_objects(bucket_name=BUCKET, recursive=True)] == ["b/1"]


def test_a_postgres_that_crashed_comes_back_with_its_data(stack: EmbeddedStack) -> None:
    cluster = stack.postgres["south"]
    with psycopg.connect(f"{cluster.url}/postgres") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")

    cluster.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"{cluster.url}/postgres")
    cluster.start()

    assert select(cluster.url, "SELECT n FROM kept") == 1


@slow
async def test_a_kafka_that_crashed_comes_back_with_its_messages(stack: EmbeddedStack) -> None:
    bootstrap = stack.endpoints.kafka_bootstrap
    await create_topic(bootstrap, "stack.crash")
    await produce(bootstrap, "stack.crash", b"kept")

    await asyncio.to_thread(stack.kafka.kill)
    await asyncio.to_thread(stack.kafka.start)

    assert await first_message(bootstrap, "stack.crash") == b"kept"


@slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_an_object_store_comes_back_with_its_objects(stack: EmbeddedStack, end: str) -> None:
    client = s3_client(stack.endpoints)
    bucket = f"stack-{end}"
    client.make_bucket(bucket_name=bucket)
    client.put_object(bucket_name=bucket, object_name="kept", data=io.BytesIO(b"kept"), length=4)

    getattr(stack.object_store, end)()
    stack.object_store.start()

    client.put_object(bucket_name=bucket, object_name="new", data=io.BytesIO(b"new"), length=3)
    for name in ("kept", "new"):
        with client.get_object(bucket_name=bucket, object_name=name) as answer:
            assert answer.read() == name.encode()


def test_a_folder_in_use_is_not_touched(stack: EmbeddedStack) -> None:
    second = EmbeddedStack(stack.folder, clusters=("north",))

    with pytest.raises(FolderInUseError):
        second.start()

    assert select(stack.endpoints.postgres_clusters["north"], "SELECT 1") == 1


@pytest.mark.parametrize("how", in_part([signal.SIGKILL, signal.SIGINT, signal.SIGTERM]))
def test_nothing_outlives_the_starter_and_its_folder_can_be_used_again(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        pids: list[int] = json.loads(first.stdout.readline())
        assert len(pids) == 3
        assert all(process_start(pid) for pid in pids)
        first.send_signal(how)

    if how == signal.SIGKILL:
        # Whoever starts again at once need not wait for the earlier servers' end: they are ended first.
        with EmbeddedStack(tmp_path) as again:
            assert select(again.endpoints.postgres_clusters["main"], "SELECT 1") == 1
    assert eventually(lambda: not any(process_start(pid) for pid in pids))
