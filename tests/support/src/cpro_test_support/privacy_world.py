"""An import service and a transfer service at work on the same establishments, and schools that use both."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
from asgi_lifespan import LifespanManager
from psycopg.rows import dict_row
from pydantic import SecretStr

import cpro_siecle_import.bootstrap
import cpro_siecle_import.entrypoints.api
from cpro_platform.database import Database
from cpro_siecle_import.config import Config as ImportConfig
from cpro_siecle_import.ports import Rekeyed
from cpro_test_support.import_world import EXPORT_DAY, School, new_school, prepared_config
from cpro_test_support.records import Amounts, seed_records
from cpro_test_support.schools import School as Door
from cpro_test_support.schools import Schools, opened_on
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil
from cpro_test_support.transfers import eventually, fresh_transfer_config
from cpro_transfer.bootstrap import Service, Work, prepare
from cpro_transfer.config import Config as TransferConfig

NEW_SECRET = "another secret for tests, long enough too"
FEW = Amounts(reports=1, activity_sheets=1, assessments=1, passports=0, passport_entries=0, attachments=1)


@dataclass
class PrivacyWorld:
    """The schools, the running import service, and how to run the transfer service beside it."""

    servers: Servers
    config: ImportConfig
    transfer_config: TransferConfig
    database: Database
    doors: Schools
    opening: AsyncExitStack
    importers: list[School] = field(default_factory=list)
    files: dict[str, list[SamplePupil]] = field(default_factory=dict)
    """By UAI: the pupils of a school's last file."""

    @asynccontextmanager
    async def importing(self, **changes: Any) -> AsyncIterator[httpx.ASGITransport]:
        """The import service at work in this process, with changed settings; schools that are there use it from now."""
        service = cpro_siecle_import.bootstrap.Service(self.config.model_copy(update=changes))
        app = cpro_siecle_import.entrypoints.api.create(service)
        async with LifespanManager(app):
            transport = httpx.ASGITransport(app)
            for school in self.importers:
                await school.client.aclose()
                school.transport = transport
                await school.__aenter__()
            yield transport

    async def schools(self, transport: httpx.ASGITransport, number: int = 2) -> list[School]:
        """Schools with their doors open."""
        found = []
        for _ in range(number):
            school = await self.opening.enter_async_context(new_school(self.config, transport, self.servers))
            self.doors.known[school.uai] = Door(self.doors, school.uai)
            await self.doors.known[school.uai].opts_in()
            found.append(school)
            self.importers.append(school)
        return found

    async def has(self, school: School, *pupils: SamplePupil, records: bool = False) -> None:
        """The school's next file names these too; with records for those who are new, if asked."""
        listed = {pupil.siecle_id: pupil for pupil in [*self.files.get(school.uai, []), *pupils]}
        self.files[school.uai] = list(listed.values())
        done = await school.imports(self.files[school.uai], force=True)
        if done["state"] == "awaiting_confirmation":
            await school.client.post(f"/siecle-imports/{done['id']}/confirm")
            done = await school.rest(done["id"])
        assert done["state"] == "completed", done
        for pupil in pupils if records else ():
            async with self.doors.tenants.begin(school.uai) as tx:
                (row,) = await (
                    await tx.execute("SELECT id FROM pupil WHERE siecle_id = %s", (pupil.siecle_id,))
                ).fetchall()
                await seed_records(
                    tx, self.doors.store, school.uai, UUID(str(row[0])), amounts=FEW, into=self.doors.seeded
                )

    async def loses(self, school: School, *pupils: SamplePupil) -> None:
        """The school's next file says that these have left."""
        await self.has(school, *(pupil.leaves(EXPORT_DAY) for pupil in pupils))

    @asynccontextmanager
    async def transferring(self, work: Work = Work.ALL) -> AsyncIterator[Service]:
        """The transfer service at work in this process."""
        async with Service(self.transfer_config, work=work) as service:
            yield service

    async def rotated(self, *, dry_run: bool = False) -> dict[str, Rekeyed]:
        """What `rotate` came to in each establishment, with the new secret in the settings."""
        service = cpro_siecle_import.bootstrap.Service(
            self.config.model_copy(update=new_secret()), work=cpro_siecle_import.bootstrap.Work.NOTHING
        )
        async with service:
            return {one.uai: one async for one in service.rotate_keys(dry_run=dry_run)}

    async def rows(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """Rows of the transfer database."""
        async with self.database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, arguments)
            return await cursor.fetchall()

    async def transfers(self, *states: str) -> list[dict[str, Any]]:
        """These schools' transfers that are no undoing, in these states (in all without any), oldest first."""
        return await self.rows(
            "SELECT * FROM transfer WHERE undoes IS NULL AND origin_uai = ANY (%s) AND (%s OR state = ANY (%s))"
            " ORDER BY planned_at, id",
            [school.uai for school in self.importers], not states, list(states),
        )  # fmt: skip

    async def ends(self, state: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait for so many transfers in this state."""

        async def so_many() -> list[dict[str, Any]] | None:
            found = await self.transfers(state)
            return found if len(found) >= number else None

        ended: list[dict[str, Any]] = await eventually(so_many, self.transfers)
        return ended

    async def taken_in(self) -> None:
        """Wait until the join knows every state that the schools have told of."""

        async def all_known() -> bool | None:
            for uai, school in self.doors.known.items():
                said = await school.fetch(
                    "SELECT key, max((payload ->> 'revision')::bigint) FROM outbox WHERE topic = 'cpro.pupil' GROUP BY 1"
                )
                known = await self.rows("SELECT match_key, revision FROM enrolment WHERE uai = %s", uai)
                if not dict(said).items() <= {row["match_key"]: row["revision"] for row in known}.items():
                    return None
            return True

        await eventually(all_known)


def new_secret() -> dict[str, Any]:
    """The settings that a rotation changes."""
    return {"match_secret": SecretStr(NEW_SECRET), "match_secret_version": 2}


@asynccontextmanager
async def opened_privacy_world(servers: Servers) -> AsyncIterator[PrivacyWorld]:
    """Databases, a bucket, a directory and a consumer group of their own; nothing at work yet."""
    config = await prepared_config(servers)
    transfer_config = await fresh_transfer_config(servers.endpoints, config.tenants)
    await prepare(transfer_config)
    database = Database(transfer_config.database.conninfo, name="test-privacy", max_connections=4)
    await database.open()
    async with AsyncExitStack() as opening:
        opening.push_async_callback(database.close)
        doors = await opening.enter_async_context(opened_on(servers.endpoints, config.tenants))
        yield PrivacyWorld(servers, config, transfer_config, database, doors, opening)


__all__ = ["FEW", "NEW_SECRET", "PrivacyWorld", "new_secret", "opened_privacy_world"]
