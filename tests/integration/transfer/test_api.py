"""What an administrator asks of the transfer service, over HTTP with real tokens."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from cpro_contracts.identifiers import IneStatus
from cpro_platform.http import encode_cursor
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.entrypoints.api import create

RECORDS = Amounts()


@dataclass(slots=True)
class Api:
    """The service's API, asked as the administrator of a school unless said otherwise."""

    client: AsyncClient
    servers: Servers

    async def get(self, school: School, path: str, *, token: str | None = None, **headers: str) -> Response:
        """GET below the school's own path."""
        bearer = token or self.servers.tokens.token("tests", ["administrator"], school.uai)
        headers = {"Authorization": f"Bearer {bearer}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return await self.client.get(f"/v1/establishments/{school.uai}/{path}", headers=headers)


@pytest.fixture
async def api(world: TransferWorld, servers: Servers) -> AsyncIterator[Api]:
    """The API and a mover in one process."""
    app = create(Service(world.config, work=Work.MOVE))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield Api(client, servers)


async def test_both_schools_see_the_transfer_and_the_same_receipts(world: TransferWorld, api: Api) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await origin.named("Lycée du Départ")
    await destination.named("Lycée de l'Arrivée")
    ine = new_ine()
    leaver = await origin.has(ine, family_name="HAUTECŒUR", first_name="Zoé", records=RECORDS)
    await origin.loses(leaver)
    arrived = await destination.has(ine, family_name="HAUTECOEUR", first_name="Zoé")
    await world.take_in_events()
    (transfer,) = await world.ends("completed")

    (outgoing,) = (await api.get(origin, "transfers?direction=outgoing")).json()["items"]
    (incoming,) = (await api.get(destination, "transfers?direction=incoming")).json()["items"]

    assert outgoing["pupil"] == {"id": str(leaver), "family_name": "HAUTECŒUR", "first_name": "Zoé"}
    assert incoming["pupil"] == {"id": str(arrived), "family_name": "HAUTECOEUR", "first_name": "Zoé"}
    assert outgoing["other_establishment"] == {"uai": destination.uai, "name": "Lycée de l'Arrivée"}
    assert incoming["other_establishment"] == {"uai": origin.uai, "name": "Lycée du Départ"}
    seen_by_one = (await api.get(origin, f"transfers/{transfer['id']}")).json()["receipts"]
    seen_by_other = (await api.get(destination, f"transfers/{transfer['id']}")).json()["receipts"]
    chains = [receipts[side].pop("chain") for receipts in (seen_by_one, seen_by_other) for side in sorted(receipts)]
    assert seen_by_one == seen_by_other
    theirs_incoming, own_outgoing, own_incoming, theirs_outgoing = chains
    assert (theirs_incoming, theirs_outgoing) == (None, None)
    assert [own_outgoing["sequence"], own_incoming["sequence"]] == [1, 1]
    assert own_outgoing["hash"] != own_incoming["hash"]
    assert seen_by_one["outgoing"]["tables"] == seen_by_one["incoming"]["tables"]


async def test_a_third_school_learns_nothing(world: TransferWorld, api: Api) -> None:
    origin, destination, third = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    leaver = await origin.has(ine, records=RECORDS)
    await origin.loses(leaver)
    await destination.has(ine)
    await world.take_in_events()
    (transfer,) = await world.ends("completed")

    assert (await api.get(third, f"transfers/{transfer['id']}")).status_code == 404
    assert (await api.get(third, f"pupils/{leaver}/transfer-explanation")).status_code == 404
    assert (await api.get(third, "transfers?direction=outgoing")).json()["items"] == []


@pytest.mark.parametrize("path", ["transfers?direction=outgoing", "transferable-pupils"])
async def test_only_the_administrator_of_the_school_is_let_in(world: TransferWorld, api: Api, path: str) -> None:
    school, other = await world.schools.create(new_uai(), new_uai())
    tokens = api.servers.tokens

    answers = {
        "own": await api.get(school, path),
        "other school": await api.get(school, path, token=tokens.token("tests", ["administrator"], other.uai)),
        "support": await api.get(school, path, token=tokens.token("tests", ["support"])),
        "expired": await api.get(
            school, path, token=tokens.token("tests", ["administrator"], school.uai, ttl_seconds=-3600)
        ),
        "none": await api.client.get(f"/v1/establishments/{school.uai}/{path}"),
    }

    assert {who: answer.status_code for who, answer in answers.items()} == {
        "own": 200, "other school": 403, "support": 403, "expired": 401, "none": 401,
    }  # fmt: skip
    assert answers["other school"].headers["content-type"] == "application/problem+json"
    assert answers["other school"].json()["code"] == "forbidden"


async def test_a_former_pupil_is_listed_with_what_to_expect(world: TransferWorld, api: Api) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    without_ine = await school.has(None, family_name="AUBE", records=RECORDS)
    wrong_ine = await school.has(new_ine(), family_name="BRUN", ine_status=IneStatus.NOT_TRUSTED, records=RECORDS)
    automatic = await school.has(new_ine(), family_name="CLAIR", born=date(2010, 1, 1), records=RECORDS)
    present = await school.has(new_ine(), family_name="DORE", records=RECORDS)
    for leaver in (automatic, without_ine, wrong_ine):
        await school.loses(leaver)
    await world.take_in_events()

    first = (await api.get(school, "transferable-pupils?limit=2")).json()
    second = (await api.get(school, f"transferable-pupils?limit=2&cursor={first['next_cursor']}")).json()
    listed = [*first["items"], *second["items"]]

    assert [(entry["pupil"]["id"], entry["code"], entry["automatic"]) for entry in listed] == [
        (str(without_ine), "no_ine", False),
        (str(wrong_ine), "ine_not_trusted", False),
        (str(automatic), "not_arrived", True),
    ]
    assert listed[0]["records"] == {
        "report": 3, "activity_sheet": 4, "assessment": 6, "professional_passport": 1, "passport_entry": 4, "attachment": 2,
    }  # fmt: skip
    assert second["next_cursor"] is None
    assert str(present) not in {entry["pupil"]["id"] for entry in listed}


async def test_the_explanation_says_what_is_missing_in_the_language_of_the_reader(
    world: TransferWorld, api: Api
) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await destination.opts_out()
    ine = new_ine()
    leaver = await origin.has(ine)
    await origin.loses(leaver)
    await destination.has(ine)
    await world.take_in_events()

    french = (await api.get(origin, f"pupils/{leaver}/transfer-explanation")).json()
    english = (await api.get(origin, f"pupils/{leaver}/transfer-explanation", Accept_Language="en")).json()

    assert french["code"] == english["code"] == "destination_not_opted_in"
    assert "n'a pas activé le transfert" in french["explanation"]
    assert "has not activated transfers" in english["explanation"]
    assert french["conditions"] == {
        "has_trusted_ine": True, "has_left_origin": True, "origin_opted_in": True, "has_arrived": True,
        "destination_opted_in": False,
    }  # fmt: skip
    assert french["other_establishment"] is None


async def test_nonsense_is_answered_with_a_problem_in_french(world: TransferWorld, api: Api) -> None:
    (school,) = await world.schools.create(new_uai())

    cursor = await api.get(school, "transfers?direction=outgoing&cursor=nonsense")
    pupil = await api.get(school, "pupils/not-a-pupil/transfer-explanation")
    unknown = await api.get(School(world.schools, new_uai()), "transferable-pupils")

    assert (cursor.status_code, cursor.json()["code"]) == (422, "invalid_request")
    assert (pupil.status_code, pupil.json()["code"]) == (422, "invalid_request")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "establishment_unknown")


@pytest.mark.parametrize("path", ["transfers?direction=outgoing", "transferable-pupils?"])
async def test_a_cursor_that_nobody_gave_out_is_refused(world: TransferWorld, api: Api, path: str) -> None:
    (school,) = await world.schools.opted_in(new_uai())

    for forged in (encode_cursor("hier", "là"), encode_cursor("a", "b", "c"), encode_cursor(1), "%%%"):
        answer = await api.get(school, f"{path}&cursor={forged}")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
