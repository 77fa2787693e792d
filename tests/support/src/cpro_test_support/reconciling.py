"""A transfer database that has lost something: what to lose, what to compare afterwards."""

import signal
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from psycopg import sql

from cpro_contracts.envelope import Envelope
from cpro_embedded.ports import free_ports
from cpro_platform.clock import SystemClock
from cpro_platform.database import Connection, Database
from cpro_test_support.transfers import Process, TransferWorld, eventually, fresh_transfer_config
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.bootstrap import Service, Work, prepare
from cpro_transfer.handlers.reconciling import Reconciliation
from cpro_transfer.ports.joining import Fact

_LOG = "SELECT id, type, source, occurred_at, payload::text FROM outbox ORDER BY position"
_ENROLMENTS = """
SELECT match_key, uai, pupil_id, active, source, ine_status, revision, moved_at_revision
FROM enrolment WHERE NOT withdrawn AND uai = ANY (%(ours)s) ORDER BY match_key, uai
"""
_OPT_INS = """
SELECT uai, opted_in, roster_source, opt_in_revision FROM establishment
WHERE opt_in_revision > 0 AND uai = ANY (%(ours)s) ORDER BY uai
"""
_TRANSFERS = """
SELECT match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai, state FROM transfer
WHERE state <> 'cancelled' AND origin_uai = ANY (%(ours)s) ORDER BY 1, 2, 4, 5
"""

Row = tuple[Any, ...]


async def hears(world: TransferWorld, *, lost: Collection[UUID] = ()) -> None:
    """The join takes in all that the schools have ever said, but for the events that are lost."""
    facts = PostgresFacts(world.database, Projection(), SystemClock())
    for school in world.schools.known.values():
        heard = []
        for row in await school.fetch(_LOG):
            if row[0] not in lost:
                envelope = Envelope.read(_headers(row), row[4].encode())
                heard.append(facts.prepare(Fact(envelope.event, envelope.time)))  # type: ignore[arg-type]
        if heard:
            await facts.take_in(heard, ["cpro.pupil/0"])


async def said(world: TransferWorld) -> list[UUID]:
    """Every event that the schools have said so far."""
    return [row[0] for school in world.schools.known.values() for row in await school.fetch(_LOG)]


async def reconciled(world: TransferWorld, *uais: str, dry_run: bool = False) -> dict[str, Reconciliation]:
    """Reconcile these schools, or all of them, one after the other; by UAI."""
    async with Service(world.config, work=Work.NOTHING) as service:
        return {
            uai: await service.reconciler.reconcile(uai, dry_run=dry_run) for uai in uais or sorted(world.schools.known)
        }


def kinds(found: dict[str, Reconciliation]) -> dict[str, dict[str, int]]:
    """By school and kind, how many differ; schools where nothing does are left out."""
    return {
        uai: {str(kind): len(ids) or 1 for kind, ids in one.found.items()} for uai, one in found.items() if one.found
    }


async def knowledge(world: TransferWorld) -> dict[str, list[Row]]:
    """What its database knows of its schools, without the times, and without what is withdrawn or was never to be.

    Other tests' schools are on the same topics.
    """
    ours = {"ours": list(world.schools.known)}
    async with world.database.begin() as tx:
        return {
            name: await (await tx.execute(query, ours)).fetchall()
            for name, query in (("enrolments", _ENROLMENTS), ("opt-ins", _OPT_INS), ("transfers", _TRANSFERS))
        }


async def row_versions(world: TransferWorld) -> dict[str, list[Row]]:
    """Which version each row has, in the transfer database and in every school's, and where the revisions are."""
    async with world.database.begin() as tx:
        found = {"transfers": await _versions(tx)}
    for uai in world.schools.known:
        async with world.schools.tenants.begin(uai) as tx:
            found[uai] = [*await _versions(tx), *await _rows(tx, "SELECT last_value, is_called FROM pupil_revision")]
    return found


@asynccontextmanager
async def database_lost(world: TransferWorld) -> AsyncIterator[TransferWorld]:
    """The same schools, with a transfer database that has just been created."""
    config = await fresh_transfer_config(
        world.schools.endpoints, world.config.tenants, on_their_way_seconds=world.config.on_their_way_seconds
    )
    await prepare(config)
    database = Database(config.database.conninfo, name="test-transfer-anew", max_connections=4)
    await database.open()
    try:
        yield TransferWorld(world.schools, config, database)
    finally:
        await database.close()


@asynccontextmanager
async def answering(world: TransferWorld, *, crash_at: str | None = None) -> AsyncIterator[tuple[Process, str]]:
    """A process that serves the API, once it answers; with its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    http = world.config.http.model_copy(update={"port": port})
    with world.process("api", crash_at=crash_at, http=http) as process:
        await process.start()
        async with httpx.AsyncClient() as client:

            async def answers() -> bool | None:
                try:
                    return (await client.get(f"{url}/livez")).is_success or None
                except httpx.TransportError:
                    return None

            await eventually(answers)
        try:
            yield process, url
        finally:
            with suppress(ProcessLookupError):
                process.send(signal.SIGKILL)
            await process.ended()


async def _versions(tx: Connection) -> list[Row]:
    tables = await _rows(tx, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    versions: list[Row] = []
    for (table,) in tables:
        query = sql.SQL("SELECT {name}, ctid::text, xmin::text FROM {table} ORDER BY 2").format(
            name=sql.Literal(table), table=sql.Identifier(table)
        )
        versions += await (await tx.execute(query)).fetchall()
    return versions


async def _rows(tx: Connection, query: str) -> list[Row]:
    return await (await tx.execute(query)).fetchall()


def _headers(row: Row) -> list[tuple[str, bytes]]:
    names = ("ce_id", "ce_type", "ce_source", "ce_time")
    values = (str(row[0]), row[1], row[2], row[3].isoformat())
    return [(name, value.encode()) for name, value in zip(names, values, strict=True)]
