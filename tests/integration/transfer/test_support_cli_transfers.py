"""`cpro-support transfers` and `audit`, as support runs them: processes of their own, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cpro_test_support.depth import in_part
from cpro_test_support.desk import TICKET
from cpro_test_support.reconciling import answering
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import Tool
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Work

RECORDS = Amounts(reports=2, activity_sheets=0, assessments=0, passports=0, attachments=0)


@dataclass(frozen=True, slots=True)
class ToolAtATransfer(Tool):
    """The tool, and the schools of one transfer."""

    origin: School
    destination: School


@pytest.fixture
async def tool(world: TransferWorld, servers: Servers) -> AsyncIterator[ToolAtATransfer]:
    """One planned transfer, between two schools with names."""
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await origin.named("Lycée du Départ")
    await destination.named("CFA de l'Arrivée")
    await world.take_in_events()
    async with answering(world) as (_, url):
        yield ToolAtATransfer(servers, url, origin, destination)


async def test_support_undoes_a_transfer_and_reads_what_was_done(world: TransferWorld, tool: ToolAtATransfer) -> None:
    async with world.service(Work.MOVE):
        (moved,) = await world.ends("completed")

    listed = await tool("transfers", "list", "--uai", tool.origin.uai)
    dry = await tool("transfers", "undo", moved["id"], "--ticket", TICKET)
    assert len(await world.transfers()) == 1
    asked = await tool("transfers", "undo", moved["id"], "--ticket", TICKET, "--execute", typed="y\n")
    async with world.service(Work.MOVE):
        await world.ends("undone")
    shown = await tool("transfers", "show", moved["id"], LC_ALL="fr_FR.UTF-8")
    trail = await tool("audit", "--transfer", moved["id"], "--json")

    assert (listed.code, dry.code, asked.code, shown.code, trail.code) == (0, 0, 0, 0, 0), asked.err
    assert str(moved["id"]) in listed.out
    way = f"CFA de l'Arrivée ({tool.destination.uai}) → Lycée du Départ ({tool.origin.uai})"
    assert dry.out == f"The records of transfer {moved['id']} would return: {way}.\n"
    assert "--execute" in dry.err
    assert way in asked.err
    assert "The return is planned" in asked.out
    assert "État: undone" in shown.out
    assert [(line["action"], line["ticket"]) for line in trail.json] == [("transfer.undo_asked", TICKET)]
    assert set((await world.schools.verify()).places.values()) == {tool.origin.uai}


async def test_the_rows_in_the_way_of_an_undo_are_listed(world: TransferWorld, tool: ToolAtATransfer) -> None:
    async with world.service(Work.MOVE):
        (moved,) = await world.ends("completed")
    await tool.destination.execute("UPDATE report SET title = 'theirs'")
    rows = await tool.destination.fetch("SELECT id FROM report")

    ran = await tool("transfers", "undo", moved["id"], "--ticket", TICKET, "--execute", "--yes")

    assert ran.code == 1
    assert all(f"report  {row}  edited" in ran.out for (row,) in rows)
    assert "can't be undone" in ran.err


async def test_without_a_yes_nothing_is_cancelled_and_with_one_it_is(
    world: TransferWorld, tool: ToolAtATransfer
) -> None:
    (planned,) = await world.transfers()
    cancel = ("transfers", "cancel", planned["id"], "--ticket", TICKET, "--execute")

    refused = await tool(*cancel, typed="n\n")
    assert [t["state"] for t in await world.transfers()] == ["planned"]
    done = await tool(*cancel, typed="y\n")
    again = await tool("transfers", "retry", planned["id"], "--ticket", TICKET)

    assert (refused.code, done.code, again.code) == (1, 0, 1)
    assert [t["state"] for t in await world.transfers()] == ["cancelled"]
    assert "neither held nor postponed" in again.err


@pytest.mark.parametrize(
    ("arguments", "role"),
    in_part(
        [
            (("transfers", "undo", "00000000-0000-0000-0000-000000000000", "--ticket", TICKET), "support"),
            (("transfers", "undo", "00000000-0000-0000-0000-000000000000", "--ticket", "later"), "support"),
            (("transfers", "list"), "administrator"),
            (("audit",), "operations"),
            (("transfers", "list", "--state", "lost"), "support"),
        ],
        unpacked=True,
    ),
)
async def test_what_is_unknown_malformed_or_forbidden_is_wrong_use(
    tool: ToolAtATransfer, arguments: tuple[str, ...], role: str
) -> None:
    ran = await tool(*arguments, role=role)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err != ""
    assert "Traceback" not in ran.err
