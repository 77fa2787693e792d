"""A transfer service over the real servers, with schools to try it on, and words for what it should come to."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import dict_row
from pydantic_settings import BaseSettings

from cpro_contracts.envelope import Envelope
from cpro_contracts.identifiers import uai_key
from cpro_embedded.endpoints import Endpoints
from cpro_platform.clock import SystemClock
from cpro_platform.config import TenantSettings
from cpro_platform.consuming import Message
from cpro_platform.database import Database
from cpro_tenant_db import privileges, receipt_report
from cpro_tenant_db.receipt_verification import Verified, verify_receipts
from cpro_test_support.faults import tally
from cpro_test_support.records import Amounts
from cpro_test_support.roles import own_database, tenants_of
from cpro_test_support.schools import School, Schools, fresh_database, opened_schools, store_settings
from cpro_test_support.shelf import SHELF, Kind
from cpro_test_support.siecle_samples import rnie_ine
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.bootstrap import MIGRATIONS, Service, Work, prepare
from cpro_transfer.config import Config
from cpro_transfer.handlers.joining import on_events, prepare_event

TRANSFER = Kind("transfer", MIGRATIONS)
DEADLINE_SECONDS = 30.0
_numbers = count(1)


def new_uai() -> str:
    """A UAI that no other test uses, with the right key."""
    number = 9_100_000 + next(_numbers)
    return f"{number:07d}{uai_key(number)}"


def new_ine() -> str:
    """An INE that no other test uses, with the right key."""
    return rnie_ine(800_000_000 + next(_numbers))


@dataclass(slots=True)
class TransferWorld:
    """A transfer service's configuration and database, and the schools around it."""

    schools: Schools
    config: Config
    database: Database

    async def a_pupil_changes_school(self, records: Amounts) -> tuple[School, School, UUID]:
        """Both schools opted in, one has lost the pupil and the other has them. With the pupil's id at the origin."""
        origin, destination = await self.schools.opted_in(new_uai(), new_uai())
        ine = new_ine()
        leaver = await origin.has(ine, records=records)
        await origin.loses(leaver)
        await destination.has(ine)
        return origin, destination, leaver

    async def transfers(self, **conditions: object) -> list[dict[str, Any]]:
        """The transfers out of these schools that meet the conditions (column = value), oldest first."""
        where = " AND ".join(["origin_uai = ANY (%(ours)s)", *(f"{name} = %({name})s" for name in conditions)])
        arguments = conditions | {"ours": list(self.schools.known)}
        async with self.database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(f"SELECT * FROM transfer WHERE {where} ORDER BY planned_at, id", arguments)
            return await cursor.fetchall()

    async def published(self, transfer_id: UUID) -> list[str]:
        """The types of the events written for a transfer, in order."""
        async with self.database.begin() as tx:
            rows = await tx.execute(
                "SELECT type FROM outbox WHERE payload->>'transfer_id' = %s ORDER BY position", (str(transfer_id),)
            )
            return [row[0] for row in await rows.fetchall()]

    async def traces_of(self, event_type: str) -> dict[UUID, str]:
        """By the pupil's id at the destination, the trace of each event of this type."""
        async with self.database.begin() as tx:
            rows = await tx.execute(
                "SELECT (payload->>'destination_pupil_id')::uuid, traceparent FROM outbox WHERE type = %s",
                (event_type,),
            )
            return dict(await rows.fetchall())

    async def ends(self, state: str, *, number: int = 1, **conditions: object) -> list[dict[str, Any]]:
        """Wait until so many transfers that meet the conditions are in this state."""

        async def so_many() -> list[dict[str, Any]] | None:
            found = await self.transfers(state=state, **conditions)
            return found if len(found) >= number else None

        ended: list[dict[str, Any]] = await eventually(so_many, lambda: self.transfers(**conditions))
        return ended

    async def at_rest(self) -> None:
        """Wait until no transfer is due or under way."""

        async def idle() -> bool | None:
            busy = [t for t in await self.transfers() if t["state"] in {"planned", "holding", "copying", "landed"}]
            return None if busy else True

        await eventually(idle, self.transfers)

    async def all_told(self) -> None:
        """Wait until the relay has published all that the transfer database has to say."""

        async def told() -> bool | None:
            async with self.database.begin() as tx:
                found = await tx.execute("SELECT 1 FROM outbox WHERE published_at IS NULL LIMIT 1")
                return None if await found.fetchone() else True

        await eventually(told)

    async def take_in_events(self) -> None:
        """Take in all that is in the schools' event logs, without Kafka: each event once, school by school."""
        facts = PostgresFacts(self.database, Projection(), SystemClock())
        for school in self.schools.known.values():
            rows = await school.fetch(
                "SELECT id, type, source, occurred_at, payload::text, traceparent FROM outbox ORDER BY position"
            )
            messages = [
                Message("cpro.pupil", 0, number, Envelope.read(_headers(row), row[4].encode()))
                for number, row in enumerate(rows)
            ]
            if messages:
                await on_events([prepare_event(message, facts) for message in messages], facts)

    def verified_receipts(self, *uais: str, against: bool = True) -> AsyncIterator[Verified]:
        """The receipts of these schools, or of all, as `cpro-tenants verify-receipts` reads them."""
        schools = self.schools
        return verify_receipts(
            schools.directory, schools.endpoints.postgres_clusters, uais, against=against, concurrency=3
        )

    async def receipt_findings(self, *uais: str, against: bool = True) -> dict[str, list[str]]:
        """What it reports about each establishment's receipts, where there is something to report."""
        found = [one async for one in self.verified_receipts(*uais, against=against)]
        return {one.uai: lines for one in found if (lines := [*receipt_report.findings(one), *one.unread])}

    @asynccontextmanager
    async def service(self, work: Work = Work.ALL, **changes: object) -> AsyncIterator[Service]:
        """The service at work in this process."""
        async with Service(self.config.model_copy(update=changes), work=work) as service:
            yield service

    @contextmanager
    def process(self, command: str, *, crash_at: str | None = None, **changes: object) -> Iterator["Process"]:
        """One process of the service (`join`, `move`, `relay`), which a crash point may kill."""
        with Process(self.config.model_copy(update=changes), command, crash_at) as process:
            yield process


