"""No name, birth date or INE in any topic, log line, span or metric, from the upload to the landing.

Recognisable values are planted in the files of two schools, one pupil's records move, one transfer is held, one line is
rejected; then everything that the services published, logged, traced and measured is searched.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date
from io import StringIO
from uuid import UUID

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from asgi_lifespan import LifespanManager
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import cpro_siecle_import.bootstrap
import cpro_siecle_import.entrypoints.api
from cpro_contracts import topics
from cpro_platform import logs, tracing
from cpro_platform.config import TelemetrySettings
from cpro_platform.database import Database
from cpro_test_support.import_world import EXPORT_DAY, School, new_school, prepared_config
from cpro_test_support.records import Amounts, seed_records
from cpro_test_support.schools import School as Door
from cpro_test_support.schools import opened_on
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, rnie_ine
from cpro_test_support.transfers import eventually, fresh_transfer_config
from cpro_transfer.bootstrap import Service, prepare

NAMES = ("ZYXWANIMAL", "QUETZALCOATLE")
FIRST_NAME = "Xéphyrine"
BORN = date(2009, 11, 23)
INES = (rnie_ine(731_994_001), rnie_ine(731_994_002), rnie_ine(731_994_003))
PLANTED = (*NAMES, *INES, FIRST_NAME, "2009-11-23", "23/11/2009")


class Said:
    """What the services wrote outside their databases: every log line from debug level on, and every span."""

    def __init__(self) -> None:
        self._stream = StringIO()
        self._exporter = InMemorySpanExporter()
        logs.configure(TelemetrySettings(log_level="debug"), service="canary", stream=self._stream)
        tracing.configure("canary").add_span_processor(SimpleSpanProcessor(self._exporter))

    def lines(self) -> list[str]:
        """Log lines, then spans."""
        spans = [span.to_json(indent=None) for span in self._exporter.get_finished_spans()]
        return [*self._stream.getvalue().splitlines(), *spans]


@pytest.fixture
def said() -> Iterator[Said]:
    """Listens from here on."""
    yield Said()
    logs.configure(TelemetrySettings(log_level="warning"), service="tests")


@pytest.fixture
async def schools(servers: Servers) -> AsyncIterator[tuple[School, School, Service]]:
    """Two schools with their doors open, the import and the transfer service at work."""
    config = await prepared_config(servers)
    importing = cpro_siecle_import.bootstrap.Service(config)
    app = cpro_siecle_import.entrypoints.api.create(importing)
    transfer_config = await fresh_transfer_config(servers.endpoints, config.tenants)
    await prepare(transfer_config)
    async with AsyncExitStack() as running:
        await running.enter_async_context(LifespanManager(app))
        transfer = await running.enter_async_context(Service(transfer_config))
        transport = httpx.ASGITransport(app)
        origin = await running.enter_async_context(new_school(config, transport, servers))
        destination = await running.enter_async_context(new_school(config, transport, servers))
        for school in (origin, destination):
            await _open_doors(school, servers)
        yield origin, destination, transfer


async def test_planted_values_are_found_nowhere_outside_the_databases(
    servers: Servers, said: Said, schools: tuple[School, School, Service]
) -> None:
    origin, destination, transfer = schools
    leaver = _pupil("900001", NAMES[0], INES[0])
    homonym = _pupil("900002", NAMES[1], INES[1])
    rejected = replace(_pupil("", NAMES[1], INES[2]), siecle_id="not a number")
    await origin.imports([leaver, homonym, rejected], force=True)
    await _give_records(origin, servers)

    await origin.imports([leaver.leaves(EXPORT_DAY), homonym.leaves(EXPORT_DAY), _pupil("900003", "AUTRE", None)])
    await destination.imports([_pupil("1", NAMES[0], INES[0]), replace(homonym, birth_date=date(2010, 1, 1))])
    await _ended(transfer, {"completed", "held"})
    await origin.imports(f"<BEE_ELEVES><{NAMES[0]}>{INES[0]}".encode())

    published = await _everything_published(servers)
    logged = said.lines()
    measured = transfer.metrics.render().decode()

    assert any("cpro.transfer.completed.v1" in message for message in published)
    assert any("transfer.completed" in line for line in logged)
    found = {
        value: [text[:300] for text in (*published, *logged, measured) if value.lower() in text.lower()]
        for value in PLANTED
    }
    assert {value: texts for value, texts in found.items() if texts} == {}


def _pupil(siecle_id: str, family_name: str, ine: str | None) -> SamplePupil:
    return SamplePupil(
        siecle_id=siecle_id, ine=ine, family_name=family_name, first_name=FIRST_NAME, birth_date=BORN, division="2 MCV"
    )


async def _open_doors(school: School, servers: Servers) -> None:
    async with opened_on(servers.endpoints, school.config.tenants) as world:
        world.known[school.uai] = Door(world, school.uai)
        await world.known[school.uai].opts_in()


async def _give_records(school: School, servers: Servers) -> None:
    async with opened_on(servers.endpoints, school.config.tenants) as world, world.tenants.begin(school.uai) as tx:
        for (pupil_id,) in await (await tx.execute("SELECT id FROM pupil")).fetchall():
            await seed_records(tx, world.store, school.uai, UUID(str(pupil_id)), amounts=Amounts(attachments=1))


async def _ended(transfer: Service, states: set[str]) -> None:
    database = Database(transfer.config.database.conninfo, name="canary", max_connections=2)
    await database.open()

    async def both() -> bool | None:
        async with database.begin() as tx:
            rows = await (await tx.execute("SELECT state FROM transfer WHERE match_key LIKE 'ine:%'")).fetchall()
        return True if states <= {row[0] for row in rows} else None

    try:
        await eventually(both)
    finally:
        await database.close()


async def _everything_published(servers: Servers) -> list[str]:
    """Every message of every topic: key, headers and value as one text."""
    consumer = AIOKafkaConsumer(
        *(topic.name for topic in topics.ALL),
        bootstrap_servers=servers.endpoints.kafka_bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(list(consumer.assignment()))
        messages: list[str] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=1_000)).values():
                messages += [
                    json.dumps([str(m.key), str(m.headers), (m.value or b"").decode(errors="replace")]) for m in batch
                ]
        return messages
    finally:
        await consumer.stop()
