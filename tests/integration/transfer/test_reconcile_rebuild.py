"""The transfer database is lost and created anew: the schools' own databases tell what it knew, and every move goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient

from cpro_platform.errors import RetryableError
from cpro_platform.retry import retrying
from cpro_tenant_db.provisioning import schema_version
from cpro_test_support.depth import slow
from cpro_test_support.reconciling import database_lost, hears, kinds, knowledge, reconciled
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai, opened_world
from cpro_transfer.adapters.tenant_records import TenantRecords
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.domain.reconciliation import Kind
from cpro_transfer.domain.transfers import Claim, TransferState
from cpro_transfer.entrypoints.api import create
from cpro_transfer.errors import SupersededError

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, attachments=1)
MOVE_ONLY = Work.MOVE | Work.RELAY


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A world that waits for no event: what is published and not known is lost."""
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as opened:
        yield opened


@dataclass(slots=True)
class Story:
    """Three schools with their doors open and one with them closed; a pupil for every state that a transfer can be in."""

    world: TransferWorld
    schools: list[School] = field(default_factory=list)
    pupils: dict[str, dict[str, UUID]] = field(default_factory=dict)
    """By what has become of them, the pupil's id in each school."""
    transfer_of: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def told(self) -> None:
        """Play it: movers are killed half-way, and one transfer has only been planned."""
        self.schools = await self.world.schools.opted_in(*(new_uai() for _ in range(4)))
        home, away, _, closed = self.schools
        await closed.opts_out()
        await self._completed(home, away)
        await self._dies("landed", "move.landed", home, away)
        await self._dies("held", "move.held", home, away)
        for what, there in (("waits for an arrival", None), ("waits for an opt-in", closed), ("planned", away)):
            await self._leaves(what, home, there)
        corrected = await home.has(new_ine(), records=RECORDS)
        await hears(self.world)
        await home.corrects_ine(corrected, new_ine())
        await hears(self.world)

    async def _completed(self, home: School, away: School) -> None:
        await self._leaves("moved", home, away)
        await self._leaves("came back and left again", home, away)
        async with self.world.service(MOVE_ONLY):
            await self.world.ends("completed", number=2)
            traveller = self.pupils["came back and left again"]
            for origin, destination, number in ((away, home, 3), (home, away, 4)):
                await destination.has_again(traveller[destination.uai])
                await origin.loses(traveller[origin.uai])
                await hears(self.world)
                await self.world.ends("completed", number=number)
            await self._leaves("came back for good", home, away)
            await self.world.ends("completed", number=5)
            returned = self.pupils["came back for good"]
            await away.loses(returned[away.uai])
            await home.has_again(returned[home.uai])
            await hears(self.world)
            await self.world.ends("completed", number=6)

    async def _leaves(self, what: str, origin: School, destination: School | None) -> None:
        ine = new_ine()
        leaver = await origin.has(ine, records=RECORDS)
        await origin.loses(leaver)
        self.pupils[what] = {origin.uai: leaver}
        if destination:
            self.pupils[what][destination.uai] = await destination.has(ine)
        await hears(self.world)

    async def _dies(self, what: str, point: str, origin: School, destination: School) -> None:
        await self._leaves(what, origin, destination)
        # The lease outlasts the story: nobody else takes it over in this database.
        with self.world.process("move", crash_at=point, lease_seconds=600.0, concurrent_batches=1) as mover:
            await mover.start()
            await mover.ended()
        (self.transfer_of[what],) = await self.world.transfers(origin_pupil_id=self.pupils[what][origin.uai])


async def rebuilt(world: TransferWorld, *, heard: bool = True) -> None:
    """Reconcile every school, let the join hear them (unless it is at work), and come back where it is asked for."""
    found = await retrying(lambda: reconciled(world), when=_is_busy, attempts=5)
    if heard:
        await hears(world)
    again = [uai for uai, one in found.items() if one.come_back]

    async def none_comes_back() -> bool | None:
        return None if any(one.come_back for one in (await reconciled(world, *again)).values()) else True

    if again:
        await eventually(none_comes_back)
    if heard:
        await hears(world)


def _is_busy(error: BaseException) -> bool:
    """As the tool takes it: asked again."""
    return isinstance(error, RetryableError)


async def _places(world: TransferWorld) -> dict[UUID, str]:
    verdict = await world.schools.verify()
    assert verdict.clean
    owners = world.schools.seeded.owners
    return {owners[row]: place for row, place in verdict.places.items()}


async def _carried_on(world: TransferWorld, story: Story) -> None:
    """Run movers, and see every record where the story without a loss would have brought it."""
    home, away, *_ = story.schools
    async with world.service(MOVE_ONLY, lease_seconds=2.0):
        await world.ends("completed", number=9)
        await world.at_rest()
    places = await _places(world)
    assert {what: places[ids[home.uai]] for what, ids in story.pupils.items()} == {
        "moved": away.uai,
        "came back and left again": away.uai,
        "came back for good": home.uai,
        "landed": away.uai,
        "held": away.uai,
        "waits for an arrival": home.uai,
        "waits for an opt-in": home.uai,
        "planned": away.uai,
    }
    for school in story.schools:
        assert await school.fetch("SELECT * FROM transfer_hold") == []
        assert await school.fetch("SELECT * FROM transfer_object_removal") == []
    assert await world.receipt_findings() == {}
    for what in ("landed", "held"):
        (transfer,) = await world.transfers(id=story.transfer_of[what]["id"])
        assert transfer["state"] == "completed"
    assert kinds(await reconciled(world)) == {}


