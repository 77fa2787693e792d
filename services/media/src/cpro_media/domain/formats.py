"""What a file is, decided from its bytes: never from its name or from what the sender says.

The whole structure is walked, so that a file which is a picture and something else besides (a polyglot: bytes after
the picture's end) is found before anything decodes it. Sources: PNG (W3C), JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

import re
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from cpro_media.domain.images import Refusal, RefusedImageError


class Format(StrEnum):
    """The accepted formats, by the name that the decoder gives them."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"


_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_WEBP_ANIMATION_FLAG = 0x02
# In the coded data of a JPEG, FF is followed by 00 or by a restart marker; anything else is the next segment.
_JPEG_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_SOS, _EOI = 0xDA, 0xD9


def examine(data: bytes) -> Format:
    """The format of a file that is one still picture from the first byte to the last.

    Raises:
        RefusedImageError: it is empty, of another type, animated, broken off, or goes on after the picture's end.
    """
    if not data:
        raise RefusedImageError(Refusal.EMPTY)
    if data.startswith(_PNG_SIGNATURE):
        _examine_png(data)
        return Format.PNG
    if data.startswith(_JPEG_SIGNATURE):
        _examine_jpeg(data)
        return Format.JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _examine_webp(data)
        return Format.WEBP
    raise RefusedImageError(Refusal.TYPE_NOT_ACCEPTED)


def _examine_png(data: bytes) -> None:
    end = len(_PNG_SIGNATURE)
    while True:
        length, name = _unpack(">I4s", data, end)
        end += 12 + length  # length, name and checksum are four bytes each
        if name == b"acTL":
            raise RefusedImageError(Refusal.ANIMATED)
        if name == b"IEND":
            break
    _must_end(data, end)


def _examine_jpeg(data: bytes) -> None:
    end = 2
    while True:
        marker = _JPEG_NEXT_MARKER.match(data, end)
        if marker is None:
            raise RefusedImageError(Refusal.DAMAGED)
        end, code = marker.end(), marker[1][0]
        if code == _EOI:
            break
        (length,) = _unpack(">H", data, end)
        end += length
        if code == _SOS:
            following = _JPEG_NEXT_MARKER.search(data, end)
            if following is None:
                raise RefusedImageError(Refusal.DAMAGED)
            end = following.start()
    _must_end(data, end)


def _examine_webp(data: bytes) -> None:
    (size,) = _unpack("<I", data, 4)
    for name, start in _webp_chunks(data, size + 8):
        animated = name in {b"ANIM", b"ANMF"} or (name == b"VP8X" and data[start] & _WEBP_ANIMATION_FLAG)
        if animated:
            raise RefusedImageError(Refusal.ANIMATED)
    _must_end(data, size + 8 + size % 2)


def _webp_chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int]]:
    position = 12
    while position < end:
        name, length = _unpack("<4sI", data, position)
        if length == 0 and name == b"VP8X":
            raise RefusedImageError(Refusal.DAMAGED)
        yield name, position + 8
        position += 8 + length + length % 2


def _unpack(form: str, data: bytes, offset: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(form, data, offset)
    except struct.error:
        raise RefusedImageError(Refusal.DAMAGED) from None


def _must_end(data: bytes, end: int) -> None:
    if end > len(data):
        raise RefusedImageError(Refusal.DAMAGED)
    if data[end:].strip(b"\x00"):  # some cameras fill up to a whole sector
        raise RefusedImageError(Refusal.TRAILING_DATA)
