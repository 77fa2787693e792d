"""What keeps one school waiting keeps no other waiting, and its own imports stay in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from asgi_lifespan import LifespanManager

from cpro_platform.clock import SystemClock
from cpro_platform.database import Database
from cpro_platform.kafka import EventPublisher
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_tenant_db import directory
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.tenant_outbox import TenantOutbox
from cpro_test_support.import_group import partition_of
from cpro_test_support.import_world import YEAR, School, new_school, prepared_config
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

HOLD_SCHOOL = "SELECT pg_advisory_lock(21321, hashtext(current_database()))"


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


@pytest.fixture(scope="module")
async def impatient(servers: Servers) -> Config:
    """An installation that waits half a second for a lock, and asks again after one."""
    config = await prepared_config(servers)
    return config.model_copy(update={"lock_timeout_seconds": 0.5, "ask_again_seconds": 1.0})


@pytest.fixture(scope="module")
async def at_work(impatient: Config) -> AsyncIterator[httpx.ASGITransport]:
    app = create(Service(impatient))
    async with LifespanManager(app):
        yield httpx.ASGITransport(app)


@pytest.fixture
async def neighbours(
    impatient: Config, at_work: httpx.ASGITransport, servers: Servers
) -> AsyncIterator[tuple[School, School]]:
    """Two schools whose jobs are in one partition, so that one worker carries out both."""
    async with AsyncExitStack() as entered:
        first = await entered.enter_async_context(new_school(impatient, at_work, servers))
        second = await entered.enter_async_context(
            new_school(impatient, at_work, servers, among={partition_of(first.uai)})
        )
        yield first, second


async def asked(school: School, pupils: list[SamplePupil]) -> str:
    answer = await school.upload(school.file(pupils))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def becomes(school: School, import_id: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        job = await school.job(import_id)
        return job if fits(job) else None

    job: dict[str, Any] = await eventually(found, lambda: school.job(import_id))
    return job


def put_aside(job: dict[str, Any]) -> bool:
    return job["state"] == "queued" and job["ask_again_at"] is not None


async def test_a_school_whose_lock_is_held_lets_the_others_of_its_partition_go_on_and_keeps_its_order(
    neighbours: tuple[School, School],
) -> None:
    stuck, other = neighbours
    async with stuck.holding(HOLD_SCHOOL):
        waiting = [await asked(stuck, roster(number)) for number in (3, 4, 5)]
        await becomes(stuck, waiting[0], put_aside)
        theirs = await other.imports(roster(2))
        meanwhile = [await becomes(stuck, import_id, put_aside) for import_id in waiting]

    done = [await stuck.rest(import_id) for import_id in waiting]

    assert theirs["state"] == "completed"
    assert [job["attempts"] for job in meanwhile] == [0, 0, 0]
    assert [job["state"] for job in done] == ["completed"] * 3
    assert [job["counts"]["created"] for job in done] == [3, 1, 1]
    assert all(before["finished_at"] <= after["finished_at"] for before, after in pairwise(done))


async def test_an_import_that_waits_for_its_school_can_be_cancelled_and_the_next_goes_on(
    neighbours: tuple[School, School],
) -> None:
    stuck, _ = neighbours
    async with stuck.holding(HOLD_SCHOOL):
        first, second = await asked(stuck, roster(3)), await asked(stuck, roster(4))
        await becomes(stuck, second, put_aside)
        await becomes(stuck, first, put_aside)
        cancelled = await stuck.client.post(f"/siecle-imports/{first}/cancel")

    done = await stuck.rest(second)

    assert (cancelled.status_code, cancelled.json()["cancel_requested"]) == (202, True)
    assert (await stuck.rest(first))["state"] == "cancelled"
    assert (done["state"], done["counts"]["created"]) == ("completed", 4)


async def test_a_school_whose_database_is_away_keeps_no_other_waiting_and_goes_on_when_it_is_back(
    neighbours: tuple[School, School],
) -> None:
    away, other = neighbours
    database = (await away.rows("SELECT current_database() AS name"))[0]["name"]
    async with await psycopg.AsyncConnection.connect(other.conninfo, autocommit=True) as elsewhere:
        await elsewhere.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'.encode())
        import_id = await asked(away, roster(3))
        waiting = await becomes(away, import_id, put_aside)
        theirs = await other.imports(roster(2))
        await elsewhere.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'.encode())

    done = await away.rest(import_id)

    assert theirs["state"] == "completed"
    assert (waiting["attempts"], done["state"], done["counts"]["created"]) == (0, "completed", 3)


async def test_a_poison_job_fails_with_its_reason_and_those_behind_it_go_on(
    neighbours: tuple[School, School],
) -> None:
    poisoned, other = neighbours
    await poisoned.rows("ALTER TABLE pupil RENAME COLUMN division TO form")

    failing = await asked(poisoned, roster(3))
    behind = await asked(other, roster(2))
    failed, theirs = await poisoned.rest(failing), await other.rest(behind)
    await poisoned.rows("ALTER TABLE pupil RENAME COLUMN form TO division")
    later = await poisoned.imports(roster(4))

    assert (failed["state"], failed["refusal"]["code"]) == ("failed", "processing_error")
    assert failing in failed["refusal"]["detail"]
    assert theirs["state"] == "completed"
    assert (later["state"], later["counts"]["created"]) == ("completed", 4)


async def test_what_is_applied_but_can_not_be_published_is_never_said_to_have_failed(
    neighbours: tuple[School, School],
) -> None:
    school, other = neighbours
    await school.rows(
        "INSERT INTO outbox (topic, key, type, source, subject, occurred_at, payload)"
        " VALUES ('cpro.pupil', 'too large for Kafka', 't', 's', 's', now(), to_jsonb(repeat('x', 2000000)))"
    )

    import_id = await asked(school, roster(3))
    waiting = await becomes(school, import_id, put_aside)
    too_late = await school.client.post(f"/siecle-imports/{import_id}/cancel")
    theirs = await other.imports(roster(2))
    applied = len(await school.pupils())
    await school.rows("DELETE FROM outbox WHERE key = 'too large for Kafka'")
    done = await school.rest(import_id)

    assert (waiting["phase"], waiting["attempts"], applied) == ("publishing", 0, 3)
    assert (too_late.status_code, too_late.json()["code"]) == (409, "import_not_cancellable")
    assert theirs["state"] == "completed"
    assert (done["state"], done["counts"]["created"]) == ("completed", 3)
    assert await school.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []


async def test_a_request_that_was_lost_is_made_again_with_the_next_of_its_school(
    neighbours: tuple[School, School],
) -> None:
    school, _ = neighbours
    first = await school.imports(roster(3))
    lost = uuid4()
    async with await psycopg.AsyncConnection.connect(school.config.database.conninfo, autocommit=True) as connection:
        await connection.execute(
            """
            INSERT INTO import_job (id, uai, mode, state, phase, file_sha256, file_bytes, object_key, requested_by,
                requested_at)
            SELECT %s, uai, mode, 'queued', 'waiting', file_sha256, file_bytes, object_key, requested_by, now()
            FROM import_job WHERE id = %s
            """,
            (lost, first["id"]),
        )

    later = await school.imports(roster(4))

    assert (await school.rest(str(lost)))["counts"]["unchanged"] == 3
    assert later["counts"]["created"] == 1


async def test_jobs_put_aside_are_asked_for_once_however_many_relays_look(
    neighbours: tuple[School, School], impatient: Config
) -> None:
    school, _ = neighbours
    async with school.holding(HOLD_SCHOOL), Service(impatient, work=Work.NOTHING) as other_process:
        import_id = await asked(school, roster(3))
        await becomes(school, import_id, put_aside)
        later = SystemClock().now() + timedelta(minutes=5)
        numbers = await asyncio.gather(*(other_process.jobs.ask_again(later) for _ in range(3)))
        await school.client.post(f"/siecle-imports/{import_id}/cancel")

    assert sum(numbers) == 1


async def test_leftovers_of_a_school_that_can_not_be_sent_keep_no_others_waiting(
    neighbours: tuple[School, School], impatient: Config
) -> None:
    broken, other = neighbours
    await other.imports(roster(2))
    await other.rows("UPDATE outbox SET published_at = NULL")
    await broken.rows(
        "INSERT INTO outbox (topic, key, type, source, subject, occurred_at, payload)"
        " VALUES ('cpro.pupil', 'too large for Kafka', 't', 's', 's', now(), to_jsonb(repeat('x', 2000000)))"
    )
    database = Database(impatient.database.conninfo, name="tests", max_connections=1)
    publisher = EventPublisher(impatient.kafka.bootstrap_servers, client_id="tests")
    async with directory.opened(impatient.tenants.directory_conninfo) as opened:
        tenants = TenantConnections(opened, impatient.tenants.cluster_conninfos, application_name="tests")
        await database.open()
        async with database.begin() as tx:
            for school in (broken, other):
                await tx.execute(
                    "INSERT INTO tenant_outbox_note (id, uai, noted_at) VALUES (%s, %s, now() - interval '1 minute')",
                    (uuid4(), school.uai),
                )

        published = await TenantOutbox(database, tenants, publisher).publish_leftovers()

        await publisher.stop()
        await tenants.close()
        await database.close()
    assert published >= 2
    assert await other.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []
    assert len(await broken.rows("SELECT 1 FROM outbox WHERE published_at IS NULL")) == 1
