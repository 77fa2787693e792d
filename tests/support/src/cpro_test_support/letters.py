"""Dead letters to try the support's desk on: set aside as a consumer would, each test under a cause of its own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from cpro_contracts.envelope import Envelope, Event
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilCreated
from cpro_platform.clock import SystemClock
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import OutgoingMessage, Record
from cpro_test_support.messages import records_of
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_uai
from cpro_transfer.adapters.letter_topics import REPLAY_MARK
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.entrypoints.api import create

TICKET = "SUP-42"
PATH = "/v1/support/dead-letters"


@dataclass(slots=True)
class SourceRecord:
    """A message as a consumer that can't handle it has read it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def new_cause() -> type[Exception]:
    """An error that no other test fails with."""
    return type(f"Cause{uuid4().hex[:10]}Error", (Exception,), {})


def an_arrival() -> PupilCreated:
    """A pupil of a school that exists in this event only."""
    return PupilCreated(
        match_key=f"pupil:{uuid4()}",
        uai=new_uai(),
        pupil_id=uuid4(),
        revision=1,
        occurred_at=SystemClock().now(),
        source=EnrolmentSource.SIECLE,
        ine_status=IneStatus.ABSENT,
    )


def message_of(event: Event) -> OutgoingMessage:
    """The message that carries this event."""
    return OutgoingMessage.of(Envelope(uuid4(), "/tests", SystemClock().now(), event))


async def set_aside(
    world: TransferWorld, messages: Sequence[OutgoingMessage], cause: type[Exception], *, offset: int = 7
) -> None:
    """Put these among the dead letters of their topics, as if they had been read at `offset`."""
    letters = DeadLetters(world.schools.publisher, group="tests", clock=SystemClock())
    for message in messages:
        record = SourceRecord(message.topic, 0, offset, message.key, message.value, message.headers)
        await letters.put(record, cause())


@dataclass(slots=True)
class Desk:
    """The API as support asks it."""

    client: AsyncClient
    world: TransferWorld

    async def waiting(self, cause: type[Exception], number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many letters of this cause are known; the newest first."""

        async def so_many() -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = await self.letters(cause)
            return found if len(found) >= number else None

        known: list[dict[str, Any]] = await eventually(so_many, lambda: self.letters(cause))
        return known

    async def letters(self, cause: type[Exception]) -> list[dict[str, Any]]:
        """What is listed of this cause."""
        answer = await self.client.get(PATH, params={"cause": cause.__name__, "limit": 200})
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def replay(self, **asked: Any) -> Response:
        """Ask for a replay in earnest."""
        return await self.client.post(f"{PATH}/replay", json={"ticket": TICKET, "dry_run": False} | asked)

    async def discard(self, **asked: Any) -> Response:
        """Ask for letters to be discarded in earnest."""
        return await self.client.post(f"{PATH}/discard", json={"ticket": TICKET, "dry_run": False} | asked)

    async def given_back(self, letter: dict[str, Any]) -> list[Record]:
        """The messages on the source topic that are marked with this letter."""
        mark = (REPLAY_MARK, letter["id"].encode())
        records = await records_of(self.world.schools.endpoints.kafka_bootstrap, letter["topic"])
        return [record for record in records if mark in record.headers]


@asynccontextmanager
async def desk_of(
    world: TransferWorld, servers: Servers, *, work: Work = Work.RELAY, role: str = "support", **changes: object
) -> AsyncIterator[Desk]:
    """The API and the reader of dead letters in one process."""
    service = Service(world.config.model_copy(update=changes), work=work)
    bearer = {"Authorization": f"Bearer {servers.tokens.token('tests', [role])}", "Accept-Language": "en"}
    async with (
        LifespanManager(create(service), startup_timeout=60, shutdown_timeout=60) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers", headers=bearer) as client,
    ):
        yield Desk(client, world)
