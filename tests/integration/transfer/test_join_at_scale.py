"""The join with many pupils, from the beginning again, and in two processes: on Kafka, held to the rule."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from cpro_contracts import topics
from cpro_contracts.envelope import Envelope, Event
from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent
from cpro_platform.kafka import OutgoingMessage
from cpro_test_support.records import Amounts
from cpro_test_support.transfers import TransferWorld, eventually, new_uai
from cpro_transfer.bootstrap import Work

MANY = 5_000
READ = (topics.PUPIL, topics.ESTABLISHMENT)


@pytest.fixture
async def crowd(world: TransferWorld) -> AsyncIterator[TransferWorld]:
    """A world whose events are taken off the topics afterwards: the worlds of other tests read them all."""
    yield world
    admin = await _admin(world)
    try:
        ends = await _ends(world)
        await admin.delete_records({place: RecordsToDelete(before_offset=end) for place, end in ends.items()})
    finally:
        await admin.close()


async def _admin(world: TransferWorld) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=world.config.kafka.bootstrap_servers)
    await admin.start()
    return admin


async def _ends(world: TransferWorld) -> dict[TopicPartition, int]:
    """Where the partitions of the pupils' topic that hold anything end."""
    consumer = AIOKafkaConsumer(bootstrap_servers=world.config.kafka.bootstrap_servers)
    await consumer.start()
    try:
        places = [
            TopicPartition(topic.name, number)
            for topic in topics.ALL
            if topic.name == topics.PUPIL
            for number in range(topic.partitions)
        ]
        begin, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return {place: end for place, end in ends.items() if begin[place] < end}
    finally:
        await consumer.stop()


async def _at_the_end(world: TransferWorld, group: str) -> None:
    """Wait until the group has all pupils' events behind it."""
    admin, ends = await _admin(world), await _ends(world)

    async def behind() -> bool | None:
        try:
            offsets = await admin.list_consumer_group_offsets(group)
        except KafkaError:
            return None  # the group is not there yet
        reached = {place: said.offset for place, said in offsets.items()}
        return True if all(reached.get(place, 0) >= end for place, end in ends.items()) else None

    try:
        await eventually(behind, within_seconds=90)
    finally:
        await admin.close()


@asynccontextmanager
async def joining(world: TransferWorld, group: str) -> AsyncIterator[None]:
    async with world.service(Work.JOIN, join_group=group):
        yield


async def publish(world: TransferWorld, events: Sequence[Event]) -> None:
    now = datetime.now(UTC)
    for start in range(0, len(events), 1_000):
        chunk = events[start : start + 1_000]
        await world.schools.publisher.publish(
            [OutgoingMessage.of(Envelope(uuid4(), "/tests", now, event)) for event in chunk]
        )


def says(who: str, kind: type[PupilEvent], uai: str, revision: int) -> PupilEvent:
    return kind(
        match_key=f"ine:1:{who}", uai=uai, pupil_id=uuid4(), revision=revision, occurred_at=datetime.now(UTC),
        source=EnrolmentSource.SIECLE, ine_status=IneStatus.TRUSTED,
    )  # fmt: skip


def opens(uai: str, revision: int, *, enabled: bool = True) -> TransferOptInChanged:
    return TransferOptInChanged(
        uai=uai, enabled=enabled, roster_source=RosterSource.SIECLE, revision=revision, occurred_at=datetime.now(UTC)
    )


