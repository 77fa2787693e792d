"""What an administrator's browser sends twice happens once, whatever dies in between."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_platform.object_store import ObjectStore
from cpro_siecle_import.config import Config
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

StartProcess = Callable[..., "subprocess.Popen[bytes]"]
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


def roster(count: int) -> list[SamplePupil]:
    return list(generate_pupils(count, 1, school_year=YEAR))


@asynccontextmanager
async def api(
    process: StartProcess, of: Config, school: School, *, crash_at: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    """The API as a process of its own, asked as this school's administrator."""
    (port,) = free_ports(1)
    running = process("api", of, CPRO_SIECLE_IMPORT_HTTP__PORT=str(port), CPRO_CRASH_AT=crash_at)
    address = f"http://{LOCALHOST}:{port}"
    async with httpx.AsyncClient(headers=school.client.headers, timeout=30) as client:

        async def ready() -> bool | None:
            try:
                return (await client.get(f"{address}/readyz")).status_code == 200 or None
            except httpx.TransportError:
                return None

        await eventually(ready)
        client.base_url = httpx.URL(f"{address}/v1/establishments/{school.uai}")
        yield client
    if crash_at:
        assert await asyncio.to_thread(running.wait) == -9


async def files(config: Config, school: School) -> list[str]:
    store = ObjectStore(config.object_store)
    try:
        return [found.key for found in await store.list(f"{school.uai}/")]
    finally:
        await store.close()


async def imports(school: School) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await school.client.get("/siecle-imports")).json()["items"]
    return found


@pytest.mark.parametrize(("point", "done_by_then"), [("answer.keeping", 0), ("answer.kept", 1)])
async def test_an_upload_whose_process_is_killed_before_it_answers_is_one_import_once_repeated(
    point: str, done_by_then: int, lone_school: School, config_without_worker: Config, process: StartProcess
) -> None:
    school, file = lone_school, lone_school.file(roster(3))

    async with api(process, config_without_worker, school, crash_at=point) as dying:
        with pytest.raises(httpx.TransportError):
            await dying.post("/siecle-imports?force=true", content=file, headers=KEY)
    by_then = await imports(school)
    repeated, again = [
        await school.client.post("/siecle-imports?force=true", content=file, headers=KEY) for _ in range(2)
    ]

    (only,) = await imports(school)
    assert len(by_then) == done_by_then
    assert (repeated.status_code, repeated.json()["id"]) == (202, only["id"])
    assert repeated.headers["Location"].endswith(f"/siecle-imports/{only['id']}")
    assert (again.content, again.headers["Location"]) == (repeated.content, repeated.headers["Location"])


@pytest.mark.parametrize(("point", "state"), [("answer.keeping", "queued"), ("answer.kept", "cancelled")])
async def test_a_cancellation_whose_process_is_killed_is_whole_or_not_there_and_its_repetition_succeeds(
    point: str, state: str, lone_school: School, config_without_worker: Config, process: StartProcess
) -> None:
    school = lone_school
    asked = (await school.upload(school.file(roster(3)))).json()

    async with api(process, config_without_worker, school, crash_at=point) as dying:
        with pytest.raises(httpx.TransportError):
            await dying.post(f"/siecle-imports/{asked['id']}/cancel", headers=KEY)
    by_then = await school.read(asked["id"])
    repeated = await school.client.post(f"/siecle-imports/{asked['id']}/cancel", headers=KEY)

    assert by_then["state"] == state
    assert (repeated.status_code, repeated.json()["state"]) == (202, "cancelled")


async def test_a_late_repetition_of_a_confirmation_does_not_confirm_the_list_that_nobody_has_seen(
    school: School,
) -> None:
    pupils = roster(4)
    await school.imports(pupils)
    preview = await school.imports(pupils[1:], mode="preview")
    confirm = f"/siecle-imports/{preview['id']}/confirm"
    await school.rows("UPDATE pupil SET division = 'CHANGÉE' WHERE siecle_id = %s", pupils[2].siecle_id)

    first = await school.client.post(confirm, headers=KEY)
    stopped_again = await school.rest(preview["id"])
    late = await school.client.post(confirm, headers=KEY)

    assert stopped_again["state"] == "awaiting_confirmation"
    assert (late.status_code, late.content) == (202, first.content)
    assert (await school.read(preview["id"]))["state"] == "awaiting_confirmation"
    assert len(await school.active()) == 4


async def test_a_refused_confirmation_may_be_asked_again_under_its_key(school: School) -> None:
    waiting = await school.imports(roster(3), mode="preview")
    await school.client.post(f"/siecle-imports/{waiting['id']}/cancel")

    refused = [await school.client.post(f"/siecle-imports/{waiting['id']}/confirm", headers=KEY) for _ in range(2)]

    assert [answer.status_code for answer in refused] == [409, 409]
    assert len({answer.json()["request_id"] for answer in refused}) == 2


async def test_the_right_is_looked_at_before_the_kept_answer(
    school: School, other_school: School, servers: Servers
) -> None:
    def as_somebody(uai: str) -> dict[str, str]:
        return KEY | {"Authorization": f"Bearer {servers.tokens.token('the-same-person', ['administrator'], uai)}"}

    path, file = "/siecle-imports?force=true", school.file(roster(3))
    allowed = await school.client.post(path, content=file, headers=as_somebody(school.uai))

    moved_on = await school.client.post(path, content=file, headers=as_somebody(other_school.uai))

    assert (allowed.status_code, moved_on.status_code) == (202, 403)
    assert allowed.json()["id"] not in moved_on.text


async def test_a_key_is_the_same_in_quotes_and_without(school: School) -> None:
    file = school.file(roster(3))

    bare, quoted = [
        await school.client.post("/siecle-imports?force=true", content=file, headers={"Idempotency-Key": key})
        for key in ("button-1", '"button-1"')
    ]

    assert bare.content == quoted.content


@pytest.mark.parametrize("key", ["", "x" * 201, "two words", "clé"], ids=["empty", "too long", "space", "not ASCII"])
async def test_a_key_without_form_is_refused_and_nothing_happens(key: str, school: School) -> None:
    answer = await school.client.post(
        "/siecle-imports", content=school.file(roster(3)), headers={b"Idempotency-Key": key.encode()}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await imports(school) == []


async def test_the_file_of_a_repetition_or_of_a_refused_one_does_not_stay_in_the_store(
    school: School, config: Config
) -> None:
    first = (await school.client.post("/siecle-imports", content=school.file(roster(3)), headers=KEY)).json()
    await school.client.post("/siecle-imports", content=school.file(roster(3)), headers=KEY)
    other = await school.client.post("/siecle-imports", content=school.file(roster(4)), headers=KEY)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await files(config, school) == [f"{school.uai}/{first['id']}"]
