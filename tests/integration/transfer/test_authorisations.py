"""What an administrator may authorise, and what is refused with which words. Each refusal leaves everything as it was."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from cpro_contracts.identifiers import IneStatus
from cpro_platform.clock import Clock
from cpro_test_support.authorising import (
    FEW,
    TICKET,
    Desk,
    announced,
    authorisations,
    desk_of,
    enters,
    keeps_its_own_roster,
    leaves_for_a_cfa,
    terms,
    today,
)
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work


@pytest.fixture
async def desk(world: TransferWorld, servers: Servers) -> AsyncIterator[Desk]:
    """The API alone: nothing moves."""
    async with desk_of(world, servers, Work.NOTHING) as opened:
        yield opened


class Later(Clock):
    """A clock that is ahead."""

    def __init__(self, days: int) -> None:
        self._ahead = timedelta(days=days)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


async def test_the_same_authorisation_again_changes_nothing(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)

    first = await desk.authorise(origin, leaver, cfa.uai)
    again = await desk.authorise(origin, leaver, cfa.uai.lower())

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(await authorisations(world)) == 1
    assert await announced(world, first.json()["id"]) == ["cpro.transfer.authorised.v1"]


async def test_a_changed_authorisation_is_another_one_and_the_first_holds_no_longer(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    (greta,) = await world.schools.opted_in(new_uai())

    first = await desk.authorised(origin, leaver, cfa.uai)
    second = await desk.authorised(origin, leaver, greta.uai, given_by="legal_guardian", collected_by="administration")

    old, new = await authorisations(world)
    assert (old["id"], old["ended_as"], old["destination_uai"]) == (first, "replaced", cfa.uai)
    assert (new["id"], new["ended_as"], new["destination_uai"]) == (second, None, greta.uai)
    assert (new["given_by"], new["collected_by"], new["recorded_by"]) == (
        "legal_guardian", "administration", f"head-of-{origin.uai}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"destination_uai": "0752387A"}, 422, "invalid_uai"),
        ({"destination_uai": "nonsense"}, 422, "invalid_uai"),
        ({"destination_uai": "0752387M"}, 422, "destination_unknown"),
        ({"destination_uai": "own"}, 422, "same_establishment"),
        ({"given_on": today() + timedelta(days=3)}, 422, "authorisation_date_in_future"),
        ({"given_on": today() - timedelta(days=400)}, 422, "authorisation_too_old"),
        ({"given_by": "pupil"}, 422, "guardian_required"),
        ({"given_by": "a neighbour"}, 422, "invalid_request"),
        ({"collected_by": None}, 422, "invalid_request"),
    ],
)
async def test_wrong_terms_are_refused_in_both_languages_and_nothing_is_recorded(
    world: TransferWorld, desk: Desk, changes: dict[str, object], status: int, code: str
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    if changes.get("destination_uai") == "own":
        changes = {"destination_uai": origin.uai}
    body, path = terms(cfa.uai, **changes), f"transfer-authorisations/{leaver}"

    french = await desk.administrator(origin, "PUT", path, body)
    english = await desk.administrator(origin, "PUT", path, body, Accept_Language="en")

    assert (french.status_code, french.json()["code"]) == (status, code)
    assert french.headers["content-type"] == "application/problem+json"
    assert french.json()["title"] != english.json()["title"]
    assert await authorisations(world) == []


async def test_who_was_of_age_on_that_day_decides_alone(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, _ = await leaves_for_a_cfa(world)
    on = date(today().year, today().month, min(today().day, 28))
    eighteen = on.replace(year=on.year - 18)
    adult = await origin.has(None, born=eighteen)
    await origin.loses(adult)

    on_the_birthday = await desk.authorise(origin, adult, cfa.uai, given_by="pupil", given_on=on)
    the_day_before = await desk.authorise(origin, adult, cfa.uai, given_by="pupil", given_on=on - timedelta(days=1))

    assert on_the_birthday.status_code == 201
    assert (the_day_before.status_code, the_day_before.json()["code"]) == (422, "guardian_required")


async def test_only_a_former_pupil_of_this_school_with_records_here_is_authorised(
    world: TransferWorld, desk: Desk
) -> None:
    origin, cfa, _ = await leaves_for_a_cfa(world)
    present = await origin.has(None)
    elsewhere = await cfa.has(None)
    await cfa.loses(elsewhere)
    moved = await origin.has(None)
    await origin.loses(moved)
    await origin.execute(
        "UPDATE pupil SET records_moved_at = now(), records_moved_to = %s WHERE id = %s", cfa.uai, moved
    )

    answers = {
        name: await desk.authorise(origin, pupil, cfa.uai)
        for name, pupil in {"present": present, "elsewhere": elsewhere, "moved": moved, "nobody": uuid4()}.items()
    }

    assert {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()} == {
        "present": (409, "pupil_not_left"),
        "elsewhere": (404, "not_found"),
        "moved": (409, "records_already_moved"),
        "nobody": (404, "not_found"),
    }
    assert await authorisations(world) == []


async def test_where_both_schools_use_siecle_and_the_pupil_has_an_ine_it_is_automatic(
    world: TransferWorld, desk: Desk
) -> None:
    origin, destination, shut = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    await shut.opts_out()
    leaver = await origin.has(new_ine(), records=FEW)
    await origin.loses(leaver)
    await world.take_in_events()

    automatic = await desk.authorise(origin, leaver, destination.uai)
    not_opted_in = await desk.authorise(origin, leaver, shut.uai)

    assert (automatic.status_code, automatic.json()["code"]) == (409, "transfer_is_automatic")
    assert automatic.json()["reason"] == "not_arrived"
    assert not_opted_in.status_code == 201, "that school may never use SIECLE's transfers: support sees what is missing"


async def test_an_ine_that_does_not_count_makes_nothing_automatic(world: TransferWorld, desk: Desk) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    leaver = await origin.has(new_ine(), ine_status=IneStatus.NOT_TRUSTED)
    await origin.loses(leaver)
    await world.take_in_events()

    assert (await desk.authorise(origin, leaver, destination.uai)).status_code == 201


async def test_a_pupil_whose_transfer_is_planned_is_not_authorised(world: TransferWorld, desk: Desk) -> None:
    origin, _, leaver = await world.a_pupil_changes_school(FEW)
    (cfa,) = await world.schools.opted_in(new_uai())
    await keeps_its_own_roster(cfa)
    await world.take_in_events()
    (transfer,) = await world.transfers(state="planned")

    refused = await desk.authorise(origin, leaver, cfa.uai)

    assert (refused.status_code, refused.json()["code"]) == (409, "transfer_under_way")
    assert refused.json()["transfer_id"] == str(transfer["id"])


async def test_of_several_pupils_each_has_an_outcome_of_their_own(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    present, twice = await origin.has(None), await origin.has(None)
    await origin.loses(twice)
    asked = [
        (leaver, cfa.uai), (present, cfa.uai), (twice, cfa.uai), (twice, cfa.uai), (uuid4(), cfa.uai), (leaver, "0752387A"),
    ]  # fmt: skip
    asked[5] = (uuid4(), "0752387A")

    answer = await desk.administrator(
        origin,
        "POST",
        "transfer-authorisations",
        {"authorisations": [terms(uai) | {"pupil_id": str(pupil)} for pupil, uai in asked]},
    )

    outcomes = answer.json()["outcomes"]
    assert answer.status_code == 200
    assert [one["pupil_id"] for one in outcomes] == [str(pupil) for pupil, _ in asked]
    assert [one["refusal"] and one["refusal"]["code"] for one in outcomes] == [
        None, "pupil_not_left", "pupil_named_twice", "pupil_named_twice", "not_found", "invalid_uai",
    ]  # fmt: skip
    assert [one["origin_pupil_id"] for one in await authorisations(world)] == [str(leaver)]


async def test_a_revoked_authorisation_is_gone_and_revoking_twice_says_so(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    await desk.authorised(origin, leaver, cfa.uai)

    first, again = await desk.revoke(origin, leaver), await desk.revoke(origin, leaver)

    assert (first.status_code, first.json()["state"]) == (200, "revoked")
    assert (again.status_code, again.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("several", [False, True], ids=["put", "post"])
async def test_a_late_repetition_gives_no_consent_again_that_was_taken_back(
    world: TransferWorld, desk: Desk, several: bool
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    one = terms(cfa.uai)
    asked: tuple[str, str, dict[str, Any]] = ("PUT", f"transfer-authorisations/{leaver}", one)
    if several:
        asked = ("POST", "transfer-authorisations", {"authorisations": [{"pupil_id": str(leaver), **one}]})
    key = {"Idempotency-Key": "once"}

    first = await desk.administrator(origin, *asked, **key)
    assert (await desk.revoke(origin, leaver)).status_code == 200
    late = await desk.administrator(origin, *asked, **key)

    assert (late.status_code, late.content) == (first.status_code, first.content)
    (only,) = await authorisations(world)
    assert only["ended_as"] == "revoked"


async def test_only_the_schools_own_administrator_authorises(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    path = f"/v1/establishments/{origin.uai}/transfer-authorisations/{leaver}"
    tokens = desk.servers.tokens

    for token in (tokens.token("t", ["administrator"], cfa.uai), tokens.token("t", ["support"])):
        headers = {"Authorization": f"Bearer {token}"}
        assert (await desk.client.put(path, json=terms(cfa.uai), headers=headers)).status_code == 403
        assert (await desk.client.delete(path, headers=headers)).status_code == 403
    assert await authorisations(world) == []


async def test_an_authorisation_expires_after_a_school_year_and_a_new_one_takes_its_place(
    world: TransferWorld, servers: Servers, desk: Desk
) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    arrived = await enters(cfa)
    await world.take_in_events()
    authorisation = await desk.authorised(origin, leaver, cfa.uai)

    async with desk_of(world, servers, Work.NOTHING, clock=Later(367)) as next_year:
        signed = int((datetime.now(UTC) + timedelta(days=367)).timestamp())
        times: dict[str, Any] = {"iat": signed, "nbf": signed, "exp": signed + 3600}
        token = servers.tokens.token("head", ["administrator"], origin.uai, **times)
        support = servers.tokens.token("support", ["support"], **times)
        listed = await next_year.client.get(
            f"/v1/establishments/{origin.uai}/transferable-pupils", headers={"Authorization": f"Bearer {token}"}
        )
        replayed = await next_year.client.post(
            "/v1/support/replays",
            json={
                "authorisation_id": authorisation, "pupil_id": str(arrived), "ticket": TICKET, "dry_run": False,
            },
            headers={"Authorization": f"Bearer {support}"},
        )  # fmt: skip
        renewed = await next_year.client.put(
            f"/v1/establishments/{origin.uai}/transfer-authorisations/{leaver}",
            json=terms(cfa.uai, given_on=today() + timedelta(days=366)),
            headers={"Authorization": f"Bearer {token}"},
        )

    assert listed.json()["items"][0]["code"] == "authorisation_expired"
    assert (replayed.status_code, replayed.json()["code"]) == (409, "authorisation_expired")
    assert renewed.status_code == 201
    assert [one["ended_as"] for one in await authorisations(world)] == ["expired", None]


async def test_two_who_record_at_once_leave_one_that_holds(world: TransferWorld, desk: Desk) -> None:
    origin, cfa, leaver = await leaves_for_a_cfa(world)
    greta: list[School] = await world.schools.opted_in(*(new_uai() for _ in range(4)))

    await asyncio.gather(*(desk.authorise(origin, leaver, school.uai) for school in [cfa, *greta]))

    kept = await authorisations(world)
    assert [one["ended_as"] for one in kept].count(None) == 1
    assert [one["ended_as"] for one in kept].count("replaced") == 4
