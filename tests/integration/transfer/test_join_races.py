"""Joins side by side: whoever comes second sees the first, so nothing that is called for is missed, and none waits for ever.

The first transaction is kept open right before its commit: the moment at which the other can't see it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from cpro_contracts.establishments import EstablishmentUpdated, RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent, PupilReactivated
from cpro_platform.clock import SystemClock
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.adapters.projection import PostgresFacts, Projection, prepared
from cpro_transfer.ports.joining import Fact

PUPILS, OTHER_PUPILS, ESTABLISHMENTS = ["cpro.pupil/0"], ["cpro.pupil/1"], ["cpro.establishment/0"]
Batch = tuple[Sequence[Fact], Sequence[str]]


@dataclass
class Pupil:
    """One pupil and two schools, and the events that tell of them."""

    origin: str = field(default_factory=new_uai)
    destination: str = field(default_factory=new_uai)
    match_key: str = field(default_factory=lambda: f"ine:1:{new_ine()}")
    _ids: dict[str, UUID] = field(default_factory=dict)
    _revisions: Any = field(default_factory=lambda: count(1))

    def says(self, kind: type[PupilEvent], uai: str) -> Fact:
        now = datetime.now(UTC)
        event = kind(
            match_key=self.match_key, uai=uai, pupil_id=self._ids.setdefault(uai, uuid4()),
            revision=next(self._revisions), occurred_at=now, source=EnrolmentSource.SIECLE, ine_status=IneStatus.TRUSTED,
        )  # fmt: skip
        return Fact(event, now)

    def leaves(self) -> Batch:
        return [self.says(PupilDeactivated, self.origin)], PUPILS

    def arrives(self) -> Batch:
        return [self.says(PupilCreated, self.destination)], PUPILS

    def returns(self) -> Batch:
        return [self.says(PupilReactivated, self.origin)], PUPILS

    def opens(self, uai: str, *, enabled: bool = True) -> Batch:
        now = datetime.now(UTC)
        event = TransferOptInChanged(
            uai=uai, enabled=enabled, roster_source=RosterSource.SIECLE, revision=next(self._revisions), occurred_at=now
        )
        return [Fact(event, now)], ESTABLISHMENTS


class Joins:
    """Joins of one transfer database."""

    def __init__(self, world: TransferWorld) -> None:
        self.world = world

    async def take_in(self, *batches: Batch) -> None:
        store = PostgresFacts(self.world.database, Projection(), SystemClock())
        for facts, partitions in batches:
            await store.take_in([store.prepare(fact) for fact in facts], partitions)

    @asynccontextmanager
    async def not_yet_committed(self, batch: Batch) -> AsyncIterator[None]:
        """A join that has done all but commit."""
        async with self.world.database.begin() as tx:
            facts, partitions = batch
            await Projection().apply(tx, [prepared(fact) for fact in facts], partitions)
            yield

    async def waits_or_ends(self, join: "asyncio.Task[None]") -> None:
        """Until the other join waits for a lock, or is through."""

        async def either() -> bool | None:
            return True if join.done() or await self._any_waits() else None

        await eventually(either)

    async def _any_waits(self) -> bool:
        return bool(await self.fetch(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ))  # fmt: skip

    async def fetch(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        async with self.world.database.begin() as tx:
            return await (await tx.execute(query, arguments)).fetchall()

    async def stands(self, pupil: Pupil) -> list[str]:
        rows = await self.fetch("SELECT state FROM transfer WHERE match_key = %s", pupil.match_key)
        return [row[0] for row in rows]

    async def deadlocks(self) -> int:
        await self.fetch("SELECT pg_stat_force_next_flush()")
        ((number,),) = await self.fetch("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(number)


@pytest.fixture
def joins(world: TransferWorld) -> Joins:
    return Joins(world)


async def both(joins: Joins, first: Batch, second: Batch) -> None:
    """The second begins while the first is about to commit."""
    async with joins.not_yet_committed(first):
        other = asyncio.create_task(joins.take_in(second))
        await joins.waits_or_ends(other)
    await other


@pytest.mark.parametrize("departure_first", [True, False])
async def test_a_departure_and_an_arrival_taken_in_side_by_side_are_planned(
    joins: Joins, departure_first: bool
) -> None:
    pupil = Pupil()
    await joins.take_in(pupil.opens(pupil.origin), pupil.opens(pupil.destination))
    halves = [pupil.leaves(), pupil.arrives()]

    await both(joins, *(halves if departure_first else reversed(halves)))

    assert await joins.stands(pupil) == ["planned"]


@pytest.mark.parametrize("side", ["origin", "destination"])
@pytest.mark.parametrize("opt_in_first", [True, False])
async def test_an_arrival_and_an_opt_in_taken_in_side_by_side_are_planned(
    joins: Joins, side: str, opt_in_first: bool
) -> None:
    pupil = Pupil()
    late = getattr(pupil, side)
    early = pupil.destination if side == "origin" else pupil.origin
    await joins.take_in(pupil.opens(early), pupil.opens(late, enabled=False), pupil.leaves())
    halves = [pupil.opens(late), pupil.arrives()]

    await both(joins, *(halves if opt_in_first else reversed(halves)))

    assert await joins.stands(pupil) == ["planned"]


@pytest.mark.parametrize("opt_in_first", [True, False])
async def test_an_opt_in_beside_the_return_of_the_pupil_plans_nothing_that_stands(
    joins: Joins, opt_in_first: bool
) -> None:
    pupil = Pupil()
    await joins.take_in(pupil.opens(pupil.origin), pupil.leaves(), pupil.arrives())
    halves = [pupil.opens(pupil.destination), pupil.returns()]

    await both(joins, *(halves if opt_in_first else reversed(halves)))

    assert await joins.stands(pupil) in ([], ["cancelled"])


@pytest.mark.parametrize("opt_out_first", [True, False])
async def test_an_opt_out_beside_an_arrival_leaves_nothing_planned(joins: Joins, opt_out_first: bool) -> None:
    pupil = Pupil()
    await joins.take_in(pupil.opens(pupil.origin), pupil.opens(pupil.destination), pupil.leaves())
    halves = [pupil.opens(pupil.destination, enabled=False), pupil.arrives()]

    await both(joins, *(halves if opt_out_first else reversed(halves)))

    assert await joins.stands(pupil) in ([], ["cancelled"])


async def test_two_schools_that_exchange_pupils_opt_in_side_by_side(joins: Joins) -> None:
    there, back = Pupil(), Pupil()
    back.origin, back.destination = there.destination, there.origin
    await joins.take_in(there.leaves(), there.arrives(), back.leaves(), back.arrives())

    await both(joins, there.opens(there.origin), there.opens(there.destination))

    assert await joins.stands(there) == await joins.stands(back) == ["planned"]
    assert await joins.deadlocks() == 0


async def test_a_sheet_beside_an_opt_in_of_the_other_school_ends_no_join(joins: Joins) -> None:
    pupil = Pupil()
    await joins.take_in(pupil.leaves(), pupil.arrives(), pupil.opens(pupil.origin))
    now = datetime.now(UTC)
    sheets = [
        Fact(EstablishmentUpdated(uai=uai, name="Lycée", revision=1, occurred_at=now), now)
        for uai in (pupil.origin, pupil.destination)
    ]

    await both(joins, (sheets, ["cpro.establishment/1"]), pupil.opens(pupil.destination))

    assert await joins.stands(pupil) == ["planned"]
    assert await joins.deadlocks() == 0


async def test_batches_of_different_partitions_about_the_same_schools_do_not_wait_for_each_other(joins: Joins) -> None:
    one, other = Pupil(), Pupil()
    other.origin, other.destination = one.destination, one.origin
    await joins.take_in(one.opens(one.origin), one.opens(one.destination), one.leaves(), other.leaves())
    facts, _ = other.arrives()

    async with joins.not_yet_committed(one.arrives()):
        async with asyncio.timeout(10):
            await joins.take_in((facts, OTHER_PUPILS))
        assert await joins.stands(other) == ["planned"]

    assert await joins.stands(one) == ["planned"]


async def test_many_joins_at_once_end_where_one_would_without_a_deadlock(joins: Joins) -> None:
    """Eight joins, each with its partition, about the same four schools, while two more switch doors and save sheets."""
    uais = [new_uai() for _ in range(4)]
    pupils = [Pupil(uais[number % 4], uais[(number + 1 + number // 4 % 3) % 4]) for number in range(160)]

    async def join(number: int) -> None:
        for pupil in pupils[number::8]:
            facts = [*pupil.leaves()[0], *pupil.arrives()[0]]
            await joins.take_in((facts[:1], [f"cpro.pupil/{number}"]), (facts[1:], [f"cpro.pupil/{number}"]))

    revisions = count(1_000)

    async def switch(number: int) -> None:
        for turn in range(12):
            for uai in uais if number else reversed(uais):
                now = datetime.now(UTC)
                opened = TransferOptInChanged(
                    uai=uai, enabled=turn % 2 == 1, roster_source=RosterSource.SIECLE, revision=next(revisions), occurred_at=now
                )  # fmt: skip
                named = EstablishmentUpdated(uai=uai, name=f"Lycée {turn}", revision=next(revisions), occurred_at=now)
                await joins.take_in(([Fact(opened, now), Fact(named, now)], [f"cpro.establishment/{number}"]))

    at_work: list[Awaitable[None]] = [*(join(number) for number in range(8)), switch(0), switch(1)]
    await asyncio.gather(*at_work)
    for uai in uais:  # the last word: all doors are open
        now = datetime.now(UTC)
        last = TransferOptInChanged(
            uai=uai, enabled=True, roster_source=RosterSource.SIECLE, revision=next(revisions), occurred_at=now
        )
        await joins.take_in(([Fact(last, now)], ESTABLISHMENTS))

    states = await joins.fetch("SELECT state, count(*) FROM transfer GROUP BY state")
    assert states == [("planned", len(pupils))]
    assert await joins.deadlocks() == 0
