"""`cpro-support replay events`: counts, says how to go on, publishes, follows, cancels."""

from collections.abc import AsyncIterator

import pytest

from cpro_test_support.depth import slow
from cpro_test_support.letters import desk_of
from cpro_test_support.reconciling import answering
from cpro_test_support.replaying import replayed_messages
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import cpro_support
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai, opened_world
from cpro_transfer.bootstrap import Work


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[TransferWorld]:
    async with opened_world(servers.endpoints, replay_poll_seconds=0.05) as opened:
        yield opened


@slow
async def test_support_counts_then_publishes_with_the_tool(world: TransferWorld, servers: Servers) -> None:
    school, other = await world.schools.opted_in(new_uai(), new_uai())
    await school.loses(await school.has(new_ine()))
    chosen = ("replay", "events", "--uai", school.uai, "--ticket", "SUP-42")

    async with world.service(Work.RELAY), answering(world) as (_, url):
        counted = await cpro_support(servers, url, *chosen, "--json")
        replay_id = counted.json["id"]
        nothing = await replayed_messages(world, replay_id)
        published = await cpro_support(servers, url, "replay", "events", "--resume", replay_id, "--execute")
        at_once = await cpro_support(servers, url, *chosen, "--execute", "--json", LC_ALL="fr_FR.UTF-8")
        too_late = await cpro_support(servers, url, "replay", "events", "--resume", replay_id, "--cancel")

    assert (counted.code, counted.json["state"], counted.json["expected"]) == (0, "counted", 3)
    assert f"--resume {replay_id} --execute" in counted.err
    assert nothing == []
    assert published.code == 0
    assert f"3 of 3 events published, 1 establishments, replay {replay_id}: completed." in published.out
    assert len(await replayed_messages(world, replay_id)) == 3
    assert (at_once.code, at_once.json["state"], at_once.json["published"]) == (0, "completed", 3)
    assert too_late.code == 1
    assert "The replay is not at that point" in too_late.err
    assert other.uai not in published.out


@slow
async def test_wrong_usage_ends_with_2_and_nothing_is_asked_for(world: TransferWorld, servers: Servers) -> None:
    runs = {
        ("--ticket", "SUP-42"): "Give establishments, or a range of time.",
        ("--from", "2020-01-01", "--ticket", "SUP-42"): "The range is longer than 400 days",
        ("--from", "2026-01-01"): "Give the ticket: --ticket",
        ("--uai", "0752387A", "--ticket", "SUP-42"): "0752387A: not a UAI",
        ("--uai", "0752387M", "--ticket", "SUP-42"): "No establishment 0752387M uses CPro.",
        ("--from", "2026-11-01", "--ticket", "soon"): "Invalid ticket number",
        ("--cancel", "--ticket", "SUP-42"): "Give the replay to end: --resume",
    }
    async with answering(world) as (_, url):
        ran = {arguments: await cpro_support(servers, url, "replay", "events", *arguments) for arguments in runs}
        async with desk_of(world, servers, work=Work.NOTHING) as desk:
            listed = (await desk.client.get("/v1/support/event-replays")).json()["items"]

    assert {arguments: one.code for arguments, one in ran.items()} == dict.fromkeys(runs, 2)
    assert all(text in ran[arguments].err for arguments, text in runs.items())
    assert listed == []