class Process:
    """A process of the transfer service, started as an installation does."""

    def __init__(self, config: Config, command: str, crash_at: str | None) -> None:
        self._environment = environment_of(config) | ({"CPRO_CRASH_AT": crash_at} if crash_at else {})
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.returncode is None:
            self._process.kill()

    async def start(self) -> None:
        """Start it."""
        code = "from cpro_transfer.entrypoints.cli import app; app()"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, self._command, env=os.environ | self._environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(signal_number)

    async def ended(self) -> int:
        """Wait for its end; the exit status, negative for a signal. A death by SIGKILL is counted into the run's tally."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            status = await self._process.wait()
        if status == -signal.SIGKILL:
            tally.killed(self._command)
        return status


def environment_of(config: BaseSettings) -> dict[str, str]:
    """The environment variables that make this configuration, of whichever service."""
    found: dict[str, str] = {}

    def spread(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict) and name != "clusters":
                spread(f"{prefix}{name.upper()}__", value)
            elif value is not None:
                found[f"{prefix}{name.upper()}"] = _plain(value)

    spread(config.model_config.get("env_prefix", ""), config.model_dump())
    return found


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps({name: one.get_secret_value() for name, one in value.items()})
    if isinstance(value, tuple):
        return json.dumps(value)
    if hasattr(value, "get_secret_value"):
        return str(value.get_secret_value())
    return str(value).lower() if isinstance(value, bool) else str(value)


async def fresh_transfer_config(endpoints: Endpoints, tenants: TenantSettings, **settings: object) -> Config:
    """A transfer service with a database and a consumer group of its own, for the tenants of a directory."""
    return _config_on(await fresh_database(endpoints, "cpro_transfer"), endpoints, tenants, **settings)


def _config_on(conninfo: str, endpoints: Endpoints, tenants: TenantSettings, **settings: object) -> Config:
    return Config.model_validate(
        {
            "database": own_database(conninfo),
            "tenants": tenants_of(privileges.Service.TRANSFER, tenants),
            "kafka": {"bootstrap_servers": endpoints.kafka_bootstrap},
            "object_store": store_settings(endpoints),
            "oidc": {"issuer": endpoints.oidc_issuer, "audience": endpoints.oidc_audience},
            "telemetry": {"log_level": "warning"},
            "join_group": f"join-{uuid4().hex[:8]}",
            **settings,
        }
    )


@asynccontextmanager
async def opened_world(endpoints: Endpoints, **settings: object) -> AsyncIterator[TransferWorld]:
    """A directory, a transfer database and a consumer group of its own on the running servers."""
    async with opened_schools(endpoints) as schools:
        tenants = TenantSettings.model_validate(
            {"directory_url": schools.directory_url, "clusters": dict(endpoints.postgres_clusters)}
        )
        first = next(iter(endpoints.postgres_clusters.values()))
        conninfo = await SHELF.take(first, TRANSFER)
        config = _config_on(conninfo, endpoints, tenants, **settings)
        await prepare(config)
        database = Database(config.database.owner_conninfo, name="test-transfer", max_connections=4)
        await database.open()
        try:
            yield TransferWorld(schools, config, database)
        finally:
            await database.close()
        await SHELF.give_back(first, TRANSFER, conninfo)


async def eventually(
    found: Callable[[], Awaitable[Any]],
    otherwise: Callable[[], Awaitable[object]] | None = None,
    *,
    within_seconds: float = DEADLINE_SECONDS,
) -> Any:
    """What `found` returns once it is not None. Past the deadline fails, showing `otherwise`."""
    try:
        async with asyncio.timeout(within_seconds):
            while (result := await found()) is None:
                await asyncio.sleep(0.02)
            return result
    except TimeoutError:
        seen = await otherwise() if otherwise else "nothing"
        raise AssertionError(f"did not happen within {within_seconds} s; there is {seen}") from None


def _headers(row: Sequence[Any]) -> list[tuple[str, bytes]]:
    names = ("ce_id", "ce_type", "ce_source", "ce_time", "traceparent")
    values = (str(row[0]), row[1], row[2], row[3].isoformat(), row[5] or "")
    return [(name, value.encode()) for name, value in zip(names, values, strict=True)]


__all__ = ["Process", "TransferWorld", "eventually", "fresh_transfer_config", "new_ine", "new_uai", "opened_world"]
