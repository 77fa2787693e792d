"""How a stored picture is read: parts of it, only when new, only its head (RFC 9110)."""

from datetime import timedelta
from email import message_from_bytes
from email.message import Message
from email.utils import format_datetime

import httpx
import pytest

from cpro_media.bootstrap import Service
from cpro_platform.clock import SettableClock, SystemClock
from cpro_test_support.depth import in_part
from cpro_test_support.hostile_pictures import HOSTILE_NAMES
from cpro_test_support.pictures import a_logo, encoded

LOGO, OTHER_LOGO = encoded(a_logo(), "PNG"), encoded(a_logo(colour="green"), "PNG")
PATHS = ["/images/logo", "/images/logo/thumbnail"]


@pytest.fixture
def clock(service: Service) -> SettableClock:
    """The service's clock, an exact number of seconds."""
    clock = SettableClock(SystemClock().now().replace(microsecond=0))
    service.clock = clock
    return clock


@pytest.fixture
async def whole(clock: SettableClock, client: httpx.AsyncClient) -> httpx.Response:
    """The logo, stored ten seconds ago, as a plain read answers it."""
    await client.put("/images/logo", content=LOGO)
    clock.advance(timedelta(seconds=10))
    return await client.get("/images/logo")


@pytest.mark.parametrize(
    ("asked", "first", "last"), [("bytes=0-9", 0, 10), ("bytes=5-", 5, None), ("bytes=-7", -7, None)]
)
async def test_a_part_is_sent_as_such(
    client: httpx.AsyncClient, whole: httpx.Response, asked: str, first: int, last: int | None
) -> None:
    answer = await client.get("/images/logo", headers={"Range": asked})

    part, size = whole.content[first:last], len(whole.content)
    start = first % size
    assert (answer.status_code, answer.content) == (206, part)
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/{size}"
    assert answer.headers["content-length"] == str(len(part))
    for name in ("etag", "last-modified", "content-type", "cache-control", "content-disposition", "accept-ranges"):
        assert answer.headers[name] == whole.headers[name]


async def test_several_parts_are_sent_in_one_body(client: httpx.AsyncClient, whole: httpx.Response) -> None:
    answer = await client.get("/images/logo", headers={"Range": "bytes=20-29,0-4,-3"})

    assert answer.status_code == 206
    kind = answer.headers["content-type"]
    assert kind.startswith("multipart/byteranges")
    parsed = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + answer.content)
    parts = [part for part in parsed.walk() if isinstance(part, Message) and not part.is_multipart()]
    size = len(whole.content)
    assert [part["Content-Range"] for part in parts] == [
        f"bytes 20-29/{size}", f"bytes 0-4/{size}", f"bytes {size - 3}-{size - 1}/{size}",
    ]  # fmt: skip
    boundary = kind.split("boundary=")[1].encode()
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in answer.content.split(b"\r\n--" + boundary)[1:-1]]
    assert bodies == [whole.content[20:30], whole.content[:5], whole.content[-3:]]
    assert {part.get_content_type() for part in parts} == {"image/png"}


async def test_a_part_that_does_not_exist_is_refused_with_the_size(
    client: httpx.AsyncClient, whole: httpx.Response
) -> None:
    size = len(whole.content)

    answer = await client.get("/images/logo", headers={"Range": f"bytes={size}-"})

    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize("asked", ["bytes=9-1", "pixels=0-1", "bytes=0-,0-,0-", "bytes=" + "0-1," * 500])
async def test_a_range_that_makes_no_sense_gets_the_whole(
    client: httpx.AsyncClient, whole: httpx.Response, asked: str
) -> None:
    answer = await client.get("/images/logo", headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, whole.content)


async def test_a_part_is_only_sent_of_the_version_that_was_begun(
    client: httpx.AsyncClient, whole: httpx.Response
) -> None:
    asked = {"Range": "bytes=10-", "If-Range": whole.headers["etag"]}
    same = await client.get("/images/logo", headers=asked)
    by_date = await client.get("/images/logo", headers={**asked, "If-Range": whole.headers["last-modified"]})
    weakly = await client.get("/images/logo", headers={**asked, "If-Range": f"W/{whole.headers['etag']}"})
    await client.put("/images/logo", content=OTHER_LOGO)

    other = await client.get("/images/logo", headers=asked)

    assert (same.status_code, same.content) == (206, whole.content[10:])
    assert [by_date.status_code, weakly.status_code, other.status_code] == [200, 200, 200]
    assert other.content == (await client.get("/images/logo")).content


