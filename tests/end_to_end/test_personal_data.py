"""No name, birth date or INE anywhere but in the establishments' databases and in the answers that are about them.

A pupil's recognisable values are planted in the national files of two schools and in a CFA. Then all that a pupil can meet
is played: records that move and are undone, a transfer that is held, an authorisation that is replayed, lines and files
that are refused, a message that nobody can read, requests that put a name where none belongs, a mail, the support's tool.
Everything that was published, logged, traced, measured, answered, mailed, printed or written in a service's database is
searched (`docs/privacy.md` says where personal data may be).
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from cpro_contracts import topics
from cpro_contracts.transfers import TransferCompleted
from cpro_platform import logs
from cpro_platform.config import TelemetrySettings
from cpro_platform.kafka import EventPublisher, OutgoingMessage
from cpro_settings.config import Config as SettingsConfig
from cpro_tenant_db import privileges
from cpro_test_support.authorising import Desk, desk_of, enters, keeps_its_own_roster
from cpro_test_support.canary import Canary, Listener
from cpro_test_support.import_world import EXPORT_DAY, School
from cpro_test_support.mail_server import opened_mailbox
from cpro_test_support.notifying import opened_notify_world
from cpro_test_support.privacy_world import PrivacyWorld, opened_privacy_world
from cpro_test_support.reconciling import answering
from cpro_test_support.roles import tenants_of
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, rnie_ine
from cpro_test_support.support_tool import Tool
from cpro_test_support.transfers import TransferWorld, eventually, new_uai
from cpro_transfer.bootstrap import Work

NAMES = ("ZYXWANIMAL", "QUETZALCOATLE")
FIRST_NAME = "Xéphyrine"
BORN = date(2009, 11, 23)
INES = (rnie_ine(731_994_001), rnie_ine(731_994_002), rnie_ine(731_994_003))
SIECLE_IDS = ("987300001", "987300002", "987300003", "987300004")
PLANTED = (*NAMES, *INES, FIRST_NAME, "2009-11-23", "23/11/2009", *SIECLE_IDS)
TICKET = "CPRO-20431"


@dataclass
class Played:
    """What the story has come to."""

    transfers: dict[str, str]
    tool: dict[str, int]
    mails: int
    refused: list[int]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Listens from here on."""
    yield Listener()
    logs.configure(TelemetrySettings(log_level="warning"), service="tests")


@pytest.fixture
async def both(servers: Servers) -> AsyncIterator[PrivacyWorld]:
    async with opened_privacy_world(servers) as world:
        yield world


