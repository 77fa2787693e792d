"""Situation 2 of the manual, told from end to end: who allows it, who carries it out, and where the records are then."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from cpro_contracts.identifiers import match_key_of_authorisation
from cpro_test_support.authorising import (
    COUNTED,
    FEW,
    TICKET,
    Desk,
    announced,
    authorisations,
    desk_of,
    enters,
    keeps_its_own_roster,
    leaves_for_a_cfa,
    where_records_are,
)
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The API, with a mover and a relay."""
    async with desk_of(world, servers, Work.MOVE | Work.RELAY) as opened:
        yield opened


async def test_the_records_follow_a_pupil_without_an_ine_to_a_cfa(world: TransferWorld, servers: Servers) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    async with desk_of(world, servers, Work.ALL) as desk:
        authorisation = await desk.authorised(origin, leaver, cfa.uai)
        found = (await desk.support("GET", f"authorisations/{authorisation}/candidates")).json()["candidates"]
        chosen = found[0]["pupil"]["pupil_id"]

        replayed = await desk.replay(authorisation, pupil_id=chosen)
        (transfer,) = await world.ends("completed")

    assert chosen == str(arrived)
    assert replayed.status_code == 200
    assert await where_records_are(world, leaver) == {cfa.uai}
    assert transfer["match_key"] == match_key_of_authorisation(UUID(authorisation))
    assert (transfer["destination_pupil_id"], transfer["records"]) == (arrived, sum(COUNTED.values()))
    (kept,) = await authorisations(world)
    assert (kept["ended_as"], kept["ticket"], kept["transfer_id"]) == ("executed", TICKET, str(transfer["id"]))
    assert (await origin.fetch("SELECT records_moved_to FROM pupil WHERE id = %s", leaver)) == [(cfa.uai,)]


async def test_where_the_cfa_has_no_such_pupil_one_is_created_from_the_origins_sheet(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, _ = await leaves_for_a_cfa(world)
    ine = new_ine()
    leaver = await origin.has(ine, family_name="HAUTECŒUR", first_name="Zoé", records=FEW)
    await origin.loses(leaver)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    answer = (await desk.replay(authorisation, create=True)).json()
    await world.take_in_events()
    await world.ends("completed", origin_pupil_id=leaver)

    created = answer["arrival"]["pupil_id"]
    rows = await cfa.fetch(
        "SELECT id::text, family_name, first_name, birth_date::text, ine, ine_status, source, active, previous_uai,"
        " match_key FROM pupil"
    )
    assert rows == [
        (created, "HAUTECŒUR", "Zoé", "2009-04-12", ine, "not_trusted", "manual", True, origin.uai,
         f"pupil:{cfa.uai}:{created}"),
    ]  # fmt: skip
    assert await where_records_are(world, leaver) == {cfa.uai}


async def test_a_dry_run_shows_what_would_be_and_writes_nothing_anywhere(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    logs = [await school.fetch("SELECT count(*) FROM outbox") for school in (origin, cfa)]
    before = await authorisations(world)

    shown = (await desk.replay(authorisation, create=True, dry_run=True)).json()

    key = match_key_of_authorisation(UUID(authorisation))
    assert shown["dry_run"] is True
    assert shown["records"] == COUNTED
    assert [(one["establishment"], one["type"], one["match_key"], one["pupil_id"]) for one in shown["events"]] == [
        (origin.uai, "cpro.pupil.deactivated.v1", key, str(leaver)),
        (cfa.uai, "cpro.pupil.created.v1", key, None),
    ]
    assert shown["creates_pupil"] is True
    assert shown["arrival"]["family_name"] == "MARTIN"
    assert [await school.fetch("SELECT count(*) FROM outbox") for school in (origin, cfa)] == logs
    assert await cfa.fetch("SELECT id FROM pupil") == []
    assert await authorisations(world) == before


async def test_what_the_dry_run_showed_is_what_is_published_under_the_ticket(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    shown = (await desk.replay(authorisation, pupil_id=str(arrived), dry_run=True)).json()["events"]

    await desk.replay(authorisation, pupil_id=str(arrived))

    said = []
    for school in (origin, cfa):
        said += await school.fetch(
            "SELECT subject, type, key, payload->>'pupil_id', source, payload->>'source', published_at IS NOT NULL"
            " FROM outbox WHERE key LIKE 'authorisation:%%'"
        )
    assert [row[:4] for row in said] == [
        (one["establishment"], one["type"], one["match_key"], one["pupil_id"]) for one in shown
    ]
    assert {row[4:] for row in said} == {(f"/services/transfer/replays/{TICKET}", "replay", True)}


async def test_a_pupil_with_an_ine_whose_new_school_is_outside_siecle_can_be_authorised(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa = await world.schools.opted_in(new_uai(), new_uai())
    await keeps_its_own_roster(cfa)
    ine = new_ine()
    leaver = await origin.has(ine, records=FEW)
    await origin.loses(leaver)
    arrived = await enters(cfa, ine=ine, family_name="MARTINE")
    await world.take_in_events()
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    await desk.replay(authorisation, pupil_id=str(arrived))
    await world.take_in_events()
    await world.ends("completed")

    assert await where_records_are(world, leaver) == {cfa.uai}
    async with world.database.begin() as tx:
        rows = await tx.execute("SELECT revision <= moved_at_revision FROM enrolment WHERE pupil_id = %s", (leaver,))
        assert await rows.fetchall() == [(True,), (True,)], "under the INE's key nothing is left to move either"


async def test_the_events_of_an_authorisation_tell_of_it_without_a_name(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    other = (await world.schools.opted_in(new_uai()))[0]
    first = await desk.authorised(origin, leaver, cfa.uai)
    second = await desk.authorised(origin, leaver, other.uai)

    await desk.revoke(origin, leaver)

    granted, revoked = "cpro.transfer.authorised.v1", "cpro.transfer.authorisation-revoked.v1"
    assert await announced(world, first) == [granted, revoked]
    assert await announced(world, second) == [granted, revoked]
    kept = json.dumps(await authorisations(world), ensure_ascii=False)
    assert "MARTIN" not in kept
    assert "2009-04-12" not in kept


async def test_the_list_and_the_explanation_follow_an_authorisation_to_its_end(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    await world.take_in_events()
    await cfa.named("CFA des Métiers")
    await world.take_in_events()
    seen = []

    async def look() -> None:
        (entry,) = await desk.listed(origin)
        told = (await desk.administrator(origin, "GET", f"pupils/{leaver}/transfer-explanation")).json()
        assert told["code"] == entry["code"]
        seen.append((entry["code"], entry["outlook"], (entry["authorisation"] or {}).get("state")))

    await look()
    authorisation = await desk.authorised(origin, leaver, cfa.uai)
    await look()
    assert (await desk.listed(origin))[0]["destination"] == {"uai": cfa.uai, "name": "CFA des Métiers"}
    await desk.revoke(origin, leaver)
    await look()
    again = await desk.authorised(origin, leaver, cfa.uai)
    await look()
    await desk.replay(again, pupil_id=str(arrived))
    await world.take_in_events()
    await world.ends("completed")

    assert authorisation != again
    assert seen == [
        ("no_ine", "impossible", None),
        ("authorisation_awaiting_support", "impossible", "awaiting_support"),
        ("authorisation_revoked", "impossible", "revoked"),
        ("authorisation_awaiting_support", "impossible", "awaiting_support"),
    ]
    assert await desk.listed(origin) == []
