"""Replays of event logs: what to compare before and after, and when the join has heard it all."""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cpro_contracts import topics
from cpro_platform.kafka import Record
from cpro_test_support.letters import Desk
from cpro_test_support.messages import records_of
from cpro_test_support.reconciling import row_versions
from cpro_test_support.transfers import TransferWorld, eventually
from cpro_transfer.adapters.event_logs import REPLAY_ATTRIBUTE

PATH = "/v1/support/event-replays"
_HEARD = (topics.PUPIL, topics.ESTABLISHMENT)
_OF_REPLAYS = ("event_replay", "event_replay_school", "dead_letter", "audit_entry")


async def all_rows(world: TransferWorld) -> dict[str, list[tuple[Any, ...]]]:
    """Which version each row has, in the transfer database and in every school's; but for the replays themselves.

    Other tests' schools are on the same topics: transfers between them, whom this directory does not know, are tried
    again all the time.
    """
    found = await row_versions(world)
    async with world.database.begin() as tx:
        query = "SELECT 'transfer', ctid::text, xmin::text FROM transfer WHERE origin_uai = ANY (%s)"
        own_transfers = await (await tx.execute(query, (list(world.schools.known),))).fetchall()
    others = [row for row in found["transfers"] if row[0] not in {*_OF_REPLAYS, "transfer"}]
    return found | {"transfers": [*others, *own_transfers]}


async def replayed_messages(world: TransferWorld, replay_id: str) -> list[Record]:
    """What a replay has published, topic by topic and partition by partition."""
    mark = (REPLAY_ATTRIBUTE, replay_id.encode())
    bootstrap = world.schools.endpoints.kafka_bootstrap
    return [record for topic in _HEARD for record in await records_of(bootstrap, topic) if mark in record.headers]


async def join_caught_up(world: TransferWorld) -> None:
    """Wait until the join has committed all that is on its topics now."""
    bootstrap = world.schools.endpoints.kafka_bootstrap
    consumer = AIOKafkaConsumer(*_HEARD, bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        ends = {place: end for place, end in (await consumer.end_offsets(consumer.assignment())).items() if end}
    finally:
        await consumer.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()

    async def behind() -> dict[TopicPartition, int]:
        committed = await admin.list_consumer_group_offsets(world.config.join_group)
        return {place: end for place, end in ends.items() if place not in committed or committed[place].offset < end}

    async def caught_up() -> bool | None:
        return None if await behind() else True

    try:
        await eventually(caught_up, behind)
    finally:
        await admin.close()


async def asked(desk: Desk, **selection: Any) -> dict[str, Any]:
    """Ask for a replay and wait until it is counted."""
    answer = await desk.client.post(PATH, json={"ticket": "SUP-42"} | selection)
    assert answer.status_code == 202, answer.text
    return await reaches(desk, answer.json()["id"], "counted")


async def reaches(desk: Desk, replay_id: str, state: str) -> dict[str, Any]:
    """Wait until a replay is in this state."""

    async def there() -> dict[str, Any] | None:
        found: dict[str, Any] = (await desk.client.get(f"{PATH}/{replay_id}")).json()
        return found if found["state"] == state else None

    async def seen() -> object:
        return (await desk.client.get(f"{PATH}/{replay_id}")).json()

    reached: dict[str, Any] = await eventually(there, seen)
    return reached


async def replayed(desk: Desk, **selection: Any) -> dict[str, Any]:
    """Ask for a replay, start it, and wait for its end."""
    counted = await asked(desk, **selection)
    started = await desk.client.post(f"{PATH}/{counted['id']}/start")
    assert started.status_code == 200, started.text
    return await reaches(desk, counted["id"], "completed")
