"""The workers of an installation as Kafka sees them: who is in the group, and whose a school is."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.partitioner import murmur2

from cpro_contracts import topics
from cpro_siecle_import.config import Config
from cpro_test_support.transfers import eventually

(_JOBS,) = (topic for topic in topics.ALL if topic.name == topics.SIECLE_IMPORT_JOBS)


def partition_of(uai: str) -> int:
    """The partition of a school's jobs."""
    return int((murmur2(uai.encode()) & 0x7FFFFFFF) % _JOBS.partitions)


async def shares(config: Config, workers: int) -> list[frozenset[int]]:
    """The partitions of each worker, once so many have divided all of them among themselves."""
    admin = AIOKafkaAdminClient(bootstrap_servers=config.kafka.bootstrap_servers)
    await admin.start()

    async def divided() -> list[frozenset[int]] | None:
        found = await _assigned(admin, config.consumer_group)
        complete = sorted(number for share in found for number in share) == list(range(_JOBS.partitions))
        return found if len(found) == workers and complete else None

    try:
        settled: list[frozenset[int]] = await eventually(divided, lambda: _assigned(admin, config.consumer_group))
    finally:
        await admin.close()
    return settled


async def _assigned(admin: AIOKafkaAdminClient, group: str) -> list[frozenset[int]]:
    try:
        (response,) = await admin.describe_consumer_groups([group])
    except GroupCoordinatorNotAvailableError:  # the very first group of a broker
        return []
    (_, _, state, _, _, members, *_) = response.groups[0]
    if state != "Stable":
        return []
    shares = []
    for member in members:
        assignment = ConsumerProtocolMemberAssignment.decode(member[-1])
        shares.append(frozenset(number for _, numbers in assignment.assignment for number in numbers))
    return shares
