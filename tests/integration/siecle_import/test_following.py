"""Progress as it happens: for many at once, kept alive, over when the follower or the import is."""

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import fastapi.routing
import httpx
import pytest
from asgi_lifespan import LifespanManager

from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

HELD = "LOCK TABLE pupil IN ROW EXCLUSIVE MODE"


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


@pytest.fixture
async def narrow(config: Config) -> AsyncIterator[Service]:
    """An API process with a single connection to the database of the service."""
    database = config.database.model_copy(update={"max_connections": 1})
    service = Service(config.model_copy(update={"database": database}), work=Work.NOTHING)
    async with LifespanManager(create(service)):
        yield service


def client_of(school: School, service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(create(service)), base_url=school.client.base_url, headers=school.client.headers
    )


def events(body: str) -> list[tuple[str, dict[str, Any]]]:
    """(id, data) of each."""
    found = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields["id"], json.loads(fields["data"])))
    return found


async def test_a_hundred_follow_one_import_and_share_one_connection(school: School, narrow: Service) -> None:
    async with client_of(school, narrow) as client:
        async with school.holding(HELD):
            import_id = (await school.upload(school.file(roster(5)))).json()["id"]
            path = f"/siecle-imports/{import_id}/events"
            following = [asyncio.create_task(client.get(path, timeout=30)) for _ in range(100)]
            await eventually(lambda: _follow(narrow, 100))
            asked = await client.get(f"/siecle-imports/{import_id}", timeout=5)
        told = [events(answer.text) for answer in await asyncio.gather(*following)]

    assert asked.json()["state"] == "running"
    assert {found[-1][1]["state"] for found in told} == {"completed"}
    assert narrow.followers.number == 0


async def _follow(service: Service, number: int) -> bool | None:
    return service.followers.number == number or None


async def test_who_comes_back_hears_only_what_is_new_and_is_sent_away_at_the_end(school: School) -> None:
    done = await school.imports(roster(3), mode="preview")
    path = f"/siecle-imports/{done['id']}/events"
    first = await school.client.get(path)
    ((last_seen, _),) = events(first.text)

    at_rest = await school.client.get(path, headers={"Last-Event-ID": last_seen})
    await school.client.post(f"/siecle-imports/{done['id']}/confirm")
    confirmed = await school.client.get(path, headers={"Last-Event-ID": last_seen})
    nonsense = await school.client.get(path, headers={b"Last-Event-ID": "²/../'".encode()})

    told = events(confirmed.text)
    assert (at_rest.status_code, at_rest.content) == (204, b"")
    assert last_seen not in [event_id for event_id, _ in told]
    assert told[-1][1]["state"] == "completed"
    assert events(nonsense.text)[-1][1]["state"] == "completed"


async def test_who_has_seen_the_present_is_not_told_it_again(school: School, narrow: Service) -> None:
    async with client_of(school, narrow) as client:
        async with school.holding(HELD):
            import_id = (await school.upload(school.file(roster(3)))).json()["id"]
            await eventually(lambda: _compares(school, import_id))
            seen = str((await school.job(import_id))["revision"])
            path = f"/siecle-imports/{import_id}/events"
            anew = asyncio.create_task(client.get(path, timeout=30))
            again = asyncio.create_task(client.get(path, headers={"Last-Event-ID": seen}, timeout=30))
            await eventually(lambda: _follow(narrow, 2))
        told = [[event_id for event_id, _ in events(answer.text)] for answer in await asyncio.gather(anew, again)]

    assert told[0][0] == seen
    assert seen not in told[1]
    assert told[0][1:] == told[1]


async def _compares(school: School, import_id: str) -> bool | None:
    return (await school.job(import_id))["phase"] == "comparing" or None


async def test_a_waiting_follower_is_kept_alive_and_leaves_nothing_behind_when_it_goes(
    school: School, narrow: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vars(fastapi.routing)["_PING_INTERVAL"] == 15
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)  # too long for a test
    async with school.holding(HELD):
        import_id = (await school.upload(school.file(roster(3)))).json()["id"]
        follower = _Follower(school, import_id)
        task = asyncio.create_task(create(narrow)(follower.scope, follower.receive, follower.send))
        await eventually(follower.heard_comments)
        meanwhile = narrow.followers.number
        follower.gone.set()
        async with asyncio.timeout(5):
            await task
        after = narrow.followers.number
    await school.rest(import_id)

    assert (meanwhile, after) == (1, 0)
    assert b"event: progress" in follower.body


class _Follower:
    """A client at the border of the application, who can go away in the middle of an answer."""

    def __init__(self, school: School, import_id: str) -> None:
        path = urlsplit(f"{school.client.base_url}siecle-imports/{import_id}/events").path
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"",
            "headers": [(b"authorization", school.client.headers["authorization"].encode())],
            "client": ("127.0.0.1", 1), "server": ("test", 80),
        }  # fmt: skip
        self.gone = asyncio.Event()
        self.body = b""
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.body += message.get("body", b"")

    async def heard_comments(self) -> bool | None:
        return self.body.count(b": ping") >= 2 or None


async def test_what_is_not_available_is_said_to_be_so(school: School) -> None:
    done = await school.imports(roster(1))

    png = await school.client.get(f"/siecle-imports/{done['id']}/rejections", headers={"Accept": "image/png"})
    stream = await school.client.get(f"/siecle-imports/{done['id']}/events", headers={"Accept": "application/json"})

    assert (png.status_code, png.json()["code"]) == (406, "not_acceptable")
    assert png.json()["available"] == ["application/json", "text/csv"]
    assert (stream.status_code, stream.json()["code"]) == (406, "not_acceptable")


async def test_who_follows_an_import_in_a_process_that_is_told_to_stop_gets_a_stream_that_ends_well(
    school: School, narrow: Service
) -> None:
    async with client_of(school, narrow) as client, school.holding(HELD):
        import_id = (await school.upload(school.file(roster(3)))).json()["id"]
        following = asyncio.create_task(client.get(f"/siecle-imports/{import_id}/events", timeout=10))
        await eventually(lambda: _follow(narrow, 1))

        narrow.readiness.stop()
        answer = await following

    seen = events(answer.text)
    assert answer.status_code == 200
    assert seen
    assert seen[-1][1]["state"] not in {"completed", "failed"}
    assert narrow.followers.number == 0
