"""Uploads are kept for a while and then let go, whatever died in between; the figures of their imports stay."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from cpro_embedded.ports import free_ports
from cpro_platform.object_store import ObjectStore
from cpro_siecle_import import handlers
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

StartProcess = Callable[..., "subprocess.Popen[bytes]"]


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


@pytest.fixture
async def store(config: Config) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(config.object_store)
    yield store
    await store.close()


@pytest.fixture
async def service(config: Config) -> AsyncIterator[Service]:
    """The service without work of its own, to sweep with."""
    async with Service(config, work=Work.NOTHING) as service:
        yield service


async def sweep(service: Service) -> dict[str, int]:
    swept = await handlers.sweep(
        jobs=service.jobs, uploads=service.uploads, clock=service.clock, retention=service.retention
    )
    return {"expired": swept.expired, "removed": swept.removed, "unclaimed": swept.unclaimed}


async def files(store: ObjectStore, school: School) -> list[str]:
    return [stored.key for stored in await store.list(f"{school.uai}/")]


async def age(school: School, import_id: str, days: float) -> None:
    """Let the upload be so many days older."""
    async with await psycopg.AsyncConnection.connect(school.config.database.conninfo, autocommit=True) as connection:
        await connection.execute(
            "UPDATE import_job SET requested_at = requested_at - %s WHERE id = %s", (timedelta(days=days), import_id)
        )


async def stop_for_confirmation(school: School) -> dict[str, Any]:
    stopped = await school.imports(roster(3), mode="preview")
    assert stopped["state"] == "awaiting_confirmation"
    return stopped


async def test_a_file_is_removed_thirty_days_after_its_upload_and_the_figures_stay(
    school: School, service: Service, store: ObjectStore
) -> None:
    done = await school.imports(roster(5))
    promised = datetime.fromisoformat(done["upload_available_until"]) - datetime.fromisoformat(done["requested_at"])
    await age(school, done["id"], 29.9)
    await sweep(service)
    kept = await files(store, school)
    await age(school, done["id"], 0.2)

    # Two at once: neither minds the other.
    await asyncio.gather(sweep(service), sweep(service))

    after = await school.read(done["id"])
    assert promised == timedelta(days=30)
    assert kept == [f"{school.uai}/{done['id']}"]
    assert await files(store, school) == []
    assert after["upload_removed_at"] is not None
    assert after["upload_available_until"] is None
    assert (after["state"], after["counts"]) == (done["state"], done["counts"])
    assert await sweep(service) == {"expired": 0, "removed": 0, "unclaimed": 0}


async def test_a_confirmation_that_never_came_ends_the_import_with_its_reason(
    school: School, service: Service, store: ObjectStore
) -> None:
    stopped = await stop_for_confirmation(school)
    await age(school, stopped["id"], 31)

    await sweep(service)

    ended = await school.read(stopped["id"])
    late = await school.client.post(f"/siecle-imports/{stopped['id']}/confirm")
    assert (ended["state"], ended["refusal"]["code"]) == ("cancelled", "confirmation_expired")
    assert "30 jours" in ended["refusal"]["detail"]
    assert ended["counts"]["created"] == 3
    assert (late.status_code, late.json()["code"]) == (409, "import_not_awaiting_confirmation")
    assert await files(store, school) == []
    assert await school.pupils() == {}


async def test_an_import_that_is_not_at_rest_keeps_its_file_whatever_its_age(
    config_without_worker: Config, lone_school: School
) -> None:
    store = ObjectStore(config_without_worker.object_store)
    asked = (await lone_school.upload(lone_school.file(roster(3)))).json()
    await age(lone_school, asked["id"], 400)

    async with Service(config_without_worker, work=Work.NOTHING) as service:
        await sweep(service)

    assert await files(store, lone_school) == [f"{lone_school.uai}/{asked['id']}"]
    assert (await lone_school.read(asked["id"]))["state"] == "queued"
    await store.close()


async def test_the_file_of_a_cancelled_import_goes_with_the_next_sweep(
    school: School, service: Service, store: ObjectStore
) -> None:
    stopped = await stop_for_confirmation(school)
    await school.client.post(f"/siecle-imports/{stopped['id']}/cancel")

    await sweep(service)

    assert await files(store, school) == []
    assert (await school.read(stopped["id"]))["upload_removed_at"] is not None


async def test_the_file_of_a_repetition_is_not_kept_twice(school: School, store: ObjectStore) -> None:
    file = school.file(roster(3))
    first = await school.imports(file)

    await school.upload(file)

    assert await files(store, school) == [f"{school.uai}/{first['id']}"]


@pytest.mark.parametrize(("point", "left"), [("upload.kept", 2), ("upload.entered", 2)])
async def test_a_file_whose_process_died_before_it_became_an_import_is_removed_after_a_while(
    point: str, left: int, school: School, service: Service, store: ObjectStore, config: Config, process: StartProcess
) -> None:
    file = school.file(roster(3))
    first = await school.imports(file)
    (port,) = free_ports(1)
    victim = process("api", CPRO_SIECLE_IMPORT_HTTP__PORT=str(port), CPRO_CRASH_AT=point)
    await _upload_until_it_dies(school, port, file)
    assert await asyncio.to_thread(victim.wait) == -9
    orphaned = await files(store, school)

    await sweep(service)
    young = await files(store, school)
    in_two_hours = Service(config.model_copy(update={"unclaimed_uploads_kept_seconds": 0.001}), work=Work.NOTHING)
    async with in_two_hours as later:
        await sweep(later)

    assert len(orphaned) == len(young) == left
    assert await files(store, school) == [f"{school.uai}/{first['id']}"]


async def _upload_until_it_dies(school: School, port: int, file: bytes) -> None:
    async with httpx.AsyncClient(headers=school.client.headers) as client:

        async def ready() -> bool | None:
            try:
                return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200 or None
            except httpx.TransportError:
                return None

        await eventually(ready)
        with pytest.raises(httpx.TransportError):
            await client.post(f"http://127.0.0.1:{port}/v1/establishments/{school.uai}/siecle-imports", content=file)


async def test_what_else_lies_in_the_bucket_is_left_alone(config: Config, school: School, store: ObjectStore) -> None:
    foreign = [f"{school.uai}/notes.txt", f"{school.uai}/logo/2f0b6c1e-6f0a-4b0e-9d51-0a2f7c8e4d11", "readme"]
    for key in foreign:
        await store.put(key, b"not an upload")

    async with Service(config.model_copy(update={"unclaimed_uploads_kept_seconds": 0.001}), work=Work.NOTHING) as later:
        await sweep(later)

    assert [key for key in foreign if key in {stored.key for stored in await store.list()}] == foreign


async def test_a_sweep_killed_before_it_could_say_so_is_finished_by_the_next(
    school: School, store: ObjectStore, process: StartProcess
) -> None:
    done = await school.imports(roster(3))
    await age(school, done["id"], 31)

    victim = process("sweep", CPRO_CRASH_AT="upload.removed")
    killed = await asyncio.to_thread(victim.wait)
    between = await files(store, school), (await school.read(done["id"]))["upload_removed_at"]
    successor = process("sweep")

    async def said() -> dict[str, Any] | None:
        found = await school.read(done["id"])
        return found if found["upload_removed_at"] else None

    after = await eventually(said)
    successor.terminate()
    assert killed == -9
    assert between == ([], None)
    assert (after["state"], after["counts"]["created"]) == ("completed", 3)
    assert await asyncio.to_thread(successor.wait) == 0
