"""Whatever the state of a pupil or a transfer, its school reads why, since when, and what comes next."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response
from psycopg import sql

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.transfers import Reason
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.domain.sentences import SENTENCES
from cpro_transfer.entrypoints.api import create

RECORDS = Amounts(reports=2, activity_sheets=1, assessments=1, passports=0, passport_entries=0, attachments=1)


@dataclass(slots=True)
class Api:
    """The API of transfers, asked as the administrator of a school."""

    client: AsyncClient
    servers: Servers

    async def get(self, school: School, path: str, language: str = "fr") -> Response:
        """GET below the school's own path."""
        token = self.servers.tokens.token("tests", ["administrator"], school.uai)
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": language}
        return await self.client.get(f"/v1/establishments/{school.uai}/{path}", headers=headers)

    async def explained(self, school: School, pupil: UUID) -> dict[str, Any]:
        """Why the pupil's records are where they are."""
        answer = await self.get(school, f"pupils/{pupil}/transfer-explanation")
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        assert said["explanation"] == SENTENCES[Reason(said["code"])][0]
        assert said["next_step"]
        assert datetime.fromisoformat(said["since"]) <= datetime.now(UTC)
        return said


@pytest.fixture
async def api(world: TransferWorld, servers: Servers) -> AsyncIterator[Api]:
    """The API alone; a test that needs a mover starts one."""
    app = create(Service(world.config, work=Work.NOTHING))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield Api(client, servers)


async def test_every_kind_of_pupil_of_a_school_is_explained(world: TransferWorld, api: Api) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    pupils = {
        "here and never elsewhere": await school.has(new_ine()),
        "left": await school.has(new_ine()),
        "left without INE": await school.has(None),
        "left with a shared INE": await school.has(new_ine(), ine_status=IneStatus.NOT_TRUSTED),
        "INE corrected": await school.has(new_ine()),
        "by hand": await _by_hand(school),
        "left, by hand": await _by_hand(school, active=False),
    }
    for kind, pupil in pupils.items():
        if kind.startswith("left") and "hand" not in kind:
            await school.loses(pupil)
    await school.corrects_ine(pupils["INE corrected"], new_ine())
    await world.take_in_events()
    pupils["just imported"] = await school.has(new_ine())
    pupils["just left"] = pupils["here and never elsewhere"]
    before = (await api.explained(school, pupils["just left"]))["code"]
    await school.loses(pupils["just left"])
    del pupils["here and never elsewhere"]

    codes = {kind: (await api.explained(school, pupil))["code"] for kind, pupil in pupils.items()}

    assert before == "not_left"
    assert codes == {
        "left": "not_arrived",
        "left without INE": "no_ine",
        "left with a shared INE": "ine_not_trusted",
        "INE corrected": "not_left",
        "by hand": "not_from_siecle",
        "left, by hand": "not_from_siecle",
        "just imported": "not_yet_announced",
        "just left": "not_yet_announced",
    }