def _comparable(known: dict[str, list[Any]], story: Story) -> dict[str, list[Any]]:
    """But for how far the two that died had come: their mover had not said yet."""
    died = {story.transfer_of[what]["origin_pupil_id"] for what in ("landed", "held")}
    transfers = [row[:5] if row[2] in died else row for row in known["transfers"]]
    return known | {"transfers": transfers}


async def test_an_emptied_transfer_database_is_rebuilt_from_the_schools_and_every_move_goes_on(
    world: TransferWorld, servers: Servers
) -> None:
    story = Story(world)
    await story.told()
    before = _comparable(await knowledge(world), story)
    lists = await _lists(world, servers, story)
    completed = {row["id"]: row for row in await world.transfers(state="completed")}
    claim = _claim(story.transfer_of["held"])

    async with database_lost(world) as anew:
        await rebuilt(anew)

        assert _comparable(await knowledge(anew), story) == before
        assert await _lists(anew, servers, story) == lists
        for row in await anew.transfers(state="completed"):
            _same_transfer(row, completed.pop(row["id"]))
        assert completed == {}
        for what, state in (("landed", "landed"), ("held", "holding")):
            (row,) = await anew.transfers(id=story.transfer_of[what]["id"])
            assert (row["state"], row["epoch"] >= story.transfer_of[what]["epoch"]) == (state, True)
        await _carried_on(anew, story)
        await _sleeper_is_fenced(anew, claim)
        assert (await anew.schools.verify()).clean


def _same_transfer(row: dict[str, Any], before: dict[str, Any]) -> None:
    same = (
        "match_key", "origin_uai", "origin_pupil_id", "origin_revision", "destination_uai", "destination_pupil_id",
        "destination_revision", "origin_opt_in_revision", "destination_opt_in_revision", "records", "epoch",
    )  # fmt: skip
    assert {name: row[name] for name in same} == {name: before[name] for name in same}
    for name in ("called_for_at", "landed_at", "finished_at", "completed_at"):
        assert abs((row[name] - before[name]).total_seconds()) < 5, name


async def _lists(world: TransferWorld, servers: Servers, story: Story) -> dict[str, list[Any]]:
    """Every school's completed transfers, as its administrator sees them, in their order."""
    found = {}
    async with _api(world) as client:
        for school in story.schools:
            token = servers.tokens.token("tests", ["administrator"], school.uai)
            for direction in ("incoming", "outgoing"):
                url = f"/v1/establishments/{school.uai}/transfers?direction={direction}&status=completed"
                answer = await client.get(url, headers={"Authorization": f"Bearer {token}"})
                shown = ("id", "status", "pupil", "other_establishment", "records")
                found[f"{school.uai} {direction}"] = [
                    {name: item.get(name) for name in shown} for item in answer.json()["items"]
                ]
    return found


@asynccontextmanager
async def _api(world: TransferWorld) -> AsyncIterator[AsyncClient]:
    app = create(Service(world.config, work=Work.NOTHING))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield client


def _claim(row: dict[str, Any]) -> Claim:
    return Claim(
        row["id"], row["epoch"], row["match_key"], TransferState.HOLDING, False, row["origin_uai"],
        row["origin_pupil_id"], row["destination_uai"], row["destination_pupil_id"],
    )  # fmt: skip


async def _sleeper_is_fenced(world: TransferWorld, claim: Claim) -> None:
    """The mover of the lost database wakes up, and goes on where it was."""
    records = TenantRecords(world.schools.tenants, schema_version=schema_version(), idle_in_transaction_seconds=5)
    with pytest.raises(SupersededError):
        await records.land(claim.origin_uai, claim.destination_uai, [claim], uuid4())
    outcome = await records.hold(claim.origin_uai, [claim], {}, uuid4(), landed=[])
    assert outcome.held == frozenset()


@slow
async def test_a_join_that_heard_everything_again_before_the_rebuild_has_planned_nothing_that_stays(
    world: TransferWorld,
) -> None:
    story = Story(world)
    await story.told()
    before = _comparable(await knowledge(world), story)

    async with database_lost(world) as anew:
        await hears(anew)
        assert len(await anew.transfers(state="planned")) > 3
        await rebuilt(anew)

        assert _comparable(await knowledge(anew), story) == before
        await _carried_on(anew, story)


