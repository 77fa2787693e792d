"""A load of moves: pupils who go from school to school, on and back again, while processes are killed."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from cpro_test_support.faults.checker import unfinished, unpublished
from cpro_test_support.faults.journeys import Journeys
from cpro_test_support.faults.outages import CLUSTERS
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, eventually, new_ine

SCHOOLS_A_CLUSTER = 2
_AT_ONCE = 6


@dataclass(slots=True)
class Traveller:
    """A pupil, where they are, and their id at each school that they have been to."""

    ine: str
    at: School
    ids: dict[str, UUID]


@dataclass(slots=True)
class Load:
    """Pupils of several schools. Their records must always end where they are."""

    journeys: Journeys
    dice: random.Random
    schools: Sequence[School] = ()
    travellers: list[Traveller] = field(default_factory=list)

    @property
    def world(self) -> TransferWorld:
        """Where all this takes place."""
        return self.journeys.world

    async def begins(self, pupils: int) -> None:
        """Open the schools and seed pupils with their records."""
        self.schools = [await self.journeys.school(cluster) for cluster in CLUSTERS for _ in range(SCHOOLS_A_CLUSTER)]
        await self._side_by_side([self._seed(number) for number in range(pupils)])
        await self.journeys.publish()

    async def all_move(self) -> None:
        """Each pupil goes to another school, some at once to a third, some straight home again."""
        await self._side_by_side([self._goes(traveller) for traveller in self.travellers])

    async def is_at_rest(self) -> bool | None:
        """True once the join knows the last word of every school, every transfer has ended, and all of it is told."""
        if await unfinished(self.world) or await unpublished(self.world) or not await self._is_known():
            return None
        return True

    async def rests(self, *, within_seconds: float) -> None:
        """Wait for that."""
        await eventually(self.is_at_rest, self.world.transfers, within_seconds=within_seconds)

    async def completed(self) -> int:
        """How many transfers have been completed so far."""
        return len(await self.world.transfers(state="completed"))

    async def _seed(self, number: int) -> None:
        school, ine = self.schools[number % len(self.schools)], new_ine()
        amounts = Amounts(reports=2, activity_sheets=1, assessments=2, passport_entries=1, attachments=number % 2)
        pupil = await school.has(ine, records=amounts)
        self.travellers.append(Traveller(ine, school, {school.uai: pupil}))
        self.journeys.expected[pupil] = school.uai

    async def _goes(self, traveller: Traveller) -> None:
        for _ in range(self.dice.choice([1, 1, 1, 2, 2, 3])):
            await traveller.at.loses(traveller.ids[traveller.at.uai])
            traveller.at = self.dice.choice([school for school in self.schools if school is not traveller.at])
            known = traveller.ids.get(traveller.at.uai)
            if known:
                await traveller.at.has_again(known)
            else:
                traveller.ids[traveller.at.uai] = await traveller.at.has(traveller.ine)
        owner = next(iter(traveller.ids.values()))
        self.journeys.expected[owner] = traveller.at.uai

    async def _is_known(self) -> bool:
        async with await psycopg.AsyncConnection.connect(self.world.config.database.conninfo) as connection:
            found = await connection.execute("SELECT uai, match_key, revision FROM enrolment")
            known = {(row[0], row[1]): row[2] for row in await found.fetchall()}
        for school in self.schools:
            for match_key, revision in await school.fetch("SELECT match_key, revision FROM pupil"):
                if known.get((school.uai, match_key)) != revision:
                    return False
        return True

    async def _side_by_side(self, work: Sequence[object]) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def in_turn(one: object) -> None:
            async with turns:
                await one  # type: ignore[misc]

        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(in_turn(one))
