"""One school that imports, seen from outside: through the API before and after a fault, through its databases during it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psycopg
from asgi_lifespan import LifespanManager
from psycopg.rows import dict_row

from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_test_support.faults import tally
from cpro_test_support.faults.checker import ids_on_topics
from cpro_test_support.import_world import YEAR, School, environment_of, new_school
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import generate_pupils
from cpro_test_support.transfers import eventually

_SECONDS = 90.0
_AWAY = (psycopg.OperationalError, httpx.HTTPError)


@dataclass(slots=True)
class Importing:
    """A school, and the settings of the processes that serve it."""

    school: School
    config: Config

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a worker and a relay."""
        return environment_of(self.config)

    async def asks_for(self, pupils: int) -> str:
        """Upload an export with so many pupils, again until it is taken. Returns the import's id."""
        content = self.school.file(list(generate_pupils(pupils, 1, school_year=YEAR)))

        async def taken() -> str | None:
            answer = await self.school.upload(content)
            return str(answer.json()["id"]) if answer.status_code == 202 else None

        asked: str = await eventually(taken, within_seconds=_SECONDS)
        return asked

    async def is_completed(self, import_id: str, *, created: int) -> None:
        """Wait until the import is completed, and has created so many pupils."""

        async def done() -> int | None:
            job = await self.school.job(import_id)
            return int(job["counts"]["created"]) if job["state"] == "completed" else None

        assert await eventually(done, lambda: self.school.job(import_id), within_seconds=_SECONDS) == created

    async def has_lost_and_doubled_nothing(self, *, pupils: int) -> None:
        """Each pupil is there once, was told of once, and is on Kafka; nothing waits. Counted into the tally."""
        rows = await self.school.rows("SELECT siecle_id, match_key FROM pupil")
        said = await self.school.rows("SELECT id, key, topic, published_at FROM outbox")
        published = await ids_on_topics(self.config.kafka.bootstrap_servers, {event["topic"] for event in said})
        findings = {
            "lost": pupils
            - len({row["siecle_id"] for row in rows})
            + sum(str(event["id"]) not in published for event in said),
            "doubled": len(rows) - len({row["siecle_id"] for row in rows}) + len(said) - len({e["key"] for e in said}),
            "half": sum(row["match_key"] not in {event["key"] for event in said} for row in rows),
            "stuck": await self._unfinished() + sum(event["published_at"] is None for event in said),
        }
        tally.ended(findings)
        assert findings == {"lost": 0, "doubled": 0, "half": 0, "stuck": 0}

    async def _unfinished(self) -> int:
        async with (
            await psycopg.AsyncConnection.connect(self.config.database.conninfo, row_factory=dict_row) as connection,
            connection.cursor() as cursor,
        ):
            await cursor.execute(
                "SELECT count(*) AS number FROM import_job WHERE uai = %s AND state <> 'completed'", (self.school.uai,)
            )
            row = await cursor.fetchone()
            assert row is not None
            return int(row["number"])


@asynccontextmanager
async def opened_importing(config: Config, servers: Servers) -> AsyncIterator[Importing]:
    """A new school, and the API in this process. Relay and worker are processes to start."""
    app = create(Service(config, work=Work.NOTHING))
    async with (
        LifespanManager(app),
        new_school(config, httpx.ASGITransport(app, raise_app_exceptions=False), servers) as school,
    ):
        yield Importing(school, config)