@slow
async def test_movers_and_the_join_may_work_all_through_the_rebuild(world: TransferWorld) -> None:
    """They plan, before they know better, what has moved already: there is nothing left to move, and nothing is lost."""
    story = Story(world)
    await story.told()

    async with database_lost(world) as anew:
        async with anew.service(lease_seconds=2.0):
            await rebuilt(anew, heard=False)
            await anew.ends("completed", number=9)
            await anew.at_rest()
        await rebuilt(anew)
        async with anew.service(MOVE_ONLY, lease_seconds=2.0):
            await anew.at_rest()
        home, away, *_ = story.schools
        places = await _places(anew)
        assert places[story.pupils["landed"][home.uai]] == places[story.pupils["held"][home.uai]] == away.uai
        for school in story.schools:
            assert await school.fetch("SELECT * FROM transfer_hold") == []


@slow
async def test_without_the_schools_event_logs_the_same_transfers_come_back(world: TransferWorld) -> None:
    story = Story(world)
    await story.told()
    before = {(row["id"], row["records"]) for row in await world.transfers(state="completed")}
    for school in story.schools:
        await school.execute("DELETE FROM outbox")

    async with database_lost(world) as anew:
        await rebuilt(anew)

        rows = await anew.transfers(state="completed")
        assert {(row["id"], row["records"]) for row in rows} == before
        assert sum(row["origin_revision"] < 0 for row in rows) > 0
        await _carried_on(anew, story)


async def _landed_and_the_origin_restored(world: TransferWorld) -> tuple[School, School, UUID]:
    """Landed, and then the origin's database goes back to before the hold: the rows are at both, and nothing says why."""
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    with world.process("move", crash_at="move.landed", lease_seconds=600.0) as mover:
        await mover.start()
        await mover.ended()
    await origin.execute("DELETE FROM transfer_hold")
    await origin.execute("DELETE FROM transfer_fence")
    return origin, destination, leaver


async def test_what_has_landed_goes_forward_where_the_origin_has_the_very_rows(world: TransferWorld) -> None:
    _, destination, _ = await _landed_and_the_origin_restored(world)

    async with database_lost(world) as anew:
        await rebuilt(anew)
        async with anew.service(MOVE_ONLY, lease_seconds=2.0):
            await anew.ends("completed")

        verdict = await anew.schools.verify()
        assert verdict.clean
        assert set(verdict.places.values()) == {destination.uai}
        assert kinds(await reconciled(anew)) == {}


async def test_what_has_landed_waits_for_a_person_where_the_origin_has_other_rows(world: TransferWorld) -> None:
    origin, _, leaver = await _landed_and_the_origin_restored(world)
    await origin.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'written since')", leaver)

    async with database_lost(world) as anew:
        await rebuilt(anew)
        async with anew.service(MOVE_ONLY, lease_seconds=2.0):
            await anew.ends("landed", reason="digest_mismatch")

        assert await origin.fetch("SELECT count(*) FROM report WHERE title = 'written since'") == [(1,)]
        assert not (await anew.schools.verify()).lost


async def test_a_hold_is_traced_though_the_pupils_number_was_corrected_at_the_origin(world: TransferWorld) -> None:
    """The destination has the pupil under the number of before: the origin's event log still knows it."""
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    with world.process("move", crash_at="move.held", lease_seconds=600.0) as mover:
        await mover.start()
        await mover.ended()
    await origin.corrects_ine(leaver, new_ine())

    async with database_lost(world) as anew:
        await rebuilt(anew)
        async with anew.service(MOVE_ONLY, lease_seconds=2.0):
            await anew.at_rest()

        assert await origin.fetch("SELECT * FROM transfer_hold") == []
        assert set((await anew.schools.verify()).places.values()) == {origin.uai}
        assert kinds(await reconciled(anew)) == {}
    assert origin.uai != destination.uai


async def test_a_hold_for_a_transfer_that_is_nowhere_is_told_and_its_pupil_is_left_alone(world: TransferWorld) -> None:
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    with world.process("move", crash_at="move.held", lease_seconds=600.0) as mover:
        await mover.start()
        await mover.ended()
    ((transfer_id,),) = await origin.fetch("SELECT transfer_id FROM transfer_hold")
    await destination.execute("DELETE FROM transfer_fence")
    for school in (origin, destination):
        await school.execute("DELETE FROM outbox")

    async with database_lost(world) as anew:
        await reconciled(anew)
        await hears(anew)
        found = await reconciled(anew)

        assert found[origin.uai].found == {"transfer_untraced": [transfer_id]}
        assert found[origin.uai].come_back
        assert leaver not in {row[2] for row in (await knowledge(anew))["enrolments"]}


async def test_both_schools_of_a_transfer_may_be_reconciled_at_once(world: TransferWorld) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    for _ in range(5):
        ine = new_ine()
        leaver = await origin.has(ine, records=Amounts(reports=1, attachments=0))
        await origin.loses(leaver)
        await destination.has(ine)
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("completed", number=5)
    before = await knowledge(world)

    async with database_lost(world) as anew:
        async with Service(anew.config, work=Work.NOTHING) as service:
            both = [service.reconciler.reconcile(one.uai, dry_run=False) for one in (origin, destination) * 3]
            found = await asyncio.gather(*both)
        await hears(anew)

        assert sum(one.repaired.get(Kind.TRANSFER_UNKNOWN, 0) for one in found) == 5
        assert await knowledge(anew) == before