async def fetch(world: TransferWorld, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with world.database.begin() as tx:
        return await (await tx.execute(query, arguments)).fetchall()


async def rows(world: TransferWorld) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the join writes."""
    orders = {"enrolment": "match_key, uai", "establishment": "uai", "transfer": "id", "outbox": "position"}
    return {table: await fetch(world, f"SELECT * FROM {table} ORDER BY {order}") for table, order in orders.items()}


async def test_a_late_opt_in_plans_thousands_who_waited_in_one_transaction(crowd: TransferWorld) -> None:
    origin, destination = new_uai(), new_uai()
    late = uuid4().hex[:8]
    waiting: list[Event] = [opens(destination, 1)]
    for number in range(MANY):
        for kind, uai in ((PupilDeactivated, origin), (PupilCreated, destination)):
            waiting.append(says(f"{late}-{number}", kind, uai, number + 1))
    await publish(crowd, waiting)

    async with joining(crowd, crowd.config.join_group):
        await _at_the_end(crowd, crowd.config.join_group)
        assert await fetch(crowd, "SELECT 1 FROM transfer WHERE origin_uai = %s", origin) == []
        await publish(crowd, [opens(origin, 1)])

        async def planned() -> list[tuple[Any, ...]] | None:
            found = await fetch(
                crowd,
                "SELECT count(*), count(DISTINCT planned_at), count(DISTINCT xmin::text) FROM transfer"
                " WHERE origin_uai = %s AND destination_uai = %s AND state = 'planned'",
                origin,
                destination,
            )
            return found if found[0][0] else None

        assert await eventually(planned, within_seconds=60) == [(MANY, 1, 1)]


async def test_reading_every_topic_again_under_another_group_changes_no_row(world: TransferWorld) -> None:
    origin, _, _ = await world.a_pupil_changes_school(Amounts(reports=1, attachments=0))
    other, closed, _ = await world.a_pupil_changes_school(Amounts(reports=1, attachments=0))
    async with world.service(Work.JOIN | Work.MOVE):
        await world.ends("completed", number=2)
        await closed.opts_out()
        await eventually(lambda: _closed(world, closed.uai))
        await _at_the_end(world, world.config.join_group)
    before = await rows(world)

    group = f"again-{uuid4().hex[:8]}"
    async with joining(world, group):
        await _at_the_end(world, group)

    assert {row["origin_uai"] for row in await world.transfers(state="completed")} == {origin.uai, other.uai}
    assert await rows(world) == before


async def _closed(world: TransferWorld, uai: str) -> bool | None:
    found = await fetch(world, "SELECT 1 FROM establishment WHERE uai = %s AND NOT opted_in", uai)
    return True if found else None


async def test_two_processes_that_share_the_partitions_miss_nothing_and_never_lock_each_other_out(
    crowd: TransferWorld,
) -> None:
    uais, who = [new_uai() for _ in range(4)], uuid4().hex[:8]
    revisions = count(1)

    with crowd.process("join") as one, crowd.process("join") as other:
        await asyncio.gather(one.start(), other.start())

        async def both_share() -> bool | None:
            with suppress(GroupCoordinatorNotAvailableError):  # a new broker has none until somebody asks for it
                return True if await _members(crowd) == 2 else None
            return None

        await eventually(both_share)
        for turn in range(6):
            doors = [opens(uai, next(revisions), enabled=turn % 2 == 1) for uai in uais]
            pupils = [
                says(f"{who}-{turn}-{number}", kind, uai, next(revisions))
                for number in range(60)
                for kind, uai in (
                    (PupilDeactivated, uais[number % 4]),
                    (PupilCreated, uais[(number + 1 + number // 4 % 3) % 4]),
                )
            ]
            await asyncio.gather(publish(crowd, pupils), publish(crowd, doors))

        async def all_planned() -> bool | None:
            found = await fetch(crowd, _STATES, uais)
            return True if found == [("planned", 6 * 60)] else None

        await eventually(all_planned, lambda: fetch(crowd, _STATES, uais), within_seconds=90)

    await fetch(crowd, "SELECT pg_stat_force_next_flush()")
    assert await fetch(crowd, _DEADLOCKS) == [(0,)]


_STATES = "SELECT state, count(*) FROM transfer WHERE origin_uai = ANY (%s) GROUP BY state"
_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


async def _members(world: TransferWorld) -> int:
    """How many joins share the partitions."""
    admin = await _admin(world)
    try:
        (answer,) = await admin.describe_consumer_groups([world.config.join_group])
        (group,) = answer.groups
        return len(group[5])
    finally:
        await admin.close()
