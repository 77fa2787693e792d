"""How consumer groups stand: whether anybody works for one, and how many messages are before it."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from cpro_platform.consuming import finish_connecting

_STATE, _MEMBERS = 2, 5
"""Where a described group has them."""


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """One group. Without members and with messages before it, it has stopped, or was never started."""

    group: str
    state: str
    """Kafka's word: `Stable`, `Empty`, `PreparingRebalance`, `Dead` …"""
    members: int
    behind: int
    """Messages of its topics that it has not handled yet: of every topic that it has committed on."""


class ConsumerGroups:
    """Asks Kafka."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers

    async def standings(self, groups: Iterable[str]) -> list[GroupStanding]:
        """How these groups stand, by name.

        Raises:
            aiokafka.errors.KafkaError: Kafka does not answer.
        """
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, enable_auto_commit=False)
        try:
            await admin.start()
            await finish_connecting(consumer)
            return [await _standing(admin, consumer, group) for group in sorted(set(groups))]
        finally:
            await consumer.stop()
            await admin.close()


async def _standing(admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, group: str) -> GroupStanding:
    (response,) = await admin.describe_consumer_groups([group])
    (described,) = response.groups
    committed = await admin.list_consumer_group_offsets(group)
    offsets = {place: one.offset for place, one in committed.items() if one.offset >= 0}
    places = await _partitions(admin, {place.topic for place in offsets})
    # Where it has never committed it has everything before it.
    begins = await consumer.beginning_offsets(places) if places else {}
    ends = await consumer.end_offsets(places) if places else {}
    behind = sum(max(0, end - max(begins[place], offsets.get(place, 0))) for place, end in ends.items())
    return GroupStanding(group, str(described[_STATE]), len(described[_MEMBERS]), behind)


async def _partitions(admin: AIOKafkaAdminClient, topics: set[str]) -> list[TopicPartition]:
    described = await admin.describe_topics(sorted(topics)) if topics else []
    return [TopicPartition(one["topic"], part["partition"]) for one in described for part in one["partitions"]]