@pytest.mark.parametrize("path", PATHS)
async def test_a_head_says_what_a_read_would_say_and_sends_nothing(
    client: httpx.AsyncClient, whole: httpx.Response, path: str
) -> None:
    read, head = await client.get(path), await client.head(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(read.content))
    for name in ("etag", "last-modified", "content-type", "cache-control", "content-disposition", "accept-ranges"):
        assert head.headers[name] == read.headers[name]


async def test_a_head_of_no_image_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.head("/images/logo")).status_code == 404


async def test_what_did_not_change_since_is_not_sent_again(client: httpx.AsyncClient, whole: httpx.Response) -> None:
    since = {"If-Modified-Since": whole.headers["last-modified"]}

    same = await client.get("/images/logo", headers=since)
    await client.put("/images/logo", content=OTHER_LOGO)
    changed = await client.get("/images/logo", headers=since)

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", whole.headers["etag"])
    assert changed.status_code == 200


async def test_an_etag_counts_for_more_than_a_date(client: httpx.AsyncClient, whole: httpx.Response) -> None:
    date = {"If-Modified-Since": whole.headers["last-modified"]}

    other = await client.get("/images/logo", headers={**date, "If-None-Match": '"another"'})
    head = await client.head("/images/logo", headers={"If-None-Match": f'"a", W/{whole.headers["etag"]}'})

    assert (other.status_code, head.status_code) == (200, 304)


async def test_a_date_that_is_none_is_ignored(client: httpx.AsyncClient, whole: httpx.Response) -> None:
    for date in ("yesterday", "Mon, 99 Foo 2026 99:99:99 GMT", "0", "\x00"[:0], "9" * 400):
        assert (await client.get("/images/logo", headers={"If-Modified-Since": date})).status_code == 200


async def test_two_images_within_a_second_are_never_taken_for_one_by_their_date(
    client: httpx.AsyncClient, clock: SettableClock
) -> None:
    await client.put("/images/logo", content=LOGO)
    clock.advance(timedelta(milliseconds=300))
    first = await client.get("/images/logo")
    await client.put("/images/logo", content=OTHER_LOGO)
    clock.advance(timedelta(seconds=1))

    second = await client.get("/images/logo")

    assert "last-modified" not in first.headers
    assert "last-modified" in second.headers


async def test_a_date_in_the_future_of_another_zone_is_read(client: httpx.AsyncClient, whole: httpx.Response) -> None:
    later = format_datetime(SystemClock().now() + timedelta(days=1))

    assert (await client.get("/images/logo", headers={"If-Modified-Since": later})).status_code == 304


@pytest.mark.parametrize("name", in_part(list(HOSTILE_NAMES)))
async def test_no_name_that_a_sender_gives_comes_back(client: httpx.AsyncClient, school: str, name: str) -> None:
    raw = HOSTILE_NAMES[name].encode()
    sent = raw.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")  # no client can send these
    headers = [
        (b"content-disposition", b'attachment; filename="' + sent + b"\"; filename*=UTF-8''" + sent),
        (b"content-type", b'image/png; name="' + sent + b'"'),
        (b"x-file-name", sent),
    ]

    stored = await client.put("/images/logo", content=LOGO, headers=httpx.Headers(headers))

    read = await client.get("/images/logo")
    assert (stored.status_code, read.status_code) == (200, 200)
    assert read.headers["content-disposition"] == f'inline; filename="logo-{school}.png"'
    assert read.headers["content-type"] == "image/png"
    assert not {"set-cookie", "x-injected"} & set(read.headers)
    assert len(sent) < 3 or sent not in read.content


@pytest.mark.parametrize("name", in_part(list(HOSTILE_NAMES)))
async def test_a_name_in_the_address_reaches_nothing(client: httpx.AsyncClient, name: str) -> None:
    escaped = "".join(f"%{byte:02x}" for byte in HOSTILE_NAMES[name].encode())

    for method in ("GET", "PUT", "DELETE"):
        answer = await client.request(method, f"/images/{escaped}", content=LOGO if method == "PUT" else None)
        assert 400 <= answer.status_code < 500
