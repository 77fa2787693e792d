"""Hostile pictures uploaded to a running service: each is refused in words, and nobody else notices."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from cpro_embedded.ports import free_ports
from cpro_media.domain.images import Refusal
from cpro_media.errors import REFUSALS, image_refused
from cpro_platform.object_store import ObjectStore
from cpro_test_support.depth import slow
from cpro_test_support.hostile_pictures import ACCEPTED, HostilePicture, hostile_pictures
from cpro_test_support.pictures import a_logo, encoded
from cpro_test_support.servers import Servers

COMMAND = "from cpro_media.entrypoints.cli import app; app()"
LOGO = encoded(a_logo(), "PNG")
LONGEST_ANSWER_SECONDS = 10.0
"""For a read beside hostile uploads, on a machine that others use too: it is asked again at once after each answer."""


@pytest.fixture
async def running(environment: dict[str, str], servers: Servers, school: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API in a process of its own, with a logo stored, called as the administrator of `school`."""
    (port,) = free_ports(1)
    # A busy machine stretches time: what is refused here is refused by its bytes, not by the load.
    limits = {"CPRO_MEDIA_DECODER__TIMEOUT_SECONDS": "60", "CPRO_MEDIA_DECODER__PROCESSOR_SECONDS": "8"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, "api", env=environment | limits | {"CPRO_MEDIA_HTTP__PORT": str(port)},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    token = servers.tokens.token("admin-1", ["administrator"], school)
    url = f"http://127.0.0.1:{port}/v1/establishments/{school}"
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=120) as client:
        async with asyncio.timeout(60):
            while not await answers_at(port):
                await asyncio.sleep(0.05)
        assert (await client.put("/images/stamp", content=LOGO)).status_code == 200
        yield client
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        await process.wait()


async def answers_at(port: int) -> bool:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False


@slow
async def test_the_service_answers_others_while_hostile_pictures_are_uploaded(
    running: httpx.AsyncClient, bucket: ObjectStore
) -> None:
    stored = await running.get("/images/stamp")
    waiting = list(reversed(hostile_pictures()))
    wrong: list[str] = []

    async def upload() -> None:
        while waiting:
            picture = waiting.pop()
            wrong.extend(await wrongly_answered(running, picture))

    uploads = asyncio.gather(*(upload() for _ in range(3)))
    reads = 0
    while not uploads.done():
        async with asyncio.timeout(LONGEST_ANSWER_SECONDS):
            alive = await running.get(str(running.base_url.copy_with(path="/livez")))
        async with asyncio.timeout(LONGEST_ANSWER_SECONDS):
            read = await running.get("/images/stamp")
        assert (alive.status_code, read.status_code, read.content) == (200, 200, stored.content)
        reads += 1
    await uploads

    assert wrong == []
    assert reads > 50
    assert len([entry for entry in await bucket.list() if "/logo/" in entry.key]) == 2


async def wrongly_answered(client: httpx.AsyncClient, picture: HostilePicture) -> list[str]:
    """The fault in the answer, if there is one."""
    answer = await client.put("/images/logo", content=picture.make(), headers={"Content-Type": "image/png"})
    found = ACCEPTED if answer.status_code == 200 else answer.json()["code"]
    return [] if found == picture.outcome else [f"{picture.name}: {answer.status_code} {found}"]


def an_example_of(refusal: Refusal) -> HostilePicture:
    return next(picture for picture in hostile_pictures() if picture.outcome == refusal)


@slow
@pytest.mark.parametrize("refusal", Refusal)
async def test_each_refusal_is_said_in_french_and_in_english_to_who_asks(
    client: httpx.AsyncClient, bucket: ObjectStore, refusal: Refusal
) -> None:
    data = an_example_of(refusal).make()

    french = await client.put("/images/logo", content=data)
    english = await client.put("/images/logo", content=data, headers={"Accept-Language": "en"})

    problem, words = REFUSALS[refusal], image_refused(refusal)
    for answer in (french, english):
        assert (answer.status_code, answer.json()["code"]) == (problem.status, refusal.value)
        assert answer.headers["content-type"] == "application/problem+json"
    assert french.json()["detail"] == words.detail_fr
    assert english.json()["detail"] == words.detail_en
    assert french.json()["title"] != english.json()["title"]
    assert await bucket.list() == []
