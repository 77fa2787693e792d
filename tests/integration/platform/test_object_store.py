import asyncio
import io
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from cpro_platform.config import ObjectStoreSettings
from cpro_platform.object_store import PART_BYTES, ObjectMissingError, ObjectStore, StoreError, StoreUnavailableError
from cpro_test_support.servers import Servers


def settings_of(servers: Servers, bucket: str, **changed: object) -> ObjectStoreSettings:
    endpoints = servers.endpoints
    return ObjectStoreSettings(
        endpoint=endpoints.s3_endpoint,
        access_key=SecretStr(endpoints.s3_access_key),
        secret_key=SecretStr(endpoints.s3_secret_key),
        secure=endpoints.s3_secure,
        bucket=bucket,
    ).model_copy(update=changed)


@pytest.fixture
async def store(servers: Servers) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(settings_of(servers, f"test-{uuid4().hex[:12]}"))
    await store.ensure_bucket()
    yield store
    await store.close()


async def chunks_of(total: int, size: int = 1_000_003) -> AsyncIterator[bytes]:
    for start in range(0, total, size):
        yield bytes([start % 251]) * min(size, total - start)


async def test_what_was_put_is_what_is_got(store: ObjectStore) -> None:
    await store.put("a/é b.png", b"picture", content_type="image/png", metadata={"school": "x"})

    assert await store.get("a/é b.png") == b"picture"
    found = await store.stat("a/é b.png")
    assert (found.size, found.content_type) == (7, "image/png")


async def test_a_file_is_put_and_downloaded(store: ObjectStore) -> None:
    await store.put("file", io.BytesIO(b"0123456789"), length=10)
    destination = io.BytesIO()

    assert await store.download("file", destination) == 10
    assert destination.getvalue() == b"0123456789"


@pytest.mark.parametrize("total", [0, 5, PART_BYTES, 2 * PART_BYTES + 17])
async def test_a_stream_of_any_length_arrives_whole(store: ObjectStore, total: int) -> None:
    await store.put_stream("stream", chunks_of(total))

    expected = b"".join([chunk async for chunk in chunks_of(total)])
    assert await store.get("stream") == expected


async def test_a_stream_that_breaks_off_leaves_no_object_and_its_own_error(store: ObjectStore) -> None:
    class TooMuchError(Exception): ...

    async def breaking() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(2 * PART_BYTES):
            yield chunk
        raise TooMuchError

    with pytest.raises(TooMuchError):
        await store.put_stream("broken", breaking())

    assert await store.list() == []


async def test_a_cancelled_upload_frees_its_thread(store: ObjectStore) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x"
        waiting.set()
        await asyncio.Event().wait()

    uploads = [asyncio.create_task(store.put_stream(f"stalled-{n}", stalled())) for n in range(8)]
    await waiting.wait()
    for upload in uploads:
        upload.cancel()
    await asyncio.gather(*uploads, return_exceptions=True)

    async with asyncio.timeout(10):
        await store.put("next", b"x")  # all eight threads were taken
    assert [entry.key for entry in await store.list()] == ["next"]


async def test_a_missing_object_is_said_to_be_missing(store: ObjectStore) -> None:
    for reading in (store.get("none"), store.stat("none"), store.copy("none", "other")):
        with pytest.raises(ObjectMissingError):
            await reading


async def test_removing_is_safe_to_repeat(store: ObjectStore) -> None:
    await store.put("once", b"x")

    await store.remove("once")
    await store.remove("once")
    await store.remove_many(["once", "never"])

    assert await store.list() == []


async def test_objects_are_copied_listed_and_removed_by_the_hundred(store: ObjectStore) -> None:
    await store.put("source", b"attachment", content_type="application/pdf")
    await asyncio.gather(*(store.copy("source", f"copies/{number:03}") for number in range(120)))

    copies = await store.list("copies/")
    assert [entry.key for entry in copies] == [f"copies/{number:03}" for number in range(120)]
    assert (await store.stat("copies/007")).content_type == "application/pdf"

    await store.remove_many(entry.key for entry in copies)
    assert [entry.key for entry in await store.list()] == ["source"]


async def test_a_reader_in_a_thread_reads_in_pieces(store: ObjectStore) -> None:
    await store.put("long", b"x" * 700_000)

    def count_pieces() -> list[int]:
        sizes = []
        with store.open_stream("long") as reader:
            while piece := reader.read(300_000):
                sizes.append(len(piece))
        return sizes

    assert await asyncio.to_thread(count_pieces) == [300_000, 300_000, 100_000]


async def test_making_the_bucket_again_changes_nothing(store: ObjectStore) -> None:
    await store.put("kept", b"x")

    await asyncio.gather(store.ensure_bucket(), store.ensure_bucket())

    assert await store.get("kept") == b"x"


async def test_a_store_that_is_away_is_worth_another_try(servers: Servers) -> None:
    store = ObjectStore(settings_of(servers, "away", endpoint="127.0.0.1:9", connect_timeout_seconds=1.0))

    for asking in (store.ping(), store.get("x"), store.put("x", b"x")):
        with pytest.raises(StoreUnavailableError):
            await asking
    await store.close()


async def test_wrong_credentials_and_a_missing_bucket_are_not(servers: Servers) -> None:
    stranger = ObjectStore(settings_of(servers, "some-bucket", secret_key=SecretStr("wrong")))
    lost = ObjectStore(settings_of(servers, "no-such-bucket"))

    with pytest.raises(StoreError):
        await stranger.put("x", b"x")
    with pytest.raises(StoreError):
        await lost.ping()
    await stranger.close()
    await lost.close()
