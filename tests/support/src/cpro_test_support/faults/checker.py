"""Looks at everything after the faults: every database, the store, the events. Shares no code with the mover.

| finding   | what it says                                                                                        |
|-----------|-----------------------------------------------------------------------------------------------------|
| `lost`    | a record is in no database or is not what was written; a file can't be read, or has other bytes     |
| `doubled` | a record is in two databases; a transfer has said twice that it is completed                        |
| `half`    | a hold, a note of an object to remove, an object that no row names, receipts that differ or miss    |
| `stuck`   | a transfer that has not ended, records that did not follow their pupil, an event that nobody sent   |
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from aiokafka import AIOKafkaConsumer
from psycopg.rows import dict_row

from cpro_test_support.faults import tally
from cpro_test_support.records import verify
from cpro_test_support.transfers import TransferWorld

Rows = list[dict[str, Any]]
_AT_BOTH_ENDS = ("tables", "origin_opt_in", "destination_opt_in", "origin_import_id", "destination_import_id")
_OVER = {"completed", "cancelled", "undone"}
_READ_SECONDS = 30.0


@dataclass(slots=True)
class Findings:
    """What is wrong, in words. All empty: as if there had been no fault."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {end: len(getattr(self, end)) for end in tally.ENDS}

    @property
    def nothing(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts().values())


async def examine(
    world: TransferWorld, expected: Mapping[UUID, str], *, moves: int, published: bool = False
) -> Findings:
    """Compare everything with what was seeded, and count it into the tally of the run.

    Args:
        world: The schools, their store and the transfer database. Connections are made anew: there was an outage.
        expected: For each pupil that records were seeded for, by the id at that time, the school where they belong now.
        moves: How many transfers were completed since the last examination.
        published: Whether a relay was at work, so that every event must be on Kafka by now.
    """
    findings = Findings()
    conninfos = await _conninfos(world)
    await _records(world, conninfos, expected, findings)
    tenants = {uai: await _tenant(conninfo) for uai, conninfo in conninfos.items()}
    _tenants_at_rest(tenants, findings)
    await _objects(world, tenants, findings)
    transfers = await states(world)
    events = await _rows(world.config.database.conninfo, "SELECT * FROM outbox ORDER BY position")
    findings.stuck += [
        f"transfer {t['id']} is {t['state']} ({t['reason']})" for t in transfers if t["state"] not in _OVER
    ]
    _receipts(transfers, tenants, findings)
    _events(transfers, events, findings)
    if published:
        said = [*events, *(event for tenant in tenants.values() for event in tenant["outbox"])]
        await _published(world.config.kafka.bootstrap_servers, said, findings)
    tally.ended(findings.counts())
    tally.moved(moves)
    return findings


async def unfinished(world: TransferWorld) -> int:
    """How many transfers out of these schools have not ended."""
    (row,) = await _rows(
        world.config.database.conninfo,
        "SELECT count(*) AS number FROM transfer WHERE origin_uai = ANY (%s) AND state <> ALL (%s)",
        [*world.schools.known],
        [*_OVER],
    )
    return int(row["number"])


async def unpublished(world: TransferWorld) -> int:
    """How many events of the transfer service nobody has sent."""
    (row,) = await _rows(
        world.config.database.conninfo, "SELECT count(*) AS number FROM outbox WHERE published_at IS NULL"
    )
    return int(row["number"])


async def states(world: TransferWorld) -> Rows:
    """The transfers out of these schools: the join also hears of those of other tests, which are on the same topics."""
    return await _rows(
        world.config.database.conninfo,
        "SELECT * FROM transfer WHERE origin_uai = ANY (%s) ORDER BY planned_at, id",
        [*world.schools.known],
    )


async def _records(
    world: TransferWorld, conninfos: Mapping[str, str], expected: Mapping[UUID, str], findings: Findings
) -> None:
    verdict = await verify(world.schools.seeded, conninfos, world.schools.store)
    findings.lost += [f"{table} {row} is nowhere" for table, row in verdict.lost]
    findings.lost += [f"{table} {row} has other values" for table, row in verdict.changed]
    findings.lost += [f"the file of attachment {row} can't be read" for row in verdict.broken_files]
    findings.doubled += [f"{table} {row} is in two databases" for table, row in verdict.doubled]
    owners = world.schools.seeded.owners
    findings.stuck += [
        f"{key[0]} {key[1]} is at {place}, its pupil at {expected[owners[key]]}"
        for key, place in verdict.places.items()
        if expected[owners[key]] != place
    ]


