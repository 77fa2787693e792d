"""What a hostile picture is, and the parts that most of them are made of."""

import random
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cpro_test_support.pictures import PNG_SIGNATURE, png_chunk

ACCEPTED = "accepted"
EMPTY, TYPE, ANIMATED = "image_empty", "image_type_not_accepted", "image_animated"
PIXELS, DAMAGED, TRAILING = "image_too_many_pixels", "image_damaged", "image_trailing_data"
DEMANDING, VARIANT, BYTES = "image_too_demanding", "image_variant_not_accepted", "payload_too_large"
SECRET = b"SECRET-OF-THE-SENDER"
"""Put wherever a picture can carry something else: it must be nowhere in what is kept."""

Make = Callable[[], bytes]
Row = tuple[str, str, Make]
"""A name, the outcome, and the function that makes the file."""


@dataclass(frozen=True, slots=True)
class HostilePicture:
    """A file, and the one outcome that it must have."""

    name: str
    outcome: str
    make: Make


def pictures(family: str, rows: Iterable[Row]) -> Iterator[HostilePicture]:
    """The pictures of one family."""
    for name, outcome, make in rows:
        yield HostilePicture(f"{family}/{name}", outcome, make)


def header(
    width: int, height: int, *, depth: int = 8, colour: int = 2, interlaced: int = 0, rest: bytes = b""
) -> bytes:
    """The IHDR chunk of a PNG."""
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced) + rest)


def rows_of(width: int, height: int, *, bits: int = 24, value: bytes = b"\x55") -> bytes:
    """The IDAT chunk of a picture of one value, unfiltered."""
    return png_chunk(b"IDAT", zlib.compress((b"\x00" + value * -(-width * bits // 8)) * height, 9))


END = png_chunk(b"IEND", b"")


def a_png(*before_rows: bytes, after_rows: bytes = b"", head: bytes = b"", rows: bytes = b"") -> bytes:
    """A PNG of 16 by 16 with more chunks in it, or with another head or other rows."""
    head, rows = head or header(16, 16), rows or rows_of(16, 16)
    return PNG_SIGNATURE + head + b"".join(before_rows) + rows + after_rows + END


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(jpeg: bytes, *segments: bytes) -> bytes:
    """The JPEG with more segments right behind its start."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def webp_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a WebP, filled up to an even length."""
    return name + struct.pack("<I", len(body)) + body + b"\x00" * (len(body) % 2)


def a_webp(*chunks: bytes) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def swapped(data: bytes, old: bytes, new: bytes) -> bytes:
    """The data with the first `old` replaced, which must be there."""
    assert old in data
    return data.replace(old, new, 1)


def noise(size: int, seed: int) -> bytes:
    """Bytes that nothing can compress or read."""
    return random.Random(seed).randbytes(size)