async def test_a_pupil_of_another_school_or_of_none_is_not_found(world: TransferWorld, api: Api) -> None:
    school, other = await world.schools.opted_in(new_uai(), new_uai())
    theirs = await other.has(new_ine())
    await world.take_in_events()

    for pupil in (theirs, uuid4()):
        answer = await api.get(school, f"pupils/{pupil}/transfer-explanation")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_what_the_join_knows_is_told_while_the_schools_own_database_is_away(
    world: TransferWorld, api: Api
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    known = await school.has(new_ine())
    await world.take_in_events()
    unheard_of = await school.has(new_ine())
    await _renamed(world, school, "{}", "{}_away")

    assert (await api.explained(school, known))["code"] == "not_left"
    assert (await api.get(school, f"pupils/{unheard_of}/transfer-explanation")).status_code == 503
    await _renamed(world, school, "{}_away", "{}")


async def test_former_pupils_of_whom_nothing_was_announced_are_listed_with_an_honest_reason(
    world: TransferWorld, api: Api
) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    by_hand = await _by_hand(school, active=False)
    gone = await school.has(new_ine())
    await school.loses(gone)

    listed = (await api.get(school, "transferable-pupils")).json()["items"]

    assert {(one["pupil"]["id"], one["code"], one["automatic"]) for one in listed} == {
        (str(by_hand), "not_from_siecle", False),
        (str(gone), "not_yet_announced", True),
    }


async def test_a_journey_from_a_to_b_to_c_is_explained_at_each_stop(world: TransferWorld, api: Api) -> None:
    a, b, c = await world.schools.opted_in(new_uai(), new_uai(), new_uai())
    ine = new_ine()
    at_a = await a.has(ine, records=RECORDS)
    await a.loses(at_a)
    at_b = await b.has(ine)
    await world.take_in_events()

    planned = await api.explained(a, at_a), await api.explained(b, at_b)
    async with world.service(Work.MOVE):
        await world.ends("completed", origin_uai=a.uai)
        arrived = await api.explained(a, at_a), await api.explained(b, at_b)
        await b.loses(at_b)
        await world.take_in_events()
        left = await api.explained(a, at_a), await api.explained(b, at_b)
        at_c = await c.has(ine)
        await world.take_in_events()
        await world.ends("completed", origin_uai=b.uai)
    gone_on = await api.explained(a, at_a), await api.explained(b, at_b), await api.explained(c, at_c)

    def told(answers: tuple[dict[str, Any], ...]) -> list[tuple[str, str, str | None]]:
        return [(s["direction"], s["code"], (s["other_establishment"] or {}).get("uai")) for s in answers]

    assert told(planned) == [("outgoing", "in_progress", b.uai), ("incoming", "in_progress", a.uai)]
    assert told(arrived) == [("outgoing", "completed", b.uai), ("incoming", "completed", a.uai)]
    assert told(left) == [("outgoing", "completed", None), ("outgoing", "not_arrived", None)]
    assert told(gone_on) == [
        ("outgoing", "completed", None), ("outgoing", "completed", c.uai), ("incoming", "completed", b.uai),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "waits_for", "retried"),
    [
        (Reason.SCHEMA_BEHIND, "operations", True),
        (Reason.IDENTITY_MISMATCH, "support", False),
        (Reason.ATTACHMENT_UNREADABLE, "operations", True),
        (Reason.LANDING_REFUSED, "support", False),
    ],
)
async def test_a_held_transfer_says_why_since_when_and_what_comes_next(
    world: TransferWorld, api: Api, reason: Reason, waits_for: str, retried: bool
) -> None:
    origin, _, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    await _held(world, reason, timedelta(minutes=5) if retried else None)

    (listed,) = (await api.get(origin, "transfers?direction=outgoing&status=held")).json()["items"]
    (english,) = (await api.get(origin, "transfers?direction=outgoing&status=held", "en")).json()["items"]

    assert (listed["reason"], listed["waits_for"]) == (str(reason), waits_for)
    assert (listed["explanation"], english["explanation"]) == SENTENCES[reason]
    assert listed["next_step"] != english["next_step"]
    assert datetime.fromisoformat(listed["since"]) <= datetime.now(UTC)
    assert (listed["tried_again_at"] is not None) == retried


async def test_what_is_tried_again_in_vain_is_so_since_the_first_time(world: TransferWorld, api: Api) -> None:
    origin, _, leaver = await world.a_pupil_changes_school(RECORDS)
    await origin.execute("CREATE TABLE internship (id uuid PRIMARY KEY, pupil_id uuid REFERENCES pupil)")
    await world.take_in_events()

    async with world.service(Work.MOVE):
        (first,) = await world.ends("held")
        since = (await api.explained(origin, leaver))["since"]
        for attempt in (2, 3):
            async with world.database.begin() as tx:
                await tx.execute("UPDATE transfer SET due_at = now()")
            (again,) = await world.ends("held", attempts=attempt)
        assert again["state_changed_at"] > first["state_changed_at"]
        assert (await api.explained(origin, leaver))["since"] == since
        (listed,) = (await api.get(origin, "transfers?direction=outgoing")).json()["items"]
        assert listed["since"] == since
        await origin.execute("DROP TABLE internship")
        async with world.database.begin() as tx:
            await tx.execute("UPDATE transfer SET due_at = now()")
        (done,) = await world.ends("completed")

    assert (done["reason_since"], done["lasting_reason"]) == (None, None)


