import asyncio
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256

import httpx
import psycopg
import pytest
from PIL import Image

from cpro_media.bootstrap import Service
from cpro_media.config import Config
from cpro_media.domain.images import MAX_BYTES, ImageKind
from cpro_media.handlers import storing, sweeping
from cpro_media.handlers.storing import LONGEST_UPLOAD, UploadTooSlowError
from cpro_platform.clock import SettableClock, SystemClock
from cpro_platform.object_store import ObjectStore, StoreUnavailableError
from cpro_test_support.pictures import a_logo, a_stamp, an_animation, decoded, encoded

HeaderOf = Callable[..., dict[str, str]]
LOGO, OTHER_LOGO, STAMP = encoded(a_logo(), "PNG"), encoded(a_logo(colour="green"), "PNG"), encoded(a_stamp(), "PNG")


async def keys_in(bucket: ObjectStore) -> list[str]:
    return [entry.key for entry in await bucket.list()]


def removals_noted(config: Config) -> int:
    with psycopg.connect(config.database.conninfo) as connection:
        row = connection.execute("SELECT count(*) FROM object_removal").fetchone()
    assert row is not None
    return int(row[0])


async def test_a_stored_image_is_read_back_with_safe_headers(client: httpx.AsyncClient, school: str) -> None:
    stored = await client.put("/images/stamp", content=STAMP)

    answer = await client.get("/images/stamp")
    assert stored.status_code == answer.status_code == 200
    assert decoded(answer.content).tobytes() == a_stamp().tobytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == stored.headers["etag"] == f'"{sha256(answer.content).hexdigest()}"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="stamp-{school}.png"'
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_the_thumbnail_is_an_image_of_its_own(client: httpx.AsyncClient) -> None:
    await client.put("/images/logo", content=encoded(a_logo(1_000, 500), "JPEG"))

    answer = await client.get("/images/logo/thumbnail")

    assert decoded(answer.content).size == (256, 128)
    assert answer.headers["etag"] != (await client.get("/images/logo")).headers["etag"]
    assert answer.headers["content-disposition"].endswith('-thumbnail.jpg"')


async def test_the_list_says_what_there_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/images")).json() == {"logo": None, "stamp": None}

    stored = (await client.put("/images/logo", content=LOGO)).json()

    assert (await client.get("/images")).json() == {"logo": stored, "stamp": None}
    assert (stored["width"], stored["height"], stored["changed_by"]) == (320, 200, "admin-1")


@pytest.mark.parametrize("path", ["/images/logo", "/images/logo/thumbnail"])
async def test_who_has_the_image_already_gets_no_body(client: httpx.AsyncClient, path: str) -> None:
    await client.put("/images/logo", content=LOGO)
    etag = (await client.get(path)).headers["etag"]

    same = await client.get(path, headers={"If-None-Match": etag})
    await client.put("/images/logo", content=OTHER_LOGO)
    replaced = await client.get(path, headers={"If-None-Match": etag})

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert replaced.status_code == 200


async def test_a_replaced_image_leaves_no_object_behind(
    client: httpx.AsyncClient, bucket: ObjectStore, config: Config
) -> None:
    await client.put("/images/logo", content=LOGO)
    before = await keys_in(bucket)

    await client.put("/images/logo", content=OTHER_LOGO)

    after = await keys_in(bucket)
    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    assert removals_noted(config) == 0


async def test_the_same_image_again_changes_nothing(client: httpx.AsyncClient, bucket: ObjectStore) -> None:
    first = await client.put("/images/logo", content=LOGO)
    before = await keys_in(bucket)

    again = await client.put("/images/logo", content=LOGO)

    assert again.json() == first.json()
    assert await keys_in(bucket) == before


async def test_an_image_that_comes_back_after_another_is_stored_anew(client: httpx.AsyncClient) -> None:
    for content in (LOGO, OTHER_LOGO, LOGO):
        await client.put("/images/logo", content=content)

    assert decoded((await client.get("/images/logo")).content).tobytes() == a_logo().tobytes()


