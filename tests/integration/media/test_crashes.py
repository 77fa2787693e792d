"""Killed at each point of a replacement: the image is the old one or the new one, and no object stays for long."""

import asyncio
import signal
import sys
from datetime import timedelta

import httpx
import psycopg
import pytest

from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.handlers import sweeping
from cpro_media.handlers.storing import LONGEST_UPLOAD
from cpro_platform.clock import SettableClock, SystemClock
from cpro_platform.object_store import ObjectStore
from cpro_test_support.pictures import a_logo, decoded, encoded

OLD, NEW = a_logo(colour="navy"), a_logo(colour="green")

STORE_FROM_STANDARD_INPUT = """
import asyncio, sys
from cpro_media.handlers import storing
from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.domain.images import ImageKind

async def main(what, uai):
    async with Service(Config(), background=False) as service:
        ports = {"images": service.images, "objects": service.objects, "clock": service.clock}
        if what == "delete":
            await storing.delete_image(uai, ImageKind.LOGO, **ports)
        else:
            data = sys.stdin.buffer.read()
            await storing.store_image(uai, ImageKind.LOGO, data, by="x", decoder=service.decoder, **ports)

asyncio.run(main(*sys.argv[1:]))
"""


async def killed_at(point: str, what: str, environment: dict[str, str], school: str) -> None:
    """Store NEW, or delete, in a process that dies at this point."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STORE_FROM_STANDARD_INPUT, what, school,
        stdin=asyncio.subprocess.PIPE, env=environment | {"CPRO_CRASH_AT": point},
    )  # fmt: skip
    await process.communicate(encoded(NEW, "PNG"))
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("point", "what", "left"),
    [
        ("image.intended", "store", OLD),
        ("image.put", "store", OLD),
        ("image.replaced", "store", NEW),
        ("image.deleted", "delete", None),
    ],
)
async def test_after_a_kill_the_image_is_whole_and_the_sweep_leaves_only_its_objects(
    point: str,
    what: str,
    left: object,
    client: httpx.AsyncClient,
    service: Service,
    bucket: ObjectStore,
    config: Config,
    environment: dict[str, str],
    school: str,
) -> None:
    await client.put("/images/logo", content=encoded(OLD, "PNG"))

    await killed_at(point, what, environment, school)
    clock = SettableClock(SystemClock().now() + LONGEST_UPLOAD + timedelta(seconds=1))
    await sweeping.sweep(images=service.images, objects=service.objects, clock=clock)

    answer = await client.get("/images/logo")
    if left is None:
        assert answer.status_code == 404
    else:
        assert decoded(answer.content).tobytes() == left.tobytes()  # type: ignore[attr-defined]
    with psycopg.connect(config.database.conninfo) as connection:
        live = {key for row in connection.execute("SELECT key, thumbnail_key FROM image").fetchall() for key in row}
        assert connection.execute("SELECT count(*) FROM object_removal").fetchone() == (0,)
    assert {entry.key for entry in await bucket.list()} == live


async def test_the_running_service_sweeps_by_itself(
    config: Config, environment: dict[str, str], client: httpx.AsyncClient, bucket: ObjectStore, school: str
) -> None:
    await client.put("/images/logo", content=encoded(OLD, "PNG"))
    await killed_at("image.deleted", "delete", environment, school)
    assert len(await bucket.list()) == 2

    async with Service(config), asyncio.timeout(10):
        while await bucket.list():
            await asyncio.sleep(0.02)