async def test_a_destination_that_was_restored_to_before_the_landing_is_told_with_what_is_missing(
    world: TransferWorld, api: Api
) -> None:
    """No mover looks at a transfer that is completed: whoever reads it finds out."""
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    async with world.service(Work.MOVE):
        (transfer,) = await world.ends("completed")
    path = f"transfers/{transfer['id']}"
    assert (await api.get(origin, path)).json()["missing"] is None
    await _goes_back_in_time(destination)

    for school in (origin, destination):
        said = (await api.get(school, path)).json()
        assert (said["reason"], said["waits_for"]) == ("landing_lost", "operations")
        assert said["explanation"] == SENTENCES[Reason.LANDING_LOST][0]
        assert said["missing"] == {"report": 2, "activity_sheet": 1, "assessment": 1, "attachment": 1}
        assert said["receipts"]["incoming"] is None


async def test_a_landing_that_is_lost_before_the_end_is_held_under_its_own_code(world: TransferWorld, api: Api) -> None:
    origin, destination, leaver = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    with world.process("move", crash_at="move.finished", lease_seconds=1.0) as mover:
        await mover.start()
        await mover.ended()
    await _goes_back_in_time(destination)

    async with world.service(Work.MOVE):
        (held,) = await world.ends("held")
    said = (await api.get(origin, f"transfers/{held['id']}")).json()

    assert (said["state"], said["reason"]) == ("held", "landing_lost")
    assert said["missing"]["report"] == 2
    assert (await api.explained(origin, leaver))["code"] == "landing_lost"


async def test_the_own_receipt_is_shown_while_the_other_school_is_away_and_nothing_is_called_missing(
    world: TransferWorld, api: Api
) -> None:
    origin, destination, _ = await world.a_pupil_changes_school(RECORDS)
    await world.take_in_events()
    async with world.service(Work.MOVE):
        (transfer,) = await world.ends("completed")
    await _renamed(world, destination, "{}", "{}_away")

    said = (await api.get(origin, f"transfers/{transfer['id']}")).json()

    assert (said["reason"], said["missing"]) == (None, None)
    assert said["receipts"]["outgoing"]["tables"]["report"]["count"] == 2
    assert said["receipts"]["incoming"] is None
    await _renamed(world, destination, "{}_away", "{}")


async def _by_hand(school: School, *, active: bool = True) -> UUID:
    """A pupil whom the core application has entered: it announces nothing."""
    pupil_id = uuid4()
    await school.execute(
        "INSERT INTO pupil (id, ine_status, family_name, first_name, birth_date, source, match_key, active)"
        " VALUES (%s, 'absent', 'MARTIN', 'Camille', '2009-04-12', 'manual', %s, %s)",
        pupil_id, f"pupil:{school.uai}:{pupil_id}", active,
    )  # fmt: skip
    return pupil_id


async def _held(world: TransferWorld, reason: Reason, retry: timedelta | None) -> None:
    async with world.database.begin() as tx:
        await tx.execute("UPDATE transfer SET state = 'held', reason = %s, due_at = now() + %s", (reason, retry))


async def _goes_back_in_time(school: School) -> None:
    """The establishment's rows and receipts are as before the landing: what a restored backup does."""
    async with school.world.tenants.begin(school.uai) as tx:
        await tx.execute("SET LOCAL session_replication_role = replica")
        for table in ("attachment", "assessment", "activity_sheet", "report", "transfer_receipt"):
            await tx.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


async def _renamed(world: TransferWorld, school: School, old: str, new: str) -> None:
    """The school's database is away, or back."""
    await world.schools.tenants.close()
    tenant = await world.schools.directory.find(school.uai)
    assert tenant is not None
    cluster = world.schools.endpoints.postgres_clusters[tenant.cluster]
    names = [sql.Identifier(name.format(tenant.database)) for name in (old, new)]
    async with await psycopg.AsyncConnection.connect(cluster, dbname="postgres", autocommit=True) as server:
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE %s", (f"{tenant.database}%",)
        )
        await server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
