"""What an opt-in does to pupils is told before it is given, and is what then happens. Two real services, real databases.

Settings asks the transfer service on HTTP with the administrator's own token.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from asgi_lifespan import LifespanManager
from pydantic import SecretStr

import cpro_transfer.bootstrap
import cpro_transfer.entrypoints.api
from cpro_platform.config import DatabaseSettings
from cpro_settings.bootstrap import Service, Work, prepare
from cpro_settings.config import Config, TransferServiceSettings
from cpro_settings.entrypoints.api import create
from cpro_tenant_db import privileges
from cpro_test_support.roles import tenants_of
from cpro_test_support.schools import School, fresh_database
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai

ON = {"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}
OFF = {"enabled": False, "roster_source": "siecle"}
NOTHING: dict[str, object] = {"starts": 0, "under_way": 0, "stops": 0, "done": None, "others": []}
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Office:
    """The administrator of a school that nobody has opted in yet, and what is around it."""

    world: TransferWorld
    school: School
    config: Config
    client: httpx.AsyncClient
    transfers: httpx.AsyncClient

    async def foresees(self, enabled: bool) -> dict[str, Any]:
        """The answer before the choice."""
        answer = await self.client.get("/preview", params={"enabled": enabled})
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def sees(self) -> dict[str, Any]:
        """The answer afterwards."""
        told: dict[str, Any] = (await self.client.get("/effect")).json()
        return told

    async def chooses(self, choice: dict[str, object]) -> None:
        """Make a choice that the transfer service hears of."""
        assert (await self.client.put("", json=choice)).status_code == 200
        await self.world.take_in_events()


@pytest.fixture
async def office(world: TransferWorld, servers: Servers) -> AsyncIterator[Office]:
    (school,) = await world.schools.create(new_uai())
    config = Config(
        database=DatabaseSettings(url=SecretStr(await fresh_database(servers.endpoints, "cpro_settings"))),
        tenants=tenants_of(privileges.Service.SETTINGS, world.config.tenants),
        kafka=world.config.kafka,
        oidc=world.config.oidc,
        transfer_service=TransferServiceSettings(url="http://transfers"),
    )
    await prepare(config)
    token = servers.tokens.token("admin-1", ["administrator"], school.uai)
    transfer = cpro_transfer.bootstrap.Service(world.config, work=cpro_transfer.bootstrap.Work.NOTHING)
    app = cpro_transfer.entrypoints.api.create(transfer)
    async with (
        LifespanManager(app, startup_timeout=60, shutdown_timeout=60),
        calling(config, school, token, httpx.ASGITransport(app)) as client,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://transfers") as transfers,
    ):
        yield Office(world, school, config, client, transfers)


@asynccontextmanager
async def calling(
    config: Config, school: School, token: str, transport: httpx.AsyncBaseTransport | None
) -> AsyncIterator[httpx.AsyncClient]:
    """A settings service that reaches the transfer service by this transport, and its client at `transfer-settings`."""
    app = create(Service(config, work=Work.NOTHING, transfer_transport=transport))
    async with (
        LifespanManager(app, startup_timeout=60, shutdown_timeout=60),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=f"http://settings/v1/establishments/{school.uai}/transfer-settings",
            headers={"Authorization": f"Bearer {token}"},
        ) as client,
    ):
        client.event_hooks["request"].append(_without_trailing_slash)
        yield client


async def _without_trailing_slash(request: httpx.Request) -> None:
    request.url = request.url.copy_with(path=request.url.path.rstrip("/"))


async def goes(origin: School, destination: School | None, ine: str | None = None) -> None:
    """A pupil leaves one school, and is imported by the other if there is one."""
    ine = ine or new_ine()
    await origin.loses(await origin.has(ine))
    if destination:
        await destination.has(ine)


def side(**figures: object) -> dict[str, object]:
    """Figures of a direction, nought where nothing is said."""
    others = figures.pop("others", {})
    assert isinstance(others, dict)
    return NOTHING | figures | {"others": [{"reason": reason, "number": n} for reason, n in sorted(others.items())]}


async def test_as_many_pupils_as_were_said_to_wait_for_the_opt_in_move_once_it_is_given(office: Office) -> None:
    home = office.school
    (open_school,) = await office.world.schools.opted_in(new_uai())
    (closed_school,) = await office.world.schools.create(new_uai())
    for _ in range(2):
        await goes(home, open_school)
    await goes(home, closed_school)
    await goes(home, None)
    await home.loses(await home.has(None))
    await goes(open_school, home)
    await goes(closed_school, home)
    await home.has(new_ine())
    await office.world.take_in_events()
    others_out = {"no_ine": 1, "not_arrived": 1, "destination_not_opted_in": 1}
    others_in = {"origin_not_opted_in": 1}

    before = await office.foresees(True)

    assert before["summary"] == "3 élèves sont en attente de cet accord."
    assert (before["in_force"], before["figures_unavailable"]) == (False, None)
    assert before["figures"]["outgoing"] == side(starts=2, others=others_out)
    assert before["figures"]["incoming"] == side(starts=1, others=others_in)

    await office.chooses(ON)
    under_way = await office.sees()
    async with office.world.service(cpro_transfer.bootstrap.Work.MOVE):
        await office.world.ends("completed", number=3)
    afterwards = await office.sees()

    assert under_way["summary"] == "0 transfert terminé, 3 en cours."
    assert under_way["figures"]["outgoing"] == side(under_way=2, done=0, others=others_out)
    assert afterwards["summary"] == "3 transferts terminés, 0 en cours."
    assert afterwards["figures"]["outgoing"] == side(done=2, others=others_out)
    assert afterwards["figures"]["incoming"] == side(done=1, others=others_in)

    await office.chooses(ON | {"roster_source": "manual"})
    assert (await office.sees())["figures"]["outgoing"]["done"] == 2


async def test_a_school_that_the_transfer_service_has_not_heard_of_is_answered_all_the_same(office: Office) -> None:
    assert (await office.foresees(True))["figures"]["outgoing"] == NOTHING
    await goes(office.school, None)
    await office.world.take_in_events()

    told = await office.foresees(True)

    assert told["summary"] == "0 élève est en attente de cet accord."
    assert told["figures"]["outgoing"] == side(others={"not_arrived": 1})
    assert (await office.foresees(False))["figures"]["outgoing"] == side(others={"origin_not_opted_in": 1})


async def test_withdrawing_tells_beforehand_what_it_stops_and_what_it_does_not(office: Office) -> None:
    (other,) = await office.world.schools.opted_in(new_uai())
    for origin, destination in ((office.school, other), (office.school, other), (other, office.school)):
        await goes(origin, destination)
    await office.world.take_in_events()
    await office.chooses(ON)
    async with office.world.database.begin() as tx:
        await tx.execute(
            "UPDATE transfer SET state = 'copying' WHERE id = (SELECT id FROM transfer WHERE origin_uai = %s LIMIT 1)",
            (office.school.uai,),
        )

    told = await office.foresees(False)

    assert told["summary"] == "2 transferts prévus annulés, 1 transfert déjà commencé."
    assert told["figures"]["outgoing"] == side(stops=1, under_way=1)
    assert told["figures"]["incoming"] == side(stops=1)
    assert any("les transferts prévus sont annulés" in sentence for sentence in told["consequences"])
    assert any("les transferts terminés ne sont pas défaits" in sentence for sentence in told["consequences"])
    assert (await office.sees())["figures"]["outgoing"] == side(under_way=2, done=0)

    await office.chooses(OFF)
    assert len(await office.world.transfers(state="cancelled")) == told["figures"]["outgoing"]["stops"] + 1
    assert (await office.foresees(True))["figures"]["incoming"] == side(starts=1)


async def test_what_support_has_stopped_or_undone_is_not_said_to_be_under_way(office: Office) -> None:
    (other,) = await office.world.schools.opted_in(new_uai())
    for _ in range(3):
        await goes(office.school, other)
    await office.world.take_in_events()
    await office.chooses(ON)
    async with office.world.database.begin() as tx:
        rows = await (await tx.execute("SELECT id FROM transfer ORDER BY id")).fetchall()
        for (transfer_id,), (state, reason) in zip(
            rows,
            [("cancelled", "cancelled_by_support"), ("undone", None), ("held", "identity_mismatch")],
            strict=True,
        ):
            await tx.execute(
                "UPDATE transfer SET state = %s, reason = %s, due_at = NULL WHERE id = %s", (state, reason, transfer_id)
            )

    told = await office.sees()

    others = {"cancelled_by_support": 1, "undone": 1, "identity_mismatch": 1}
    assert told["figures"]["outgoing"] == side(done=0, others=others)


async def test_two_schools_that_have_a_pupil_keep_both_from_being_told_of_a_transfer(office: Office) -> None:
    (origin, third) = await office.world.schools.opted_in(new_uai(), new_uai())
    ine = new_ine()
    await goes(origin, office.school, ine)
    await third.has(ine)
    await office.world.take_in_events()

    assert (await office.foresees(True))["figures"]["incoming"] == side(others={"ambiguous_destination": 1})


async def test_until_the_transfer_service_has_heard_of_the_choice_there_are_no_figures(office: Office) -> None:
    await office.client.put("", json=ON)

    early = [await office.sees(), await office.foresees(False)]

    assert [(told["figures"], told["figures_unavailable"]) for told in early] == [(None, "catching_up")] * 2
    assert "en cours de prise en compte" in early[0]["summary"]
    await office.world.take_in_events()
    assert (await office.sees())["figures"]["outgoing"] == side(done=0)


async def _fails(_scope: object, _receive: object, send: Send) -> None:
    await _answers(send, 500, b"{}")


async def _redirects(_scope: object, _receive: object, send: Send) -> None:
    await _answers(send, 302, b"")


async def _speaks_otherwise(_scope: object, _receive: object, send: Send) -> None:
    await _answers(send, 200, b"<html>maintenance</html>")


async def _answers(send: Send, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("service", [_fails, _redirects, _speaks_otherwise])
async def test_an_answer_that_is_none_gives_no_figures_and_keeps_nobody_from_choosing(
    office: Office, service: Any
) -> None:
    token = office.client.headers["Authorization"].removeprefix("Bearer ")
    async with calling(office.config, office.school, token, httpx.ASGITransport(service)) as client:
        await said_to_be_away(client)


async def test_a_transfer_service_that_is_away_or_hangs_gives_no_figures_and_keeps_nobody_from_choosing(
    office: Office,
) -> None:
    token = office.client.headers["Authorization"].removeprefix("Bearer ")
    with socket.create_server(("127.0.0.1", 0)) as hangs:  # takes connections, and never answers
        for url in ("http://127.0.0.1:9", f"http://127.0.0.1:{hangs.getsockname()[1]}"):
            settings = TransferServiceSettings(url=url, timeout_seconds=0.3)
            config = office.config.model_copy(update={"transfer_service": settings})
            async with calling(config, office.school, token, None) as client:
                await said_to_be_away(client)


async def said_to_be_away(client: httpx.AsyncClient) -> None:
    told = (await client.get("/preview", params={"enabled": True})).json()
    chosen = await client.put("", json=ON)
    closed = await client.put("", json=OFF)

    assert (told["figures"], told["figures_unavailable"]) == (None, "transfers_away")
    assert "ne peut pas être obtenu pour le moment" in told["summary"]
    assert told["consequences"]
    assert (chosen.status_code, closed.status_code) == (200, 200)


async def test_an_installation_without_the_address_of_the_transfer_service_says_so(office: Office) -> None:
    config = office.config.model_copy(update={"transfer_service": TransferServiceSettings()})
    token = office.client.headers["Authorization"].removeprefix("Bearer ")
    async with calling(config, office.school, token, None) as client:
        told = (await client.get("/effect")).json()

    assert (told["figures"], told["figures_unavailable"]) == (None, "not_configured")


@pytest.mark.parametrize("question", ["", "?enabled=peut-etre", "?enabled="])
async def test_a_preview_of_no_choice_is_refused(office: Office, question: str) -> None:
    answer = await office.client.get(f"/preview{question}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_nobody_else_learns_the_figures_of_a_school(office: Office, servers: Servers) -> None:
    tokens = [
        servers.tokens.token("someone", ["administrator"], new_uai()),
        *(servers.tokens.token("someone", [role]) for role in ("support", "operations", "platform")),
    ]
    path = f"/v1/establishments/{office.school.uai}/transfer-outlook?enabled=true"

    for token in tokens:
        headers = {"Authorization": f"Bearer {token}"}
        assert (await office.transfers.get(path, headers=headers)).status_code == 403
        assert (await office.client.get("/preview?enabled=true", headers=headers)).status_code == 403
    assert (await office.transfers.get(path)).status_code == 401
