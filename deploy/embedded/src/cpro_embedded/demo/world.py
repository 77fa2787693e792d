"""The running system as the demo sees it: servers, services, schools, and who is who in them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import psycopg

from cpro_contracts.identifiers import match_key_of_pupil
from cpro_embedded.demo.administrator import Administrator, Json
from cpro_embedded.demo.errors import DemoFailedError
from cpro_embedded.demo.narrator import Narrator
from cpro_embedded.demo.roster import Roster
from cpro_embedded.demo.schools import ON_SIECLE, SCHOOLS, School
from cpro_embedded.demo.support_desk import SupportDesk
from cpro_embedded.services import RECORDS_BUCKET, Installation, ServiceProcesses, create_tenants, prepare
from cpro_embedded.stack import EmbeddedStack
from cpro_platform.clock import Clock, SystemClock
from cpro_platform.database import database_conninfo
from cpro_platform.object_store import ObjectStore
from cpro_siecle_import.domain.export import school_year_of
from cpro_tenant_db.provisioning import database_of
from cpro_test_support.records import Seeded, seed_records
from cpro_test_support.siecle_samples import SamplePupil

_REQUEST_SECONDS = 30
TOKEN_SECONDS = 12 * 3600


@dataclass(slots=True)
class Pupil:
    """One person, under the id that each school's database gave them."""

    sheet: SamplePupil
    origin: School
    home: School
    """Where the records must be in the end."""
    ids: dict[str, UUID] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """As people say it."""
        return f"{self.sheet.first_name} {self.sheet.family_name}"


@dataclass(slots=True)
class World:
    """Everything that a chapter of the story needs."""

    installation: Installation
    services: ServiceProcesses
    store: ObjectStore
    administrators: Mapping[str, Administrator]
    rosters: Mapping[str, Roster]
    support: SupportDesk
    narrator: Narrator
    clock: Clock
    pupils: list[Pupil] = field(default_factory=list)
    seeded: Seeded = field(default_factory=Seeded)
    _by_line: dict[tuple[str, str], Pupil] = field(default_factory=dict)

    @property
    def school_year(self) -> int:
        """The current one: 2026 for 2026-2027."""
        return school_year_of(self.clock.now().date())

    def conninfo(self, school: School) -> str:
        """A school's own database."""
        cluster = self.installation.endpoints.postgres_clusters[school.cluster]
        return database_conninfo(cluster, database_of(school.uai))

    def lists(self, sheet: SamplePupil, school: School) -> Pupil:
        """A person whom this school's file names, and whose records are to stay there unless the story says else."""
        pupil = Pupil(sheet, origin=school, home=school)
        self.pupils.append(pupil)
        self.rosters[school.uai].lists(sheet)
        self._by_line[school.uai, sheet.siecle_id] = pupil
        return pupil

    def admits(self, school: School, pupil: Pupil) -> None:
        """This school's next file names the pupil too."""
        line = self.rosters[school.uai].admits(pupil.sheet, previous_uai=pupil.origin.uai)
        self._by_line[school.uai, line.siecle_id] = pupil

    async def enters(self, school: School, pupil: Pupil) -> None:
        """The core application of a school outside SIECLE writes a sheet that somebody has typed in, without an INE."""
        pupil.ids[school.uai] = pupil_id = uuid4()
        sheet = pupil.sheet
        async with await psycopg.AsyncConnection.connect(self.conninfo(school)) as tx:
            await tx.execute(
                "INSERT INTO pupil (id, ine_status, family_name, first_name, birth_date, source, match_key)"
                " VALUES (%s, 'absent', %s, %s, %s, 'manual', %s)",
                (pupil_id, sheet.family_name, sheet.first_name, sheet.birth_date,
                 match_key_of_pupil(school.uai, pupil_id)),
            )  # fmt: skip

    async def imports(self, school: School, *, school_year: int | None = None) -> Json:
        """The school exports its file and uploads it. An import that waits for nothing but a yes gets one.

        Raises:
            DemoFailedError: it did not complete.
        """
        administrator = self.administrators[school.uai]
        zipped = self.rosters[school.uai].export(school_year or self.school_year)
        imported = await administrator.imports(zipped)
        if [reason["code"] for reason in imported["awaiting"]] == ["other_school_year"] and school_year is not None:
            imported = await administrator.confirms(imported["id"])
        if imported["state"] != "completed":
            raise DemoFailedError(
                f"the import of {school.uai} is {imported['state']}:"
                f" {imported['refusal'] or imported['awaiting']} {imported['counts']}"
            )
        await self._learns_ids(school)
        return imported

    async def _learns_ids(self, school: School) -> None:
        """The ids that the school's database gave its pupils, which the core application shows its users."""
        async with await psycopg.AsyncConnection.connect(self.conninfo(school)) as tx:
            rows = await (await tx.execute("SELECT siecle_id, id FROM pupil")).fetchall()
        for siecle_id, pupil_id in rows:
            self._by_line[school.uai, siecle_id].ids[school.uai] = pupil_id

    async def writes_records(self) -> None:
        """What the core application would have written for every pupil over the years, straight into the databases."""

        async def of_school(school: School) -> None:
            async with await psycopg.AsyncConnection.connect(self.conninfo(school)) as tx:
                for pupil in self.pupils:
                    if pupil.origin is school:
                        await seed_records(tx, self.store, school.uai, pupil.ids[school.uai], into=self.seeded)

        await asyncio.gather(*map(of_school, SCHOOLS))


@asynccontextmanager
async def opened_world(
    stack: EmbeddedStack, narrator: Narrator, *, port: int | None = None, smtp_port: int | None = None
) -> AsyncIterator[World]:
    """The services on a started stack, with the schools' empty databases; stopped at the end."""
    installation = Installation.fresh(stack.endpoints, smtp_port)
    async with AsyncExitStack() as opening:
        with narrator.doing("databases, topics and buckets created"):
            await prepare(installation)
        services = ServiceProcesses(installation, stack.folder, port=port)
        with narrator.doing(f"services started at {services.url}, {len(SCHOOLS)} schools' databases created"):
            creating = asyncio.create_task(
                create_tenants(installation, {school.uai: school.cluster for school in SCHOOLS})
            )
            opening.push_async_callback(_ended, creating)
            await opening.enter_async_context(services)
            await creating
        client = await opening.enter_async_context(
            httpx.AsyncClient(base_url=services.url, timeout=_REQUEST_SECONDS, trust_env=False)
        )
        store = ObjectStore(installation.object_store(RECORDS_BUCKET))
        opening.push_async_callback(store.close)
        clock = SystemClock()
        yield World(
            installation=installation,
            services=services,
            store=store,
            administrators={school.uai: _administrator(school, stack, client) for school in SCHOOLS},
            rosters={school.uai: Roster(school.uai, _last_june(clock)) for school in ON_SIECLE},
            support=SupportDesk(services.url, _support_token(stack), narrator),
            narrator=narrator,
            clock=clock,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _administrator(school: School, stack: EmbeddedStack, client: httpx.AsyncClient) -> Administrator:
    subject = f"administration-{school.uai}"
    token = stack.tokens.token(subject, ["administrator"], school.uai, ttl_seconds=TOKEN_SECONDS)
    return Administrator(school.uai, token, client)


def _support_token(stack: EmbeddedStack) -> str:
    return stack.tokens.token("support-1", ["support"], ttl_seconds=TOKEN_SECONDS)


def _last_june(clock: Clock) -> datetime:
    """When the schools exported their files of last school year."""
    return datetime(school_year_of(clock.now().date()), 6, 15, 16, 30, tzinfo=UTC)
