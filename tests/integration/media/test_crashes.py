"""Killed at each point of a replacement: the image is the old one or the new one, and no object stays for long."""

import asyncio
import os
import signal
import sys
from datetime import timedelta

import httpx
import psycopg
import pytest

from cpro_media import handlers
from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.handlers import LONGEST_UPLOAD
from cpro_platform.clock import SettableClock, SystemClock
from cpro_platform.object_store import ObjectStore
from cpro_test_support.pictures import a_logo, decoded, encoded

OLD, NEW = a_logo(colour="navy"), a_logo(colour="green")

STORE_FROM_STANDARD_INPUT = """
import asyncio, sys
from cpro_media import handlers
from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.domain.images import ImageKind

async def main(what, uai):
    async with Service(Config(), background=False) as service:
        ports = {"images": service.images, "objects": service.objects, "clock": service.clock}
        if what == "delete":
            await handlers.delete_image(uai, ImageKind.LOGO, **ports)
        else:
            data = sys.stdin.buffer.read()
            await handlers.store_image(uai, ImageKind.LOGO, data, by="x", decoder=service.decoder, **ports)

asyncio.run(main(*sys.argv[1:]))
"""


def environment_of(config: Config, crash_at: str) -> dict[str, str]:
    store, oidc = config.object_store, config.oidc
    return {
        "CPRO_CRASH_AT": crash_at,
        "CPRO_MEDIA_DATABASE__URL": config.database.conninfo,
        "CPRO_MEDIA_OBJECT_STORE__ENDPOINT": store.endpoint,
        "CPRO_MEDIA_OBJECT_STORE__ACCESS_KEY": store.access_key.get_secret_value(),
        "CPRO_MEDIA_OBJECT_STORE__SECRET_KEY": store.secret_key.get_secret_value(),
        "CPRO_MEDIA_OBJECT_STORE__SECURE": str(store.secure),
        "CPRO_MEDIA_OBJECT_STORE__BUCKET": store.bucket,
        "CPRO_MEDIA_OIDC__ISSUER": oidc.issuer,
        "CPRO_MEDIA_OIDC__AUDIENCE": oidc.audience,
        "PATH": os.environ["PATH"],
    }


async def killed_at(point: str, what: str, config: Config, school: str) -> None:
    """Store NEW, or delete, in a process that dies at this point."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STORE_FROM_STANDARD_INPUT, what, school,
        stdin=asyncio.subprocess.PIPE, env=environment_of(config, point),
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
    school: str,
) -> None:
    await client.put("/images/logo", content=encoded(OLD, "PNG"))

    await killed_at(point, what, config, school)
    clock = SettableClock(SystemClock().now() + LONGEST_UPLOAD + timedelta(seconds=1))
    await handlers.sweep(images=service.images, objects=service.objects, clock=clock)

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
    config: Config, client: httpx.AsyncClient, bucket: ObjectStore, school: str
) -> None:
    await client.put("/images/logo", content=encoded(OLD, "PNG"))
    await killed_at("image.deleted", "delete", config, school)
    assert len(await bucket.list()) == 2

    async with Service(config), asyncio.timeout(10):
        while await bucket.list():
            await asyncio.sleep(0.02)
