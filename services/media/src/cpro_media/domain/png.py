"""The structure of a PNG (W3C Portable Network Graphics, third edition)."""

import struct
import zlib
from collections.abc import Iterator

from cpro_media.domain.images import Refusal, RefusedImageError
from cpro_media.domain.structure import Format, Structure, few, must_be_sound, must_end, unpack

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ONCE = {b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"IEND"}
_ESSENTIAL = _ONCE | {b"IDAT"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_SRGB = b"\x01\x0d\x00\x01"
"""Primaries of BT.709, transfer of sRGB, not as luma and chroma, full range."""
_PALETTE_COLOUR = 3
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""In a pixel, by colour type."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: the first column and row of each pass, and the steps across and down."""
_INFLATED_BYTES = 1 << 18
_BYTES_A_PIXEL = 4
"""In the decoder's picture, whatever the depth of the file."""


def walk(data: bytes) -> Structure:
    """The structure of what starts with the signature.

    Raises:
        RefusedImageError: it is no sound, still PNG in colours that can be kept.
    """
    seen: set[bytes] = set()
    essence, rows = [SIGNATURE], []
    end = len(SIGNATURE)
    for name, start, end in few(_chunks(data)):
        must_be_sound(bool(seen) or name == b"IHDR")
        _must_be_kept_rightly(name, data[start + 8 : end - 4])
        if name not in _ESSENTIAL:
            must_be_sound(not _is_critical(name))
            continue
        must_be_sound(name not in seen or name not in _ONCE)
        must_be_sound(zlib.crc32(memoryview(data)[start + 4 : end - 4]) == unpack(">I", data, end - 4)[0])
        seen.add(name)
        if name == b"IDAT":
            rows.append(data[start + 8 : end - 4])
        elif name != b"IEND":
            essence.append(data[start:end])
    must_end(data, end)
    width, height, depth, colour = unpack(">IIBB", data, len(SIGNATURE) + 8)
    must_be_sound(b"IDAT" in seen and colour in _SAMPLES and (b"PLTE" in seen or colour != _PALETTE_COLOUR))
    essence += [_chunk(b"IDAT", b"".join(rows)), _chunk(b"IEND", b"")]
    return Structure(
        Format.PNG, width, height, b"".join(essence), width * height * _BYTES_A_PIXEL, sixteen_bits=depth == 16
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk, up to the last."""
    end, name = len(SIGNATURE), b""
    while name != b"IEND":
        start = end
        length, name = unpack(">I4s", data, start)
        end = start + 12 + length  # length, name and checksum are four bytes each
        must_be_sound(end <= len(data) and name.isalpha())
        yield name, start, end


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _must_be_kept_rightly(name: bytes, body: bytes) -> None:
    if name in _ANIMATION:
        raise RefusedImageError(Refusal.ANIMATED)
    if name == b"cICP" and body != _SRGB:
        raise RefusedImageError(Refusal.VARIANT_NOT_ACCEPTED)
    if name == b"IHDR":
        must_be_sound(len(body) == 13 and body[10:12] == b"\0\0" and body[12] <= 1)
    if name == b"PLTE":
        must_be_sound(len(body) % 3 == 0 and 0 < len(body) <= 3 * 256)


def _is_critical(name: bytes) -> bool:
    return name[:1].isupper()


def must_be_whole(structure: Structure) -> None:
    """Refuse a picture whose rows end before it does: the decoder would take what is missing for black.

    Called within the limits: it inflates the rows, a piece at a time, and stops where they are enough.
    """
    data = structure.essence
    depth, colour, interlaced = unpack(">BB2xB", data, len(SIGNATURE) + 16)
    missing = _bytes_of_rows(structure.width, structure.height, depth * _SAMPLES[colour], bool(interlaced))
    inflating = zlib.decompressobj()
    packed = next(data[start + 8 : end - 4] for name, start, end in _chunks(data) if name == b"IDAT")
    try:
        while packed and missing > 0:
            missing -= len(inflating.decompress(packed, _INFLATED_BYTES))
            packed = inflating.unconsumed_tail
    except zlib.error:
        raise RefusedImageError(Refusal.DAMAGED) from None
    must_be_sound(missing <= 0)


def _bytes_of_rows(width: int, height: int, bits: int, interlaced: bool) -> int:
    total = 0
    for left, top, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))  # each row starts with its filter
    return total
