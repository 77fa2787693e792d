"""Workers as processes: one school in order and never two at once, different schools side by side, none lost."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from asgi_lifespan import LifespanManager

from cpro_contracts.envelope import Envelope
from cpro_contracts.imports import SiecleImportRequested
from cpro_platform.clock import SystemClock
from cpro_platform.kafka import EventPublisher, OutgoingMessage
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_test_support.depth import slow
from cpro_test_support.faults import tally
from cpro_test_support.import_group import shares
from cpro_test_support.import_world import YEAR, School, environment_of, new_school, prepared_config
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

POLL_SECONDS = 6.0


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


class Crew:
    """The workers of an installation, each a process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.members: list[subprocess.Popen[bytes]] = []

    def hire(self) -> "subprocess.Popen[bytes]":
        member = subprocess.Popen(
            [sys.executable, "-c", "from cpro_siecle_import.entrypoints.cli import app; app()", "worker"],
            env={**os.environ, **environment_of(self.config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.members.append(member)
        return member

    async def ends(self, member: "subprocess.Popen[bytes]", by: signal.Signals) -> int:
        """Its exit code once the signal has ended it."""
        member.send_signal(by)
        self.members.remove(member)
        async with asyncio.timeout(40):
            status = await asyncio.to_thread(member.wait)
        if status == -signal.SIGKILL:
            tally.killed("worker")
        return status

    async def of(self, number: int) -> list[frozenset[int]]:
        """The partitions of each once there are so many at work, and no other in the group."""
        while len(self.members) < number:
            self.hire()
        return await shares(self.config, number)


@pytest.fixture(scope="module")
async def installation(servers: Servers) -> Config:
    """One of its own: nobody else's dead workers are still members of its group."""
    changes = {"ask_again_seconds": 1.0, "consumer_max_poll_seconds": POLL_SECONDS, "max_attempts": 1000}
    return (await prepared_config(servers)).model_copy(update=changes)


@pytest.fixture(scope="module")
async def transport(installation: Config) -> AsyncIterator[httpx.ASGITransport]:
    """The API and the relay; workers are processes."""
    app = create(Service(installation, work=Work.RELAY))
    async with LifespanManager(app):
        yield httpx.ASGITransport(app)


@pytest.fixture(scope="module")
def crew(installation: Config) -> Iterator[Crew]:
    crew = Crew(installation)
    yield crew
    for member in crew.members:
        member.kill()
        member.wait()


@pytest.fixture
async def schools(
    installation: Config, transport: httpx.ASGITransport, servers: Servers
) -> AsyncIterator[Callable[..., Any]]:
    """Sets up schools whose jobs are among given partitions."""
    async with AsyncExitStack() as entered:

        async def set_up(number: int, among: Iterable[int] | None = None) -> list[School]:
            wanted = None if among is None else frozenset(among)
            return [
                await entered.enter_async_context(new_school(installation, transport, servers, among=wanted))
                for _ in range(number)
            ]

        yield set_up


async def asked(school: School, pupils: list[SamplePupil]) -> str:
    answer = await school.upload(school.file(pupils))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def runs(school: School, import_id: str) -> bool | None:
    return (await school.job(import_id))["state"] == "running" or None


@slow
async def test_schools_are_imported_side_by_side_and_a_long_import_keeps_its_partition(
    crew: Crew, schools: Callable[..., Any]
) -> None:
    mine, others = await crew.of(2)
    (long_one, behind), (elsewhere,) = await schools(2, among={min(mine)}), await schools(1, among=others)

    async with long_one.holding("LOCK TABLE pupil IN ROW EXCLUSIVE MODE"):
        long_id = await asked(long_one, roster(5))
        await eventually(lambda: runs(long_one, long_id))
        behind_id = await asked(behind, roster(3))
        theirs = await elsewhere.imports(roster(4))
        meanwhile = [(await school.job(job))["state"] for school, job in ((long_one, long_id), (behind, behind_id))]
        await asyncio.sleep(POLL_SECONDS * 1.3)  # longer than the poll interval is what is tried here
        still = await crew.of(2)

    done, after = await long_one.rest(long_id), await behind.rest(behind_id)
    job = await long_one.job(long_id)
    assert (theirs["state"], meanwhile) == ("completed", ["running", "queued"])
    assert set(still) == {mine, others}
    assert (done["state"], job["attempts"], after["state"]) == ("completed", 1, "completed")
    assert len(await long_one.rows("SELECT 1 FROM siecle_import_applied")) == 1
    assert done["finished_at"] <= after["started_at"]


async def test_imports_of_a_school_follow_each_other_even_if_their_requests_come_twice_and_out_of_order(
    crew: Crew, schools: Callable[..., Any]
) -> None:
    await crew.of(2)
    several = await schools(3)
    publisher = EventPublisher(crew.config.kafka.bootstrap_servers, client_id="tests")
    ids: dict[str, list[str]] = defaultdict(list)

    for number in range(4):
        for school in several:
            ids[school.uai].append(await asked(school, roster(4 + number)))
    # Again, the newest first, under keys of other schools, so that they reach both workers.
    again = [(school.uai, import_id) for school in several for import_id in reversed(ids[school.uai])]
    await publisher.publish([_request(uai, import_id, key=f"{n}") for n, (uai, import_id) in enumerate(again)])
    done = {school.uai: [await school.rest(import_id) for import_id in ids[school.uai]] for school in several}
    await publisher.stop()

    for school in several:
        imports = done[school.uai]
        assert [one["state"] for one in imports] == ["completed"] * 4
        assert [one["counts"]["created"] for one in imports] == [4, 1, 1, 1]
        applied = await school.rows("SELECT import_id FROM siecle_import_applied ORDER BY applied_at")
        assert [str(row["import_id"]) for row in applied] == ids[school.uai]
        assert all(_instant(one["finished_at"]) <= _instant(two["started_at"]) for one, two in pairwise(imports))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _request(uai: str, import_id: str, *, key: str) -> OutgoingMessage:
    event = SiecleImportRequested(import_id=UUID(import_id), uai=uai, occurred_at=SystemClock().now())
    message = OutgoingMessage.of(Envelope(uuid4(), "/tests", event.occurred_at, event))
    return OutgoingMessage(message.topic, key.encode(), message.headers, message.value)


@slow
async def test_a_rolling_restart_loses_nothing_and_wastes_no_attempt(crew: Crew, schools: Callable[..., Any]) -> None:
    await crew.of(2)
    several = await schools(5)
    ids: list[tuple[School, str]] = []

    async def upload_all() -> None:
        for number in range(6):
            for school in several:
                ids.append((school, await asked(school, roster(4 + number))))

    uploading = asyncio.create_task(upload_all())
    exit_codes = []
    for old in list(crew.members):
        await eventually(lambda: _completed_some(ids))
        exit_codes.append(await crew.ends(old, signal.SIGTERM))
        crew.hire()
    await uploading
    done = [await school.rest(import_id) for school, import_id in ids]

    jobs = [await school.job(import_id) for school, import_id in ids]
    assert exit_codes == [0, 0]
    assert [one["state"] for one in done] == ["completed"] * 30
    assert [job["attempts"] for job in jobs] == [1] * 30
    for school in several:
        assert len(await school.rows("SELECT 1 FROM siecle_import_applied")) == 6
        assert len(await school.pupils()) == 9
        assert await school.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []


async def _completed_some(ids: list[tuple[School, str]]) -> bool | None:
    states = [(await school.job(import_id))["state"] for school, import_id in list(ids)]
    return (len(states) >= 3 and states.count("completed") >= 1) or None


@pytest.mark.parametrize(
    ("uploads", "kills"),
    [
        pytest.param(3, 1, id="short"),
        pytest.param(12, 25, id="long", marks=[pytest.mark.faults, pytest.mark.timeout(1800)]),
    ],
)
async def test_workers_killed_at_any_moment_apply_each_import_once(
    uploads: int, kills: int, crew: Crew, schools: Callable[..., Any]
) -> None:
    dice = random.Random(20261125)
    await crew.of(2)
    several = await schools(4)
    ids: list[tuple[School, str]] = []

    for number in range(max(uploads, kills)):
        if number < uploads:
            ids += [(school, await asked(school, roster(40 + number))) for school in several]
        if number < kills:
            await asyncio.sleep(dice.uniform(0, 0.3))  # when it dies is the experiment
            for _ in range(dice.choice([1, 1, 2])):
                await crew.ends(dice.choice(crew.members), signal.SIGKILL)
            await crew.of(2)
    done = [await school.rest(import_id) for school, import_id in ids]

    assert {one["state"] for one in done} == {"completed"}
    for school in several:
        assert len(await school.rows("SELECT 1 FROM siecle_import_applied")) == uploads
        assert len(await school.pupils()) == 39 + uploads
        assert len(await school.outbox()) == 39 + uploads
        assert await school.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []
