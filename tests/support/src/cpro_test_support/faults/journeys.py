"""Pupils on their way between schools, for tests that only care how it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from cpro_platform import outbox
from cpro_platform.database import Database
from cpro_platform.retry import retrying
from cpro_platform.transience import is_transient
from cpro_tenant_db import provisioning
from cpro_test_support.faults.checker import Findings, examine, states, unfinished, unpublished
from cpro_test_support.faults.outages import DESTINATIONS, ORIGINS
from cpro_test_support.records import Amounts
from cpro_test_support.roles import ACCESS
from cpro_test_support.schools import School, opened_on
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=2, passport_entries=1, attachments=1)
_REST_SECONDS = 120.0


@dataclass(slots=True)
class Journeys:
    """Pupils who have changed school, and where their records belong at the end."""

    world: TransferWorld
    expected: dict[UUID, str] = field(default_factory=dict)
    checked: int = 0
    """How many completed transfers an earlier examination has counted."""

    async def school(self, cluster: str) -> School:
        """A new school with its doors open, its database on this cluster. It keeps its events to itself."""
        schools, uai = self.world.schools, new_uai()
        await provisioning.create_tenant(schools.directory, schools.endpoints.postgres_clusters, uai, cluster, ACCESS)
        schools.known[uai] = School(schools, uai, publishes=False)
        await schools.known[uai].opts_in()
        return schools.known[uai]

    async def pair(self) -> tuple[School, School]:
        """An origin and a destination on clusters of their own."""
        return await self.school(ORIGINS), await self.school(DESTINATIONS)

    async def changes_school(self, origin: School, destination: School) -> UUID:
        """A pupil with records leaves one for the other. Returns the pupil's id at the origin."""
        ine = new_ine()
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        await destination.has(ine)
        self.expected[leaver] = destination.uai
        return leaver

    async def publish(self) -> None:
        """Bring what the schools have to say to Kafka, as their imports would: again until it is there."""
        schools = self.world.schools
        for uai in schools.known:
            begin = partial(schools.tenants.begin, uai)
            await retrying(partial(outbox.publish_pending, begin, schools.publisher), when=is_transient)

    async def are_planned(self, number: int) -> None:
        """Wait until the join has planned so many transfers."""

        async def so_many() -> bool | None:
            return True if len(await states(self.world)) >= number else None

        await eventually(so_many, self.world.transfers, within_seconds=_REST_SECONDS)

    async def all_told(self) -> None:
        """Wait until a relay has published everything that the transfer service has to say."""

        async def none_waits() -> bool | None:
            return True if await unpublished(self.world) == 0 else None

        await eventually(none_waits, self.world.transfers, within_seconds=_REST_SECONDS)

    async def at_rest(self, *, within_seconds: float = _REST_SECONDS) -> None:
        """Wait until no transfer is under way."""

        async def idle() -> bool | None:
            return True if await unfinished(self.world) == 0 else None

        await eventually(idle, self.world.transfers, within_seconds=within_seconds)

    async def examined(self, *, published: bool = False) -> Findings:
        """What the checker finds."""
        completed = sum(transfer["state"] == "completed" for transfer in await states(self.world))
        moves, self.checked = completed - self.checked, completed
        return await examine(self.world, self.expected, moves=moves, published=published)

    @asynccontextmanager
    async def reconnected(self) -> AsyncIterator["Journeys"]:
        """The same on new connections: those from before an outage are gone."""
        old = self.world
        database = Database(old.config.database.conninfo, name="test-transfer", max_connections=2)
        async with opened_on(old.schools.endpoints, old.config.tenants) as schools:
            schools.seeded = old.schools.seeded
            schools.known = {uai: School(schools, uai, school.publishes) for uai, school in old.schools.known.items()}
            await database.open()
            try:
                yield Journeys(TransferWorld(schools, old.config, database), self.expected, self.checked)
            finally:
                await database.close()
