"""`cpro-support authorisations`, `candidates` and `replay authorisation`, as support runs them: a process, over HTTP, with a token."""

from collections.abc import AsyncIterator

import pytest

from cpro_test_support.authorising import (
    COUNTED,
    TICKET,
    Desk,
    authorisations,
    desk_of,
    enters,
    leaves_for_a_cfa,
    where_records_are,
)
from cpro_test_support.depth import slow
from cpro_test_support.reconciling import answering
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import Tool
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Work


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The administrators' API, and a mover."""
    async with desk_of(world, servers, Work.MOVE | Work.RELAY) as opened:
        yield opened


@pytest.fixture
async def tool(world: TransferWorld, servers: Servers) -> AsyncIterator[Tool]:
    """The tool."""
    async with answering(world) as (_, url):
        yield Tool(servers, url)


async def test_support_carries_out_an_authorisation_from_the_queue_to_the_records(
    world: TransferWorld, desk: Desk, tool: Tool
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await origin.named("Lycée du Départ")
    await cfa.named("CFA des Métiers")
    arrived = await enters(cfa)
    await world.take_in_events()
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    queue = await tool("authorisations")
    proposed = await tool("candidates", authorisation)
    dry = await tool("replay", "authorisation", authorisation, "--pupil", str(arrived), "--ticket", TICKET)
    before = await authorisations(world)
    done = await tool(
        "replay", "authorisation", authorisation, "--pupil", str(arrived), "--ticket", TICKET, "--execute", typed="y\n"
    )
    await world.take_in_events()
    await world.ends("completed")
    after = await tool("authorisations")

    assert authorisation in queue.out
    assert f"CFA des Métiers ({cfa.uai})" in queue.out
    assert str(arrived) in proposed.out
    assert "same names and birth date" in proposed.out
    assert (dry.code, before[0]["ticket"]) == (0, None)
    assert "Dry run: nothing was written." in dry.out
    number = sum(COUNTED.values())
    question = f"Move {number} records from Lycée du Départ ({origin.uai}) to CFA des Métiers ({cfa.uai})?"
    assert question in done.err
    assert (done.code, f"Published under ticket {TICKET}" in done.out) == (0, True)
    assert await where_records_are(world, leaver) == {cfa.uai}
    assert "No authorisation waits." in after.out


@slow
async def test_who_does_not_confirm_changes_nothing(world: TransferWorld, desk: Desk, tool: Tool) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    ran = await tool(
        "replay",
        "authorisation",
        authorisation,
        "--create",
        "--ticket",
        TICKET,
        "--execute",
        typed="n\n",
        LC_ALL="fr_FR.UTF-8",
    )

    assert ran.code == 1
    assert f"Transférer {sum(COUNTED.values())} enregistrements de {origin.uai} vers {cfa.uai} ?" in ran.err
    assert "Rien n'a été fait." in ran.out
    assert [one["ticket"] for one in await authorisations(world)] == [None]
    assert await cfa.fetch("SELECT id FROM pupil") == []


@slow
async def test_programs_are_answered_in_json_and_refusals_are_an_exit_code(
    world: TransferWorld, desk: Desk, tool: Tool
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    queue = await tool("authorisations", "--json")
    replayed = await tool(
        "replay", "authorisation", authorisation, "--create", "--ticket", TICKET, "--execute", "--yes", "--json"
    )
    other_ticket = await tool(
        "replay", "authorisation", authorisation, "--create", "--ticket", "CPRO-2", "--execute", "--yes"
    )
    neither = await tool("replay", "authorisation", authorisation, "--ticket", TICKET)
    not_support = await tool("authorisations", role="administrator")

    assert [(one["id"], one["missing"]) for one in queue.json] == [(authorisation, ["no_candidate"])]
    assert (replayed.code, replayed.json["dry_run"], replayed.json["creates_pupil"]) == (0, False, True)
    assert (other_ticket.code, "authorisation_taken" in other_ticket.err) == (1, True)
    assert (neither.code, "--pupil or --create" in neither.err) == (2, True)
    assert (not_support.code, "forbidden" in not_support.err) == (2, True)
