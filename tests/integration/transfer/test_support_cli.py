"""`cpro-support reconcile`, as support runs it: a process of its own, over HTTP, with a token from the environment."""

from collections.abc import AsyncIterator

import httpx
import pytest

from cpro_test_support.depth import slow
from cpro_test_support.reconciling import answering, database_lost, hears, knowledge, row_versions
from cpro_test_support.records import Amounts
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import cpro_support
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai, opened_world
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=1, attachments=0)
MOVE_ONLY = Work.MOVE | Work.RELAY


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    """A world that waits for no event: what is published and not known is lost."""
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as opened:
        yield opened


async def test_support_rebuilds_a_lost_database_with_one_command(world: TransferWorld, servers: Servers) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await origin.has(new_ine())
    await hears(world)
    async with world.service(MOVE_ONLY):
        await world.ends("completed")
    before = await knowledge(world)

    async with (
        database_lost(world) as anew,
        anew.service(Work.JOIN),
        answering(anew) as (_, url),
    ):
        first = await cpro_support(servers, url, "reconcile", "--json")
        again = await cpro_support(servers, url, "reconcile")

        assert (first.code, first.err) == (0, "")
        assert first.json["establishments"] == 2
        assert {one["left"] for one in first.json["differences"]} == {0}
        assert await knowledge(anew) == before
        assert again.code == 0
        assert "Nothing differs." in again.out
        assert f"2 establishments, {3} pupils, 2 transfers compared." in again.out
    assert origin.uai != destination.uai


async def test_what_is_left_for_a_person_is_told_and_is_the_exit_code(world: TransferWorld, servers: Servers) -> None:
    _, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await hears(world)
    async with world.service(MOVE_ONLY):
        (transfer,) = await world.ends("completed")
    await destination.execute("DELETE FROM transfer_receipt")

    async with answering(world) as (_, url):
        ran = await cpro_support(servers, url, "reconcile", "--settle-seconds", "0", LC_ALL="fr_FR.UTF-8")

    assert ran.code == 1
    assert "reçu manquant" in ran.out
    assert f"{destination.uai} reçu manquant {transfer['id']} (l'autre établissement a le reçu de" in ran.out
    assert "report 1" in ran.out


async def test_a_school_that_went_back_in_time_is_told_loudly(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    await hears(world)
    await school.execute("SELECT setval('pupil_revision', 1, false)")
    await school.execute("UPDATE transfer_opt_in SET revision = 0")

    async with answering(world) as (_, url):
        ran = await cpro_support(servers, url, "reconcile", "--settle-seconds", "0", "--uai", school.uai)

    assert f"BEWARE: the database of {school.uai} was restored from an older backup. (> 1)" in ran.err
    assert ran.code == 0


async def test_a_dry_run_through_the_tool_writes_nothing_and_says_what_it_would_repair(
    world: TransferWorld, servers: Servers
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    await school.has(new_ine())
    before = await row_versions(world)

    async with answering(world) as (_, url):
        ran = await cpro_support(servers, url, "reconcile", "--dry-run", "--json")

    assert await row_versions(world) == before
    assert ran.code == 1
    assert ran.json["differences"] == [
        {"kind": "pupil_unknown", "number": 1, "repaired": 0, "left": 1},
        {"kind": "opt_in_behind", "number": 1, "repaired": 0, "left": 1},
    ]


async def test_a_school_that_can_not_be_compared_keeps_no_other_from_it(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    unknown = new_uai()

    async with answering(world) as (_, url):
        ran = await cpro_support(
            servers, url, "reconcile", "--json", "--settle-seconds", "0", "--uai", school.uai, "--uai", unknown
        )

    assert ran.code == 3
    assert ran.json["not_compared"] == [{"uai": unknown, "code": "establishment_unknown"}]
    assert ran.json["establishments"] == 1


@slow
async def test_who_may_not_reconcile_is_told_and_nothing_is_done(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    before = await row_versions(world)

    async with answering(world) as (_, url):
        refused = await cpro_support(servers, url, "reconcile", role="platform")
        direct = await cpro_support(servers, url, "reconcile", "--uai", school.uai, role="administrator")
        nonsense = await cpro_support(servers, url, "reconcile", "--uai", "0752387A")
        nowhere = await cpro_support(servers, "", "reconcile")

    assert [ran.code for ran in (refused, direct, nonsense, nowhere)] == [2, 2, 2, 2]
    assert "Access denied" in refused.err
    assert "0752387A: not a UAI" in nonsense.err
    assert "CPRO_SUPPORT_URL is not set" in nowhere.err
    assert await row_versions(world) == before


async def test_establishments_are_listed_page_by_page(world: TransferWorld, servers: Servers) -> None:
    schools = await world.schools.create(new_uai(), new_uai(), new_uai())
    bearer = {"Authorization": f"Bearer {servers.tokens.token('tests', ['operations'])}"}

    async with answering(world) as (_, url), httpx.AsyncClient(base_url=url, headers=bearer) as client:
        first = (await client.get("/v1/support/establishments?limit=2")).json()
        second = (await client.get(f"/v1/support/establishments?limit=2&cursor={first['next_cursor']}")).json()

    assert [one["uai"] for one in (*first["items"], *second["items"])] == sorted(school.uai for school in schools)
    assert second["next_cursor"] is None