def _tenants_at_rest(tenants: Mapping[str, Mapping[str, Rows]], findings: Findings) -> None:
    for uai, tenant in tenants.items():
        findings.half += [f"{uai} holds pupil {hold['pupil_id']}" for hold in tenant["transfer_hold"]]
        findings.half += [f"{uai} has yet to remove {it['object_key']}" for it in tenant["transfer_object_removal"]]


async def _objects(world: TransferWorld, tenants: Mapping[str, Mapping[str, Rows]], findings: Findings) -> None:
    """Under each school's part of the store lie the files that its rows name, and nothing else."""
    for uai, tenant in tenants.items():
        stored = {entry.key for entry in await world.schools.store.list(f"tenants/{uai}/")}
        named = {row["object_key"] for row in tenant["attachment"]}
        findings.half += [f"no row names the object {key}" for key in stored - named]


def _receipts(transfers: Rows, tenants: Mapping[str, Mapping[str, Rows]], findings: Findings) -> None:
    """Both ends of a completed transfer say the same; of any other, neither end says anything."""
    by_place = {
        (uai, receipt["direction"], receipt["transfer_id"]): receipt
        for uai, tenant in tenants.items()
        for receipt in tenant["transfer_receipt"]
    }
    for transfer in transfers:
        left = by_place.pop((transfer["origin_uai"], "outgoing", transfer["id"]), None)
        arrived = by_place.pop((transfer["destination_uai"], "incoming", transfer["id"]), None)
        if transfer["state"] != "completed":
            if left or arrived:
                findings.half.append(f"transfer {transfer['id']} is {transfer['state']} and has a receipt")
        elif left is None or arrived is None:
            findings.half.append(f"transfer {transfer['id']} lacks a receipt")
        elif any(left[column] != arrived[column] for column in _AT_BOTH_ENDS):
            findings.half.append(f"the receipts of transfer {transfer['id']} differ")
    findings.half += [f"{uai} has a receipt of unknown transfer {unknown}" for uai, _, unknown in by_place]


def _events(transfers: Rows, events: Rows, findings: Findings) -> None:
    completed = Counter(
        event["payload"]["transfer_id"] for event in events if event["type"] == "cpro.transfer.completed.v1"
    )
    for transfer in transfers:
        said, due = completed[str(transfer["id"])], int(transfer["state"] == "completed")
        if said > due:
            findings.doubled.append(f"transfer {transfer['id']} is said {said} times to be completed")
        elif said < due:
            findings.lost.append(f"nobody is told that transfer {transfer['id']} is completed")


async def _published(bootstrap: str, events: Rows, findings: Findings) -> None:
    on_kafka = await ids_on_topics(bootstrap, {event["topic"] for event in events})
    findings.lost += [
        f"{event['type']} {event['id']} is marked as published and not on Kafka"
        for event in events
        if event["published_at"] and str(event["id"]) not in on_kafka
    ]
    findings.stuck += [
        f"{event['type']} {event['id']} is not published" for event in events if not event["published_at"]
    ]


async def ids_on_topics(bootstrap: str, topics: Iterable[str]) -> Counter[str]:
    """The ids of all events on these topics, and how often each is there: a crash may publish one again."""
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    found: Counter[str] = Counter()
    await consumer.start()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found.update(dict(record.headers)["ce_id"].decode() for record in records)
    finally:
        await consumer.stop()
    return found


async def _tenant(conninfo: str) -> dict[str, Rows]:
    tables = ("transfer_hold", "transfer_object_removal", "transfer_receipt", "attachment", "outbox")
    return {table: await _rows(conninfo, f"SELECT * FROM {table}") for table in tables}


async def _conninfos(world: TransferWorld) -> dict[str, str]:
    """Where each school's database is, from the directory, read on a connection of its own."""
    rows = await _rows(
        world.schools.directory_url,
        "SELECT uai, cluster, database FROM tenant WHERE uai = ANY (%s)",
        [*world.schools.known],
    )
    clusters = world.schools.endpoints.postgres_clusters
    return {
        row["uai"]: psycopg.conninfo.make_conninfo(clusters[row["cluster"]], dbname=row["database"]) for row in rows
    }


async def _rows(conninfo: str, query: str, *arguments: object) -> Rows:
    async with (
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True, row_factory=dict_row) as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute(query.encode(), arguments or None)
        return await cursor.fetchall()
