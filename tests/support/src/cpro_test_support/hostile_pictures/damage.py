"""Pictures that are wrong in themselves: checksums, sizes, order, coded data."""

import struct
import zlib
from collections.abc import Iterator

from cpro_test_support.hostile_pictures.hostile_picture import (
    ACCEPTED,
    DAMAGED,
    END,
    SECRET,
    TRAILING,
    HostilePicture,
    Row,
    a_png,
    a_webp,
    header,
    noise,
    pictures,
    rows_of,
    segment,
    swapped,
    webp_chunk,
    with_segment,
)
from cpro_test_support.pictures import PNG_SIGNATURE, a_logo, a_stamp, encoded, png_chunk


def damage() -> Iterator[HostilePicture]:
    """In each format."""
    yield from pictures("damage", [*_PNG, *_JPEG, *_WEBP])


def _wrong_sum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


def _claiming(chunk: bytes, length: int) -> bytes:
    return struct.pack(">I", length) + chunk[4:]


_PACKED = zlib.compress((b"\0" + b"\x55" * 48) * 16)
_PNG: list[Row] = [
    ("png whose head has a wrong checksum", DAMAGED, lambda: a_png(head=_wrong_sum(header(16, 16)))),
    ("png whose rows have a wrong checksum", DAMAGED, lambda: a_png(rows=_wrong_sum(rows_of(16, 16)))),
    ("png whose end has a wrong checksum", DAMAGED, lambda: a_png()[:-1] + b"!"),
    ("png whose text has a wrong checksum", ACCEPTED, lambda: a_png(_wrong_sum(png_chunk(b"tEXt", b"a\0" + SECRET)))),
    ("png with a wrong sum of its rows", DAMAGED, lambda: a_png(rows=png_chunk(b"IDAT", _PACKED[:-4] + b"\0\0\0\0"))),
    ("png of width zero", DAMAGED, lambda: a_png(head=header(0, 16))),
    ("png of height zero", DAMAGED, lambda: a_png(head=header(16, 0))),
    ("png of nothing", DAMAGED, lambda: a_png(head=header(0, 0))),
    ("png with a long head", DAMAGED, lambda: a_png(head=header(16, 16, rest=SECRET))),
    ("png with a short head", DAMAGED, lambda: a_png(head=png_chunk(b"IHDR", b"\0\0\0\x10"))),
    ("png with two heads", DAMAGED, lambda: a_png(header(4_000, 4_000))),
    ("png with a head after its rows", DAMAGED, lambda: a_png(after_rows=header(4_000, 4_000))),
    ("png that starts with rows", DAMAGED, lambda: PNG_SIGNATURE + rows_of(16, 16) + header(16, 16) + END),
    ("png with two ends", TRAILING, lambda: a_png() + END),
    ("png chunk of four gigabytes", DAMAGED, lambda: a_png(_claiming(png_chunk(b"tEXt", b"a\0"), 2**32 - 1))),
    ("png chunk that swallows the rows", DAMAGED, lambda: a_png(_claiming(png_chunk(b"tEXt", b"a\0"), 60))),
    ("png chunk without a name", DAMAGED, lambda: a_png(png_chunk(b"\0\0\0\0", b""))),
    ("png rows that are not compressed", DAMAGED, lambda: a_png(rows=png_chunk(b"IDAT", b"\x55" * 400))),
    ("png rows of noise", DAMAGED, lambda: a_png(rows=png_chunk(b"IDAT", noise(400, 10)))),
    ("png rows with an unknown filter", DAMAGED, lambda: _with_filter(9)),
    ("png rows that ask for a dictionary", DAMAGED, lambda: a_png(rows=png_chunk(b"IDAT", b"\x78\xbb" + b"\0" * 20))),
    ("png with a secret behind its rows' end", ACCEPTED, lambda: a_png(rows=png_chunk(b"IDAT", _PACKED + SECRET))),
    ("png compressed in another way", DAMAGED, lambda: _with_head_byte(10)),
    ("png filtered in another way", DAMAGED, lambda: _with_head_byte(11)),
    ("png interlaced in another way", DAMAGED, lambda: _with_head_byte(12)),
]


def _with_filter(number: int) -> bytes:
    return a_png(rows=png_chunk(b"IDAT", zlib.compress((bytes((number,)) + b"\x55" * 48) * 16)))


def _with_head_byte(at: int) -> bytes:
    body = bytearray(struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    body[at] = 9
    return a_png(head=png_chunk(b"IHDR", bytes(body)))


def _jpeg(**options: object) -> bytes:
    return encoded(a_logo(48, 32), "JPEG", **options)


def _without(marker: int) -> bytes:
    """The JPEG without its first segment of this kind."""
    jpeg = _jpeg()
    start = jpeg.index(bytes((0xFF, marker)))
    (length,) = struct.unpack_from(">H", jpeg, start + 2)
    return jpeg[:start] + jpeg[start + 2 + length :]


def _sized(width: int, height: int) -> bytes:
    jpeg = bytearray(_jpeg())
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, height, width)
    return bytes(jpeg)


