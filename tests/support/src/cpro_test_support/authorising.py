"""Schools outside SIECLE, and the two who deal with them: an administrator who authorises, and support."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from cpro_contracts.identifiers import match_key_of_pupil
from cpro_platform.clock import Clock
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_uai
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.entrypoints.api import create

FEW = Amounts(reports=1, activity_sheets=1, assessments=2, passports=1, passport_entries=1, attachments=1)
COUNTED = {
    "report": 1, "activity_sheet": 1, "assessment": 2, "professional_passport": 1, "passport_entry": 1, "attachment": 1,
}  # fmt: skip
TICKET = "CPRO-20431"


def today() -> date:
    """In the schools of these tests."""
    return datetime.now(UTC).date()


@dataclass(slots=True)
class Desk:
    """The API, as administrators and support ask it."""

    client: AsyncClient
    servers: Servers

    async def administrator(self, school: School, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """What the school's administrator asks."""
        token = self.servers.tokens.token("head-of-" + school.uai, ["administrator"], school.uai)
        return await self._ask(method, f"/v1/establishments/{school.uai}/{path}", body, token, headers)

    async def support(self, method: str, path: str, body: Any = None, *, who: str = "support-1") -> Response:
        """What support asks."""
        return await self._ask(method, f"/v1/support/{path}", body, self.servers.tokens.token(who, ["support"]), {})

    async def authorise(self, origin: School, pupil_id: UUID, destination: str, **changes: Any) -> Response:
        """Record an authorisation that is fine unless something is changed."""
        return await self.administrator(
            origin, "PUT", f"transfer-authorisations/{pupil_id}", terms(destination, **changes)
        )

    async def authorised(self, origin: School, pupil_id: UUID, destination: str, **changes: Any) -> str:
        """The id of one that is recorded."""
        answer = await self.authorise(origin, pupil_id, destination, **changes)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    async def revoke(self, origin: School, pupil_id: UUID) -> Response:
        """Take it back."""
        return await self.administrator(origin, "DELETE", f"transfer-authorisations/{pupil_id}")

    async def replay(self, authorisation_id: str, *, who: str = "support-1", **changes: Any) -> Response:
        """Carry it out: not as a dry run, under a ticket, unless something is changed."""
        body = {"authorisation_id": authorisation_id, "ticket": TICKET, "dry_run": False} | changes
        return await self.support("POST", "replays", body, who=who)

    async def listed(self, school: School, query: str = "") -> list[dict[str, Any]]:
        """The school's transferable pupils."""
        answer = await self.administrator(school, "GET", f"transferable-pupils{query}")
        assert answer.is_success, answer.text
        return list(answer.json()["items"])

    async def _ask(self, method: str, path: str, body: Any, token: str, headers: Mapping[str, str]) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"} | named)


def terms(destination: str, **changes: Any) -> dict[str, Any]:
    """What an administrator sends."""
    fine = {"destination_uai": destination, "given_by": "both", "given_on": str(today()), "collected_by": "head"}
    return fine | {name: str(value) if isinstance(value, date) else value for name, value in changes.items()}


@asynccontextmanager
async def desk_of(
    world: TransferWorld, servers: Servers, work: Work = Work.MOVE, clock: Clock | None = None, **settings: object
) -> AsyncIterator[Desk]:
    """The API and a mover in one process."""
    app = create(Service(world.config.model_copy(update=settings), work=work, clock=clock))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield Desk(client, servers)


async def keeps_its_own_roster(school: School) -> None:
    """The school does not use SIECLE (a CFA, a Greta)."""
    await school.execute("UPDATE transfer_opt_in SET roster_source = 'manual'")


async def enters(
    school: School,
    *,
    family_name: str = "MARTIN",
    first_name: str = "Camille",
    born: date = date(2009, 4, 12),
    ine: str | None = None,
    pupil_id: UUID | None = None,
) -> UUID:
    """A pupil entered by hand, whom no event tells of."""
    pupil_id = pupil_id or uuid4()
    await school.execute(
        "INSERT INTO pupil (id, ine, ine_status, family_name, first_name, birth_date, source, match_key)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'manual', %s)",
        pupil_id, ine, "not_trusted" if ine else "absent", family_name, first_name, born,
        match_key_of_pupil(school.uai, pupil_id),
    )  # fmt: skip
    return pupil_id


async def leaves_for_a_cfa(world: TransferWorld, records: Amounts = FEW) -> tuple[School, School, UUID]:
    """A pupil without an INE who has left a lycée, and the CFA that has no trace of them. Both opted in."""
    origin, cfa = await world.schools.opted_in(new_uai(), new_uai())
    await keeps_its_own_roster(cfa)
    leaver = await origin.has(None, records=records)
    await origin.loses(leaver)
    return origin, cfa, leaver


async def authorisations(world: TransferWorld) -> list[dict[str, Any]]:
    """All authorisations, the oldest first."""
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT to_jsonb(a) FROM transfer_authorisation a WHERE origin_uai = ANY (%s) ORDER BY recorded_at, id",
            (list(world.schools.known),),
        )
        return [row[0] for row in await rows.fetchall()]


async def announced(world: TransferWorld, authorisation_id: str) -> list[str]:
    """The types of the events about an authorisation, in order."""
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT type FROM outbox WHERE payload->>'authorisation_id' = %s ORDER BY position", (authorisation_id,)
        )
        return [row[0] for row in await rows.fetchall()]


async def where_records_are(world: TransferWorld, pupil_of_origin: UUID) -> set[str]:
    """The schools that have the records seeded for this pupil, once all of them are seen to be whole."""
    verdict = await world.schools.verify()
    assert verdict.clean, verdict
    return {verdict.places[row] for row in world.schools.seeded.of_pupil(pupil_of_origin)}
