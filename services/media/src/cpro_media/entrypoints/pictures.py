"""How a stored picture is answered: conditional requests and parts of it (RFC 9110), and nothing that could run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from http import HTTPStatus

from fastapi import Request, Response

from cpro_media.domain.images import StoredPicture
from cpro_media.domain.ranges import ByteRange, UnsatisfiableRangeError, requested
from cpro_media.errors import RANGE_NOT_SATISFIABLE
from cpro_platform.http import is_not_modified, language_of
from cpro_platform.http.problem_responses import render

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture as the caller sees it: what is known of it, since when it is there, its name without extension."""

    picture: StoredPicture
    changed_at: datetime
    asked_at: datetime
    name: str

    @property
    def etag(self) -> str:
        """The hash of its bytes, quoted: strong."""
        return etag_of(self.picture)

    @property
    def headers(self) -> Mapping[str, str]:
        """What every answer about it says.

        The name is made of a UAI and of our own words, so it needs no quoting: no name of a sender is ever kept.
        """
        changed, asked = self.changed_at.replace(microsecond=0), self.asked_at.replace(microsecond=0)
        # Dates in headers know no fractions of a second. Within that of its storing, another picture could still take
        # its place under the same date: the date is only told when it can no longer mislead.
        dated = {"Last-Modified": format_datetime(changed.astimezone(UTC), usegmt=True)} if changed < asked else {}
        return dated | {
            "ETag": self.etag,
            # Kept, but asked for each time: the address stays the same when the image is replaced.
            "Cache-Control": "private, no-cache",
            "Accept-Ranges": "bytes",
            "Content-Disposition": f'inline; filename="{self.name}.{EXTENSIONS[self.picture.content_type]}"',
            # Should a browser ever be led to take it for a document: nothing in it may run.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }


def etag_of(picture: StoredPicture) -> str:
    """The strong ETag of its bytes."""
    return f'"{picture.sha256}"'


def without_body(request: Request, answered: Answered) -> Response | None:
    """The answer for whoever has the picture already (304), or only asks about it (HEAD); none if it must be sent."""
    if _has_it(request, answered):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=answered.headers)
    if request.method == "HEAD":
        length = {"Content-Length": str(answered.picture.bytes)}
        return Response(media_type=answered.picture.content_type, headers={**answered.headers, **length})
    return None


def with_body(request: Request, answered: Answered, data: bytes) -> Response:
    """The picture, or the parts of it that were asked for; 416 if nothing of them exists."""
    try:
        parts = _parts(request, answered, len(data))
    except UnsatisfiableRangeError:
        return _nothing_of_it(request, len(data))
    media_type, headers = answered.picture.content_type, dict(answered.headers)
    if not parts:
        return Response(data, media_type=media_type, headers=headers)
    if len(parts) == 1:
        headers["Content-Range"] = parts[0].content_range(len(data))
        return Response(parts[0].of(data), HTTPStatus.PARTIAL_CONTENT, headers, media_type)
    # No picture holds its own hash, so the boundary can't occur in the parts.
    boundary = answered.picture.sha256
    body = b"".join(_part(boundary, media_type, part, data) for part in parts) + f"\r\n--{boundary}--\r\n".encode()
    return Response(body, HTTPStatus.PARTIAL_CONTENT, headers, f"multipart/byteranges; boundary={boundary}")


def _part(boundary: str, media_type: str, part: ByteRange, data: bytes) -> bytes:
    head = f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {part.content_range(len(data))}\r\n\r\n"
    return head.encode() + part.of(data)


def _has_it(request: Request, answered: Answered) -> bool:
    tags = request.headers.getlist("If-None-Match")
    if tags:  # then the date does not count
        return is_not_modified(",".join(tags), answered.etag)
    since = _instant(request.headers.get("If-Modified-Since"))
    return since is not None and answered.changed_at.replace(microsecond=0) <= since


def _parts(request: Request, answered: Answered, size: int) -> tuple[ByteRange, ...]:
    header = request.headers.get("Range")
    only_if = request.headers.get("If-Range")
    # A date is no strong validator here: two pictures may be stored within its second. The whole is always right.
    if header is None or (only_if is not None and only_if.strip() != answered.etag):
        return ()
    return requested(header, size)


def _nothing_of_it(request: Request, size: int) -> Response:
    language = language_of(request.headers)
    detail = {"fr": f"L'image compte {size} octets.", "en": f"The image has {size} bytes."}[language]
    return render(request, RANGE_NOT_SATISFIABLE, detail, headers={"Content-Range": f"bytes */{size}"})


def _instant(header: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(header) if header else None
    except ValueError:
        return None  # no date: as if it were not there
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