def _frame() -> bytes:
    jpeg = _jpeg()
    start = jpeg.index(b"\xff\xc0")
    return jpeg[start : start + 19]


def _in_coded_data(put: bytes) -> bytes:
    jpeg = _jpeg()
    at = jpeg.index(b"\xff\xda") + 60
    return jpeg[:at] + put + jpeg[at:]


_JPEG: list[Row] = [
    ("jpeg with 4 million FF in its coded data", ACCEPTED, lambda: _in_coded_data(b"\xff" * 4_000_000 + b"\0")),
    ("jpeg with 2 million escaped FF in its coded data", ACCEPTED, lambda: _in_coded_data(b"\xff\0" * 2_000_000)),
    ("jpeg with a million restarts in its coded data", ACCEPTED, lambda: _in_coded_data(b"\xff\xd3" * 1_000_000)),
    ("jpeg of width zero", DAMAGED, lambda: _sized(0, 32)),
    ("jpeg of height zero", DAMAGED, lambda: _sized(48, 0)),
    ("jpeg whose height comes later", DAMAGED, lambda: _jpeg()[:-2] + segment(0xDC, b"\0\x20") + b"\xff\xd9"),
    ("jpeg without a frame", DAMAGED, lambda: _without(0xC0)),
    ("jpeg without quantisation", DAMAGED, lambda: _without(0xDB)),
    ("jpeg with two frames", DAMAGED, lambda: with_segment(_jpeg(), _frame())),
    ("jpeg with a start inside", DAMAGED, lambda: _jpeg()[:2] + b"\xff\xd8" + _jpeg()[2:]),
    ("jpeg with a segment of length zero", DAMAGED, lambda: _jpeg()[:2] + b"\xff\xfe\0\0" + _jpeg()[2:]),
    ("jpeg with a segment of length one", DAMAGED, lambda: _jpeg()[:2] + b"\xff\xfe\0\1" + _jpeg()[2:]),
    ("jpeg with a segment to its end", DAMAGED, lambda: _jpeg()[:2] + b"\xff\xfe\xff\xff" + _jpeg()[2:]),
    ("jpeg with bytes between its segments", DAMAGED, lambda: _jpeg()[:2] + b"\xff\xfe\0\2" + SECRET + _jpeg()[2:]),
    ("jpeg with a Huffman table of noise", DAMAGED, lambda: with_segment(_jpeg(), segment(0xC4, noise(200, 11)))),
    ("jpeg with a quantisation table of noise", DAMAGED, lambda: with_segment(_jpeg(), segment(0xDB, noise(30, 12)))),
    ("jpeg without a scan", DAMAGED, lambda: _jpeg()[: _jpeg().index(b"\xff\xda")] + b"\xff\xd9"),
]


def _webp() -> bytes:
    return encoded(a_logo(32, 32), "WEBP", lossless=True)


def _lossy() -> bytes:
    return encoded(a_logo(32, 32), "WEBP")


def _riff_size(data: bytes, size: int) -> bytes:
    return data[:4] + struct.pack("<I", size) + data[8:]


_WEBP: list[Row] = [
    ("webp that claims four gigabytes", DAMAGED, lambda: _riff_size(_webp(), 2**32 - 1)),
    ("webp that claims nothing", TRAILING, lambda: _riff_size(_webp(), 0)),
    ("webp that claims half", DAMAGED, lambda: _riff_size(_webp(), len(_webp()) // 2)),
    ("webp without a picture", DAMAGED, a_webp),
    ("webp with a canvas only", DAMAGED, lambda: a_webp(webp_chunk(b"VP8X", b"\0" * 10))),
    ("webp with an empty canvas chunk", DAMAGED, lambda: a_webp(webp_chunk(b"VP8X", b""))),
    ("webp whose chunk goes past its end", DAMAGED, lambda: _webp()[:16] + b"\xff\xff\xff\x7f" + _webp()[20:]),
    ("webp of an unknown kind", DAMAGED, lambda: a_webp(webp_chunk(b"VP9 ", noise(100, 13)))),
    ("lossless webp without its signature", DAMAGED, lambda: swapped(_webp(), _webp()[20:21], b"\0")),
    ("lossy webp without its start code", DAMAGED, lambda: swapped(_lossy(), b"\x9d\x01\x2a", b"\0\0\0")),
    ("lossy webp of width zero", DAMAGED, lambda: _lossy()[:26] + b"\0\0" + _lossy()[28:]),
    ("lossless webp of noise", DAMAGED, lambda: _webp()[:25] + noise(len(_webp()) - 25, 14)),
    ("webp whose alpha is noise", DAMAGED, lambda: _with_alpha(noise(60, 15))),
]


def _with_alpha(alpha: bytes) -> bytes:
    stamp = encoded(a_stamp(60), "WEBP")
    start = stamp.index(b"ALPH") + 8
    (length,) = struct.unpack_from("<I", stamp, start - 4)
    put = alpha[:length]
    return stamp[:start] + put + stamp[start + len(put) :]