async def test_deleting_removes_the_image_and_its_objects(
    client: httpx.AsyncClient, bucket: ObjectStore, config: Config
) -> None:
    await client.put("/images/logo", content=LOGO)
    await client.put("/images/stamp", content=STAMP)

    deleted = [await client.delete("/images/logo"), await client.delete("/images/logo")]

    assert [answer.status_code for answer in deleted] == [204, 204]
    missing = await client.get("/images/logo")
    assert (missing.status_code, missing.json()["code"]) == (404, "image_missing")
    assert all("/stamp/" in key for key in await keys_in(bucket))
    assert removals_noted(config) == 0


async def test_of_uploads_at_once_one_stays_and_the_others_leave_nothing(
    client: httpx.AsyncClient, bucket: ObjectStore, config: Config
) -> None:
    colours = ("red", "green", "blue", "black", "orange")

    answers = await asyncio.gather(
        *(client.put("/images/logo", content=encoded(a_logo(colour=colour), "PNG")) for colour in colours)
    )

    assert {answer.status_code for answer in answers} == {200}
    assert (await client.get("/images/logo")).status_code == 200
    assert len(await keys_in(bucket)) == 2
    assert removals_noted(config) == 0


async def test_a_reader_never_sees_half_a_replacement(client: httpx.AsyncClient) -> None:
    await client.put("/images/logo", content=LOGO)

    async def replace() -> None:
        for number in range(6):
            await client.put("/images/logo", content=OTHER_LOGO if number % 2 == 0 else LOGO)

    replacing = asyncio.create_task(replace())
    seen = set()
    while not replacing.done():
        answer = await client.get("/images/logo")
        assert answer.status_code == 200
        assert answer.headers["etag"] == f'"{sha256(answer.content).hexdigest()}"'
        seen.add(answer.headers["etag"])
    await replacing

    assert len(seen) == 2


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "image_empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "image_type_not_accepted"),
        (an_animation("PNG"), 422, "image_animated"),
        (an_animation("WEBP"), 422, "image_animated"),
        (an_animation("GIF"), 415, "image_type_not_accepted"),
        (LOGO + b"PK\x03\x04", 422, "image_trailing_data"),
        (LOGO[:-40], 422, "image_damaged"),
        (encoded(Image.new("1", (10_000, 5_000)), "PNG"), 422, "image_too_many_pixels"),
        (b"\x89PNG\r\n\x1a\n" + b"x" * MAX_BYTES, 413, "payload_too_large"),
    ],
)
async def test_what_is_no_acceptable_image_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, bucket: ObjectStore, content: bytes, status: int, code: str
) -> None:
    answer = await client.put("/images/logo", content=content, headers={"Content-Type": "image/png"})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["title"]
    assert await keys_in(bucket) == []


async def test_a_refused_image_leaves_the_one_that_is_there(client: httpx.AsyncClient) -> None:
    await client.put("/images/logo", content=LOGO)

    await client.put("/images/logo", content=b"<svg/>")

    assert decoded((await client.get("/images/logo")).content).tobytes() == a_logo().tobytes()


async def test_there_is_no_third_kind_of_image(client: httpx.AsyncClient) -> None:
    answer = await client.put("/images/banner", content=LOGO)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "path.kind")


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (("platform",), {"GET": 200, "PUT": 403, "DELETE": 403}),
        (("support",), {"GET": 403, "PUT": 403, "DELETE": 403}),
        (("administrator",), {"GET": 403, "PUT": 403, "DELETE": 403}),  # of another establishment
    ],
)
async def test_who_may_read_and_change_images(
    client: httpx.AsyncClient, header_of: HeaderOf, roles: tuple[str, ...], expected: dict[str, int]
) -> None:
    await client.put("/images/logo", content=LOGO)
    headers = header_of(*roles, uai="0752387M")

    for method, status in expected.items():
        answer = await client.request(
            method, "/images/logo", content=LOGO if method == "PUT" else None, headers=headers
        )
        assert answer.status_code == status


class StoreThatGoesAway:
    """The real objects, behind a line that is cut for some operations."""

    def __init__(self, service: Service, *broken: str) -> None:
        self._objects = service.objects
        self.broken = set(broken)

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        if "put" in self.broken or ("put thumbnail" in self.broken and "/thumbnail/" in key):
            raise StoreUnavailableError("cut")
        await self._objects.put(key, data, content_type=content_type)

    async def get(self, key: str) -> bytes:
        return await self._objects.get(key)

    async def remove_many(self, keys: list[str]) -> None:
        if "remove" in self.broken:
            raise StoreUnavailableError("cut")
        await self._objects.remove_many(keys)


