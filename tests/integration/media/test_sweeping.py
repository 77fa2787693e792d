"""What no image refers to goes, what an image or an upload needs stays."""

import asyncio
import sys

import httpx
import psycopg
import pytest

from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.domain.images import ImageKind
from cpro_media.handlers import storing, sweeping
from cpro_media.handlers.sweeping import Swept
from cpro_platform.object_store import ObjectStore
from cpro_test_support.pictures import a_logo, decoded, encoded

LOGO, OTHER_LOGO = encoded(a_logo(), "PNG"), encoded(a_logo(colour="green"), "PNG")
ORPHAN = "images/0752387M/logo/given-up/object"
COMMAND = "from cpro_media.entrypoints.cli import app; app()"


async def keys_in(bucket: ObjectStore) -> set[str]:
    return {entry.key for entry in await bucket.list()}


async def test_an_orphan_goes_and_the_images_stay(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore
) -> None:
    await client.put("/images/logo", content=LOGO)
    before = await keys_in(bucket)
    await bucket.put(ORPHAN, b"left by an upload that was given up")

    swept = await service.sweep_all()

    assert swept == Swept(orphans=1)
    assert await keys_in(bucket) == before
    assert await service.sweep_all() == Swept()


async def test_a_dry_run_tells_and_changes_nothing(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore, config: Config
) -> None:
    await client.put("/images/logo", content=LOGO)
    await bucket.put(ORPHAN, b"x")
    with psycopg.connect(config.database.conninfo) as connection:
        connection.execute("INSERT INTO object_removal VALUES ('images/due', now() - interval '1 second')")
    before = await keys_in(bucket)

    swept = await service.sweep_all(dry_run=True)

    assert swept == Swept(due=1, orphans=1)
    assert await keys_in(bucket) == before
    assert await service.sweep_all() == swept


@pytest.mark.parametrize("moment", ["before its objects", "before it commits"])
async def test_a_sweep_of_the_whole_store_leaves_an_upload_under_way_alone(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore, school: str, moment: str
) -> None:
    real = service.objects

    class SweptMeanwhile:
        async def put(self, key: str, data: bytes, *, content_type: str) -> None:
            if moment == "before its objects":
                assert await service.sweep_all() == Swept()
            await real.put(key, data, content_type=content_type)
            assert await service.sweep_all() == Swept()

    await storing.store_image(
        school, ImageKind.LOGO, LOGO, by="admin-1", decoder=service.decoder, images=service.images,
        objects=SweptMeanwhile(), clock=service.clock,  # type: ignore[arg-type]
    )  # fmt: skip

    assert decoded((await client.get("/images/logo")).content).tobytes() == a_logo().tobytes()
    assert len(await keys_in(bucket)) == 2


async def test_sweeps_beside_uploads_take_nothing_that_is_wanted(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore
) -> None:
    async def replace() -> None:
        for number in range(6):
            answer = await client.put("/images/logo", content=LOGO if number % 2 else OTHER_LOGO)
            assert answer.status_code == 200

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        assert (await service.sweep_all()).missing == 0
    await replacing

    assert (await client.get("/images/logo")).status_code == 200
    assert len(await keys_in(bucket)) == 2


async def test_an_image_that_lost_its_object_is_told(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore
) -> None:
    await client.put("/images/logo", content=LOGO)
    (thumbnail,) = [key for key in await keys_in(bucket) if "/thumbnail/" in key]
    await bucket.remove(thumbnail)

    assert await service.sweep_all() == Swept(missing=1)


async def test_what_is_listed_and_then_deleted_is_no_harm(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore
) -> None:
    await client.put("/images/logo", content=LOGO)
    listed = sorted(await keys_in(bucket))

    await client.delete("/images/logo")

    assert sorted(await service.images.unknown_among(listed)) == listed
    await service.objects.remove_many(listed)
    assert await sweeping.sweep(images=service.images, objects=service.objects, clock=service.clock) == 0


async def test_the_command_sweeps_once_or_only_tells(environment: dict[str, str], bucket: ObjectStore) -> None:
    await bucket.put(ORPHAN, b"x")

    told = await output_of(environment, "sweep", "--dry-run")
    left = await keys_in(bucket)
    done = await output_of(environment, "sweep", "--once")

    assert told == "would remove 0 due and 1 orphaned objects; 0 missing\n"
    assert left == {ORPHAN}
    assert done == "removed 0 due and 1 orphaned objects; 0 missing\n"
    assert await keys_in(bucket) == set()


async def output_of(environment: dict[str, str], *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
