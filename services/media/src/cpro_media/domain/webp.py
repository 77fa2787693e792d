"""The structure of a WebP (RFC 9649; the head of its lossy pictures: RFC 6386)."""

from collections.abc import Iterator

from cpro_media.domain.images import Refusal, RefusedImageError
from cpro_media.domain.structure import Format, Structure, few, must_be_sound, must_end, unpack

_ANIMATION_FLAG = 0x02
_PICTURES = {b"VP8 ", b"VP8L"}
_ESSENTIAL = _PICTURES | {b"VP8X", b"ALPH", b"ICCP", b"EXIF"}
_LOSSY_START_CODE = b"\x9d\x01\x2a"
_LOSSLESS_SIGNATURE = 0x2F
_BYTES_A_PIXEL = 20
"""Measured: the decoder holds two canvases, the lossless picture, a copy of it and then the picture itself."""


def walk(data: bytes) -> Structure:
    """The structure of what starts as a WebP does.

    Raises:
        RefusedImageError: it is no sound, still WebP.
    """
    (size,) = unpack("<I", data, 4)
    end = size + 8
    sizes: dict[bytes, tuple[int, int]] = {}
    essence = []
    for name, start, following in few(_chunks(data, end)):
        body = start + 8
        if name in {b"ANIM", b"ANMF"} or (name == b"VP8X" and unpack("<B", data, body)[0] & _ANIMATION_FLAG):
            raise RefusedImageError(Refusal.ANIMATED)
        if name in _ESSENTIAL:
            essence.append(data[start:following])
        if name in _PICTURES | {b"VP8X"}:
            must_be_sound(name not in sizes)
            sizes[name] = _size(name, data, body)
    must_end(data, end)
    must_be_sound(len(_PICTURES & sizes.keys()) == 1 and len(set(sizes.values())) == 1)
    ((width, height),) = set(sizes.values())
    chunks = b"".join(essence)
    whole = b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks
    return Structure(Format.WEBP, width, height, whole, width * height * _BYTES_A_PIXEL)


def _chunks(data: bytes, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk; an odd one is filled up by a byte."""
    start = 12
    while start < end:
        name, length = unpack("<4sI", data, start)
        following = start + 8 + length + length % 2
        must_be_sound(following <= end)
        yield name, start, following
        start = following


def _size(name: bytes, data: bytes, body: int) -> tuple[int, int]:
    if name == b"VP8X":
        low_width, high_width, low_height, high_height = unpack("<4xHBHB", data, body)
        return (low_width | high_width << 16) + 1, (low_height | high_height << 16) + 1
    if name == b"VP8L":
        signature, packed = unpack("<BI", data, body)
        must_be_sound(signature == _LOSSLESS_SIGNATURE)
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    start_code, width, height = unpack("<3x3sHH", data, body)
    must_be_sound(start_code == _LOSSY_START_CODE)
    return width & 0x3FFF, height & 0x3FFF