@pytest.mark.parametrize("stored_before", [False, True])
async def test_of_two_uploads_that_commit_at_once_one_stays_and_the_other_leaves_nothing(
    client: httpx.AsyncClient,
    service: Service,
    bucket: ObjectStore,
    config: Config,
    school: str,
    stored_before: bool,
) -> None:
    if stored_before:
        await client.put("/images/logo", content=encoded(a_logo(colour="red"), "PNG"))
    both_put = asyncio.Barrier(2)

    class Meeting(StoreThatGoesAway):
        async def put(self, key: str, data: bytes, *, content_type: str) -> None:
            await super().put(key, data, content_type=content_type)
            if "/thumbnail/" in key:
                await both_put.wait()

    uploads = (
        storing.store_image(
            school, ImageKind.LOGO, data, by="admin-1", decoder=service.decoder, images=service.images,
            objects=Meeting(service), clock=service.clock,  # type: ignore[arg-type]
        )
        for data in (LOGO, OTHER_LOGO)
    )  # fmt: skip
    await asyncio.gather(*uploads)

    assert (await client.get("/images/logo")).status_code == 200
    assert len(await keys_in(bucket)) == 2
    assert removals_noted(config) == 0


async def test_an_upload_that_fails_halfway_is_swept_once_it_can_no_longer_commit(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore, config: Config, school: str
) -> None:
    clock = SettableClock(SystemClock().now())
    with pytest.raises(StoreUnavailableError):
        await storing.store_image(
            school, ImageKind.LOGO, LOGO, by="admin-1", decoder=service.decoder, images=service.images,
            objects=StoreThatGoesAway(service, "put thumbnail"), clock=clock,  # type: ignore[arg-type]
        )  # fmt: skip
    assert (await client.get("/images/logo")).status_code == 404
    assert len(await keys_in(bucket)) == 1

    early = await sweeping.sweep(images=service.images, objects=service.objects, clock=clock)
    clock.advance(LONGEST_UPLOAD + timedelta(seconds=1))
    late = await sweeping.sweep(images=service.images, objects=service.objects, clock=clock)

    assert (early, late) == (0, 2)
    assert await keys_in(bucket) == []
    assert removals_noted(config) == 0


async def test_an_upload_that_the_sweep_took_for_dead_changes_nothing(
    client: httpx.AsyncClient, service: Service, school: str
) -> None:
    clock = SettableClock(SystemClock().now())

    class SweptMeanwhile(StoreThatGoesAway):
        async def put(self, key: str, data: bytes, *, content_type: str) -> None:
            await super().put(key, data, content_type=content_type)
            clock.advance(LONGEST_UPLOAD)
            await sweeping.sweep(images=service.images, objects=service.objects, clock=clock)

    await client.put("/images/logo", content=LOGO)
    with pytest.raises(UploadTooSlowError):
        await storing.store_image(
            school, ImageKind.LOGO, OTHER_LOGO, by="admin-1", decoder=service.decoder, images=service.images,
            objects=SweptMeanwhile(service), clock=clock,  # type: ignore[arg-type]
        )  # fmt: skip

    assert decoded((await client.get("/images/logo")).content).tobytes() == a_logo().tobytes()


async def test_a_deletion_stands_when_the_store_is_away_and_the_sweep_finishes_it(
    client: httpx.AsyncClient, service: Service, bucket: ObjectStore, school: str
) -> None:
    await client.put("/images/logo", content=LOGO)

    await storing.delete_image(
        school, ImageKind.LOGO, images=service.images, clock=service.clock,
        objects=StoreThatGoesAway(service, "remove"),  # type: ignore[arg-type]
    )  # fmt: skip

    assert (await client.get("/images/logo")).status_code == 404
    assert len(await keys_in(bucket)) == 2
    assert await sweeping.sweep(images=service.images, objects=service.objects, clock=service.clock) == 2
    assert await keys_in(bucket) == []