async def test_planted_values_are_found_nowhere_outside_the_schools(
    servers: Servers, listener: Listener, both: PrivacyWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = Canary(PLANTED)
    played = await _play(servers, both, canary)
    await canary.note_topics(servers.endpoints.kafka_bootstrap)
    await canary.note_database("transfer", both.transfer_config.database.conninfo)
    await canary.note_database("siecle-import", both.config.database.conninfo)
    listener.tell(canary)

    with capsys.disabled():
        print(f"\ncanary: {canary.tally()}")  # noqa: T201 - the figure of this test
    assert played.transfers == {"moved": "undone", "homonym": "held", "authorised": "completed"}
    assert set(played.tool.values()) <= {0, 1}
    assert played.mails >= 1
    assert set(played.refused) <= {400, 403, 404, 409, 422}
    _everything_was_listened_to(canary)
    assert canary.found() == {}


def _everything_was_listened_to(canary: Canary) -> None:
    """A canary in an empty room proves nothing: every place has something of the story in it."""
    spoken = {place for place, texts in canary.said.items() if any(texts)}
    expected = {
        "log", "spans", "metrics of transfer", "metrics of siecle-import", "statistics", "problems", "mail",
        "support tool", f"topic {topics.PUPIL}", f"topic {topics.TRANSFER}", f"topic {topics.PUPIL}.dlq",
        "transfer.audit_entry", "transfer.dead_letter", "transfer.enrolment", "transfer.transfer",
        "transfer.transfer_authorisation", "transfer.outbox", "siecle-import.import_job", "settings.notification_mail",
    }  # fmt: skip
    assert expected - spoken == set()
    assert any("transfer.completed" in line for line in canary.said["log"])


async def _play(servers: Servers, both: PrivacyWorld, canary: Canary) -> Played:
    world = TransferWorld(both.doors, both.transfer_config, both.database)
    async with both.importing() as transport, desk_of(world, servers, Work.ALL) as desk:
        origin, destination = await both.schools(transport)
        moved, homonym = await _schools_exchange_pupils(both, origin, destination, canary)
        authorised = await _a_cfa_takes_over(world, both, desk, origin)
        await _undone(both, desk, moved["id"])
        refused = await _names_where_none_belong(desk, origin, canary)
        await _a_message_that_nobody_can_read(servers, world)
        answer = await desk.support("GET", "statistics")
        canary.note_answer("statistics", answer)
        canary.note("metrics of transfer", [(await desk.client.get("/metrics")).text])
        canary.note("metrics of siecle-import", [(await origin.client.get("http://test/metrics")).text])
        await desk.support("POST", "subjects/export", _subject(moved))  # the answer is about the pupil, as it should be
    states = {row["id"]: row["state"] for row in await both.rows("SELECT id, state FROM transfer")}
    return Played(
        {"moved": states[moved["id"]], "homonym": states[homonym["id"]], "authorised": states[authorised["id"]]},
        await _tool(servers, world, canary, moved),
        await _mails(servers, both, canary),
        refused,
    )


async def _schools_exchange_pupils(
    both: PrivacyWorld, origin: School, destination: School, canary: Canary
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One moves, one is held; lines and files are refused."""
    leaver, homonym = _pupil(SIECLE_IDS[0], NAMES[0], INES[0]), _pupil(SIECLE_IDS[1], NAMES[1], INES[1])
    rejected = replace(_pupil("", NAMES[1], INES[2]), siecle_id="not a number")
    await origin.imports([leaver, homonym, rejected, _pupil("1", "AUTRE", None)], force=True)
    async with both.doors.tenants.begin(origin.uai) as tx:
        await tx.execute("INSERT INTO report (pupil_id, title) SELECT id, 'bilan' FROM pupil")
    await origin.imports([leaver.leaves(EXPORT_DAY), homonym.leaves(EXPORT_DAY), _pupil("1", "AUTRE", None)])
    await destination.imports([_pupil(SIECLE_IDS[2], NAMES[0], INES[0]), replace(homonym, birth_date=date(2010, 1, 1))])
    (moved,) = await both.ends("completed")
    (held,) = await both.ends("held")
    for content in (
        f"<BEE_ELEVES><{NAMES[0]}>{INES[0]}".encode(),
        f"{NAMES[0]};{FIRST_NAME};{INES[0]}".encode(),
        destination.file([leaver]),
    ):
        answer = await origin.upload(content, force=True)
        if answer.status_code == 202:
            canary.note("problems", [str(await origin.rest(answer.json()["id"]))])
        else:
            canary.note_answer("problems", answer)
    return moved, held


async def _a_cfa_takes_over(world: TransferWorld, both: PrivacyWorld, desk: Desk, origin: School) -> dict[str, Any]:
    """Situation 2: a pupil without an INE leaves for a CFA, is authorised, and replayed by support."""
    door = both.doors.known[origin.uai]
    (cfa,) = await world.schools.opted_in(new_uai())
    await keeps_its_own_roster(cfa)
    leaver = await door.has(None, family_name=NAMES[1], first_name=FIRST_NAME, born=BORN)
    await door.execute("UPDATE pupil SET siecle_id = %s WHERE id = %s", SIECLE_IDS[3], leaver)
    await door.execute("INSERT INTO report (pupil_id, title) VALUES (%s, 'bilan')", leaver)
    await door.loses(leaver)
    arrived = await enters(cfa, family_name=NAMES[1], first_name=FIRST_NAME, born=BORN)
    await both.taken_in()
    authorisation = await desk.authorised(door, leaver, cfa.uai)
    assert (await desk.support("GET", f"authorisations/{authorisation}/candidates")).is_success
    replayed = await desk.replay(authorisation, pupil_id=str(arrived))
    assert replayed.is_success, replayed.text

    async def done() -> dict[str, Any] | None:
        rows = await both.rows("SELECT * FROM transfer WHERE origin_pupil_id = %s AND state = 'completed'", leaver)
        return rows[0] if rows else None

    found: dict[str, Any] = await eventually(done)
    return found


async def _undone(both: PrivacyWorld, desk: Desk, transfer_id: UUID) -> None:
    answer = await desk.support("POST", f"transfers/{transfer_id}/undo", {"ticket": TICKET})
    assert answer.status_code == 202, answer.text
    await both.ends("undone")


async def _names_where_none_belong(desk: Desk, origin: School, canary: Canary) -> list[int]:
    """Requests with planted values in the path, the query and the body; what is answered is noted."""
    support: list[tuple[str, str, Any]] = [
        ("GET", f"authorisations/{NAMES[0]}/candidates", None),
        ("GET", f"transfers?uai={NAMES[0]}", None),
        ("GET", f"transfers?cursor={INES[0]}", None),
        ("GET", f"transfers/{NAMES[0]}", None),
        ("GET", f"dead-letters?topic={NAMES[0]}&state={NAMES[1]}", None),
        ("POST", f"transfers/{uuid4()}/undo", {"ticket": NAMES[0]}),
        ("POST", "subjects/export", {"uai": NAMES[0], "pupil_id": str(uuid4()), "ticket": TICKET}),
        ("POST", "subjects/export", {"uai": origin.uai, "pupil_id": INES[0], "ticket": TICKET}),
        (
            "POST",
            "subjects/erase",
            {"uai": origin.uai, "pupil_id": str(uuid4()), "ticket": TICKET, "confirm": NAMES[0]},
        ),
        ("POST", "replays", {"authorisation_id": FIRST_NAME, "ticket": NAMES[0], NAMES[1]: "2009-11-23"}),
        ("POST", "replays", NAMES[0]),
    ]
    answers = [await desk.support(method, path, body) for method, path, body in support]
    for path in (f"siecle-imports/{NAMES[0]}", f"siecle-imports?cursor={INES[0]}", f"pupils/{NAMES[1]}"):
        answers.append(await origin.client.get(f"/{path}"))
    answers.append(await origin.client.post(f"/siecle-imports?mode={NAMES[0]}", content=NAMES[1].encode()))
    for answer in answers:
        canary.note_answer("problems", answer)
    return [answer.status_code for answer in answers]


async def _a_message_that_nobody_can_read(servers: Servers, world: TransferWorld) -> None:
    """A poisoned message: set aside as it is, so nothing is planted in it; what is said of it is looked at."""
    publisher = EventPublisher(servers.endpoints.kafka_bootstrap, client_id="canary")
    headers = [("ce_id", str(uuid4()).encode()), ("ce_type", b"cpro.pupil.created.v1"), ("ce_source", b"/tests")]
    await publisher.publish([OutgoingMessage(topics.PUPIL, b"pupil:canary", headers, b'{"match_key": 1}')])
    await publisher.stop()

    async def set_aside() -> bool | None:
        async with world.database.begin() as tx:
            found = await tx.execute("SELECT 1 FROM dead_letter WHERE key = 'pupil:canary'")
            return True if await found.fetchone() else None

    await eventually(set_aside)


async def _tool(servers: Servers, world: TransferWorld, canary: Canary, moved: dict[str, Any]) -> dict[str, int]:
    """The commands of the support's tool that name no pupil, and what they print."""
    commands: tuple[tuple[object, ...], ...] = (
        ("transfers", "list"),
        ("transfers", "show", moved["id"]),
        ("audit",),
        ("dead-letters", "list"),
        ("dead-letters", "consumers"),
        ("subject", "erase", moved["origin_uai"], moved["origin_pupil_id"], "--ticket", TICKET),
    )
    codes = {}
    async with answering(world) as (_, url):
        for command in commands:
            ran = await Tool(servers, url)(*command)
            canary.note("support tool", [ran.out, ran.err])
            codes[" ".join(map(str, command[:2]))] = ran.code
    return codes


async def _mails(servers: Servers, both: PrivacyWorld, canary: Canary) -> int:
    """What the settings service makes of the transfers that completed."""
    config = SettingsConfig.model_validate({
        "database": both.transfer_config.database,
        "tenants": tenants_of(privileges.Service.SETTINGS, both.config.tenants),
        "kafka": both.config.kafka,
        "oidc": both.config.oidc,
    })  # fmt: skip
    rows = await both.rows("SELECT payload FROM outbox WHERE type = %s", TransferCompleted.type)
    events = [TransferCompleted.model_validate(row["payload"]) for row in rows]
    async with opened_mailbox() as mailbox, opened_notify_world(config, servers.endpoints, mailbox) as notify:
        for uai in {uai for event in events for uai in (event.origin_uai, event.destination_uai) if uai}:
            await notify.wants_mails(uai, f"secretariat@{uai.lower()}.example")
        await notify.hears(*(event.model_copy(update={"occurred_at": notify.clock.now()}) for event in events))
        notify.next_day(2)
        await notify.sends()
        canary.note("mail", [mail.content.decode() for mail in mailbox.received])
        canary.note("mail", [part for mail in mailbox.received for part in (mail.text, mail.html)])
        await canary.note_database("settings", notify.config.database.conninfo)
        return len(mailbox.received)


def _subject(transfer: dict[str, Any]) -> dict[str, str]:
    return {"uai": transfer["origin_uai"], "pupil_id": str(transfer["origin_pupil_id"]), "ticket": TICKET}


def _pupil(siecle_id: str, family_name: str, ine: str | None) -> SamplePupil:
    return SamplePupil(
        siecle_id=siecle_id, ine=ine, family_name=family_name, first_name=FIRST_NAME, birth_date=BORN, division="2 MCV"
    )
