"""A few bytes that unfold into very much, or that are very much work."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from cpro_test_support.hostile_pictures.hostile_picture import (
    ACCEPTED,
    BYTES,
    DAMAGED,
    DEMANDING,
    PIXELS,
    SECRET,
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
from cpro_test_support.pictures import a_logo, a_png_that_claims, encoded, png_chunk

_MOST_BYTES = 5 * 1024 * 1024


def bombs() -> Iterator[HostilePicture]:
    """Bombs of pixels, of text, of chunks, of passes."""
    yield from pictures("bomb", [*_SIZES, *_PIXELS, *_TEXTS, *_COUNTS, *_PASSES, *_WEIGHTS])


def _claimed_by_jpeg(width: int, height: int, **options: object) -> bytes:
    jpeg = bytearray(encoded(a_logo(32, 32), "JPEG", **options))
    marker = b"\xff\xc2" if options.get("progressive") else b"\xff\xc0"
    struct.pack_into(">HH", jpeg, jpeg.index(marker) + 5, height, width)
    return bytes(jpeg)


def _claimed_by_webp(width: int, height: int) -> bytes:
    return a_webp(webp_chunk(b"VP8L", struct.pack("<BI", 0x2F, (width - 1) | (height - 1) << 14) + b"\x00" * 40))


def _claimed_by_canvas(width: int, height: int) -> bytes:
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return a_webp(webp_chunk(b"VP8X", canvas), encoded(a_logo(32, 32), "WEBP", lossless=True)[12:])


_SIZES: list[Row] = [
    ("png of 2^31 by 2^31", PIXELS, lambda: a_png_that_claims(2**31 - 1, 2**31 - 1)),
    ("png past 2^31", PIXELS, lambda: a_png_that_claims(2**32 - 1, 2**32 - 1)),
    ("png of 60,000 by 60,000", PIXELS, lambda: a_png_that_claims(60_000, 60_000)),
    ("png of one line of 2^31", PIXELS, lambda: a_png_that_claims(2**31 - 1, 1)),
    ("png of one column of 2^31", PIXELS, lambda: a_png_that_claims(1, 2**31 - 1)),
    ("png one pixel past the limit", PIXELS, lambda: a_png_that_claims(40_000_001, 1)),
    ("png at the limit without rows", DAMAGED, lambda: a_png_that_claims(8_000, 5_000)),
    ("jpeg of 65,535 by 65,535", PIXELS, lambda: _claimed_by_jpeg(65_535, 65_535)),
    ("progressive jpeg of 65,535 by 65,535", PIXELS, lambda: _claimed_by_jpeg(65_535, 65_535, progressive=True)),
    (
        "progressive jpeg at the limit",
        DEMANDING,
        lambda: _claimed_by_jpeg(8_000, 5_000, progressive=True, subsampling=0),
    ),
    ("webp of 16,384 by 16,384", PIXELS, lambda: _claimed_by_webp(16_384, 16_384)),
    ("webp at the limit", DEMANDING, lambda: _claimed_by_webp(8_000, 5_000)),
    ("webp of 3,000 by 3,000 without content", DAMAGED, lambda: _claimed_by_webp(3_000, 3_000)),
    ("webp canvas of 2^24 by 2^24", DAMAGED, lambda: _claimed_by_canvas(2**24, 2**24)),
    ("webp canvas larger than its picture", DAMAGED, lambda: _claimed_by_canvas(64, 64)),
]

_PIXELS: list[Row] = [
    ("png of 40 million pixels of one colour", ACCEPTED, lambda: encoded(Image.new("RGBA", (8_000, 5_000)), "PNG")),
    ("png of 41 million bits", PIXELS, lambda: encoded(Image.new("1", (8_200, 5_000)), "PNG")),
    ("interlaced png of 39 million pixels", DAMAGED, lambda: _interlaced(7_800, 5_000)),
    ("interlaced png past the limit", PIXELS, lambda: _interlaced(30_000, 30_000)),
    ("png strip of a million by 39", ACCEPTED, lambda: _strip(1_000_000, 39)),
    ("png strip of 39 by a million", ACCEPTED, lambda: _strip(39, 1_000_000)),
    ("rows of a gigabyte in a png of 16 by 16", ACCEPTED, lambda: a_png(rows=_gigabyte())),
    ("jpeg of 39 million pixels", ACCEPTED, lambda: encoded(Image.new("L", (7_800, 5_000), 90), "JPEG", quality=20)),
    ("webp of 9 million pixels", ACCEPTED, lambda: encoded(Image.new("RGB", (3_000, 3_000)), "WEBP", method=0)),
]


def _interlaced(width: int, height: int) -> bytes:
    """Adam7 with nothing but the first pass."""
    return a_png(head=header(width, height, interlaced=1), rows=rows_of(width // 8, min(height // 8, 1_000)))


def _strip(width: int, height: int) -> bytes:
    return a_png(head=header(width, height, depth=8, colour=0), rows=rows_of(width, height, bits=8))


def _gigabyte() -> bytes:
    packer = zlib.compressobj(9)
    packed = [packer.compress(b"\x00" * 2**24) for _ in range(64)]
    return png_chunk(b"IDAT", b"".join(packed) + packer.flush())


def _text(keyword: bytes = b"Comment", size: int = 2**24) -> bytes:
    return keyword + b"\0\0" + zlib.compress(b"\x00" * size + SECRET, 9)


_TEXTS: list[Row] = [
    ("zTXt of 256 megabytes", ACCEPTED, lambda: a_png(png_chunk(b"zTXt", _text(size=2**28)))),
    ("twenty zTXt of 16 megabytes", ACCEPTED, lambda: a_png(*[png_chunk(b"zTXt", _text())] * 20)),
    ("zTXt after the rows", ACCEPTED, lambda: a_png(after_rows=png_chunk(b"zTXt", _text()))),
    ("iTXt of 16 megabytes", ACCEPTED, lambda: a_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + _text()[9:]))),
    ("iCCP of 16 megabytes", DAMAGED, lambda: a_png(png_chunk(b"iCCP", _text(b"p")))),
    ("tEXt of 4 megabytes", ACCEPTED, lambda: a_png(png_chunk(b"tEXt", b"Comment\0" + SECRET * 200_000))),
]

_COUNTS: list[Row] = [
    ("360,000 empty text chunks", DEMANDING, lambda: a_png(png_chunk(b"tEXt", b"a\0") * 360_000)),
    ("400,000 unknown chunks", DEMANDING, lambda: a_png(png_chunk(b"quTe", b"") * 400_000)),
    ("400,000 empty rows before the rows", DEMANDING, lambda: a_png(png_chunk(b"IDAT", b"") * 400_000)),
    ("400,000 empty rows after the rows", DEMANDING, lambda: a_png(after_rows=png_chunk(b"IDAT", b"") * 400_000)),
    ("2,000 suggested palettes", ACCEPTED, lambda: a_png(png_chunk(b"sPLT", b"p\0\x08" + b"\0" * 600) * 2_000)),
    ("70 comments of 64 kilobytes", ACCEPTED, lambda: with_segment(_jpeg(), *[segment(0xFE, SECRET * 3_270)] * 70)),
    ("a million empty comments", DEMANDING, lambda: with_segment(_jpeg(), segment(0xFE, b"") * 1_000_000)),
    (
        "200,000 Huffman tables",
        DEMANDING,
        lambda: with_segment(_jpeg(), segment(0xC4, b"") * 200_000 + b"\xff\xc4\0\1"),
    ),
    ("4 million fill bytes", ACCEPTED, lambda: _jpeg()[:2] + b"\xff" * 4_000_000 + _jpeg()[2:]),
    ("300,000 unknown webp chunks", DEMANDING, lambda: a_webp(_lossless(), webp_chunk(b"junk", b"") * 300_000)),
    ("250 colour profile parts", ACCEPTED, lambda: with_segment(_jpeg(), *_profile_parts())),
]


def _jpeg() -> bytes:
    return encoded(a_logo(32, 32), "JPEG")


def _lossless() -> bytes:
    return encoded(a_logo(32, 32), "WEBP", lossless=True)[12:]


def _profile_parts() -> list[bytes]:
    return [segment(0xE2, b"ICC_PROFILE\0" + bytes((number, 255)) + b"\0" * 15_000) for number in range(1, 251)]


def _with_passes(size: int, passes: int) -> bytes:
    """A progressive JPEG whose last pass is repeated."""
    jpeg = encoded(Image.new("L", (size, size), 90), "JPEG", progressive=True, quality=10)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * passes + jpeg[-2:]


_PASSES: list[Row] = [
    ("progressive jpeg of a thousand passes", DEMANDING, lambda: _with_passes(4_000, 1_000)),
    ("progressive jpeg of 100,000 passes", DEMANDING, lambda: _with_passes(200, 100_000)),
    ("small progressive jpeg of a hundred passes", ACCEPTED, lambda: _with_passes(64, 100)),
    (
        "progressive cmyk of 25 million pixels",
        DEMANDING,
        lambda: encoded(Image.new("CMYK", (5_000, 5_200)), "JPEG", progressive=True, quality=10),
    ),
    ("jpeg of many passes that claims more", DEMANDING, lambda: swapped(*_passes_that_claim_more())),
]


def _passes_that_claim_more() -> tuple[bytes, bytes, bytes]:
    jpeg = _with_passes(64, 200)
    start = jpeg.index(b"\xff\xc2") + 5
    return jpeg, jpeg[start : start + 4], struct.pack(">HH", 6_000, 6_000)


_WEIGHTS: list[Row] = [
    ("noise in png", ACCEPTED, lambda: encoded(Image.frombytes("RGB", (1_280, 1_290), noise(4_953_600, 1)), "PNG")),
    ("noise in jpeg", ACCEPTED, lambda: encoded(Image.frombytes("RGB", (1_500, 1_500), noise(6_750_000, 2)), "JPEG")),
    (
        "noise in webp",
        ACCEPTED,
        lambda: encoded(Image.frombytes("RGBA", (900, 900), noise(3_240_000, 3)), "WEBP", lossless=True, method=0),
    ),
    ("one byte more than 5 MB", BYTES, lambda: a_png(png_chunk(b"tEXt", b"a\0" + b"x" * _MOST_BYTES))),
    ("6 MB of nothing", BYTES, lambda: b"\x00" * 6_000_000),
]
