"""Colours that a browser would show wrongly or not at all: CMYK, sixteen bits, profiles good and bad, palettes."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image, ImageCms

from cpro_test_support.hostile_pictures.hostile_picture import (
    ACCEPTED,
    DAMAGED,
    SECRET,
    VARIANT,
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
from cpro_test_support.pictures import a_logo, encoded, png_chunk


def colours() -> Iterator[HostilePicture]:
    """Each kind once good, and as many broken ones as there are ways."""
    yield from pictures("colour", [*_INKS, *_DEPTHS, *_PROFILES, *_PALETTES, *_FRAMES])


def a_profile(space: str = "sRGB") -> bytes:
    """A readable profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]


def _png_with(profile: bytes) -> bytes:
    return a_png(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(profile)))


def _jpeg_with(profile: bytes, number: int = 1, of: int = 1) -> bytes:
    return with_segment(_jpeg(), segment(0xE2, b"ICC_PROFILE\0" + bytes((number, of)) + profile))


def _jpeg(mode: str = "RGB", **options: object) -> bytes:
    return encoded(a_logo(32, 32).convert(mode), "JPEG", **options)


def _changed(at: int, put: bytes) -> bytes:
    profile = a_profile()
    return profile[:at] + put + profile[at + len(put) :]


def _ycck() -> bytes:
    """The Adobe segment says that the inks are coded as luma and chroma."""
    return swapped(_jpeg("CMYK"), b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2")


_INKS: list[Row] = [
    ("cmyk jpeg", ACCEPTED, lambda: _jpeg("CMYK")),
    ("progressive cmyk jpeg", ACCEPTED, lambda: _jpeg("CMYK", progressive=True)),
    ("ycck jpeg", ACCEPTED, _ycck),
    ("cmyk jpeg with a screen's profile", ACCEPTED, lambda: _cmyk_with(a_profile())),
    ("cmyk jpeg with a broken profile", ACCEPTED, lambda: _cmyk_with(b"\0" * 200)),
    (
        "jpeg with an unknown Adobe transform",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")),
    ),
    ("grey jpeg", ACCEPTED, lambda: _jpeg("L")),
]


def _cmyk_with(profile: bytes) -> bytes:
    return with_segment(_jpeg("CMYK"), segment(0xE2, b"ICC_PROFILE\0\1\1" + profile))


_DEPTHS: list[Row] = [
    *[
        (f"png of 16 bits, colour type {colour}", ACCEPTED, lambda colour=colour, bits=bits: _sixteen(colour, bits))
        for colour, bits in ((0, 16), (2, 48), (4, 32), (6, 64))
    ],
    ("grey png of 16 bits with a transparent grey", ACCEPTED, lambda: _sixteen(0, 16, png_chunk(b"tRNS", b"\x55\x55"))),
    ("png of 16 bits with a transparent colour", ACCEPTED, lambda: _sixteen(2, 48, png_chunk(b"tRNS", b"\x55" * 6))),
    ("png of 1 bit", ACCEPTED, lambda: a_png(head=header(16, 16, depth=1, colour=0), rows=rows_of(16, 16, bits=1))),
    ("png of 2 bits", ACCEPTED, lambda: a_png(head=header(16, 16, depth=2, colour=0), rows=rows_of(16, 16, bits=2))),
    ("png of 3 bits", DAMAGED, lambda: a_png(head=header(16, 16, depth=3, colour=0))),
    ("png of 32 bits", DAMAGED, lambda: a_png(head=header(16, 16, depth=32))),
    (
        "png palette of 16 bits",
        DAMAGED,
        lambda: a_png(png_chunk(b"PLTE", b"\0" * 6), head=header(16, 16, depth=16, colour=3)),
    ),
    ("png of colour type 7", DAMAGED, lambda: a_png(head=header(16, 16, colour=7))),
    ("png of wide light", VARIANT, lambda: a_png(png_chunk(b"cICP", b"\x09\x10\0\1"))),
    ("png of wide colours", VARIANT, lambda: a_png(png_chunk(b"cICP", b"\x0c\x0d\0\1"))),
    ("png that says srgb", ACCEPTED, lambda: a_png(png_chunk(b"cICP", b"\1\x0d\0\1"))),
    (
        "png with a gamma of zero",
        ACCEPTED,
        lambda: a_png(png_chunk(b"gAMA", b"\0" * 4), png_chunk(b"cHRM", b"\0" * 32)),
    ),
]


def _sixteen(colour: int, bits: int, *before_rows: bytes) -> bytes:
    return a_png(*before_rows, head=header(16, 16, depth=16, colour=colour), rows=rows_of(16, 16, bits=bits))


_PROFILES: list[Row] = [
    ("profile in a png", ACCEPTED, lambda: _png_with(a_profile())),
    ("profile in a jpeg", ACCEPTED, lambda: _jpeg_with(a_profile())),
    ("profile in a webp", ACCEPTED, lambda: encoded(a_logo(32, 32), "WEBP", icc_profile=a_profile())),
    ("lab profile", ACCEPTED, lambda: _png_with(a_profile("LAB"))),
    ("empty profile", ACCEPTED, lambda: _png_with(b"")),
    ("profile of noise", ACCEPTED, lambda: _jpeg_with(noise(5_000, 6))),
    ("profile with a secret behind it", ACCEPTED, lambda: _jpeg_with(a_profile() + SECRET)),
    ("profile that breaks off", ACCEPTED, lambda: _jpeg_with(a_profile()[:300])),
    ("profile of a head only", ACCEPTED, lambda: _png_with(a_profile()[:128])),
    ("profile that claims four gigabytes", ACCEPTED, lambda: _jpeg_with(_changed(0, b"\xff\xff\xff\xff"))),
    ("profile of four thousand million tags", ACCEPTED, lambda: _jpeg_with(_changed(128, b"\xff\xff\xff\xff"))),
    ("profile whose tags lie outside", ACCEPTED, lambda: _jpeg_with(_changed(136, b"\xff\xff\xff\0"))),
    ("profile whose tags are endless", ACCEPTED, lambda: _jpeg_with(_changed(140, b"\xff\xff\xff\xff"))),
    ("profile whose tag is its own head", ACCEPTED, lambda: _jpeg_with(_changed(136, b"\0\0\0\0"))),
    ("profile of an unknown space", ACCEPTED, lambda: _jpeg_with(_changed(16, b"EVIL"))),
    ("profile without signature", ACCEPTED, lambda: _jpeg_with(_changed(36, b"\0\0\0\0"))),
    ("profile of inks in a picture of light", ACCEPTED, lambda: _jpeg_with(_changed(16, b"CMYK"))),
    ("profile of greys in a picture of colours", ACCEPTED, lambda: _jpeg_with(_changed(16, b"GRAY"))),
    ("profile part 0 of 0", ACCEPTED, lambda: _jpeg_with(a_profile(), 0, 0)),
    ("profile part 9 of 2", ACCEPTED, lambda: _jpeg_with(a_profile(), 9, 2)),
    ("profile compressed wrongly", ACCEPTED, lambda: a_png(png_chunk(b"iCCP", b"p\0\0" + noise(50, 7)))),
    ("profile without a name's end", DAMAGED, lambda: a_png(png_chunk(b"iCCP", b"p" * 40))),
    ("two profiles", DAMAGED, lambda: a_png(*[png_chunk(b"iCCP", b"p\0\0" + zlib.compress(a_profile()))] * 2)),
    ("webp profile of noise", ACCEPTED, lambda: _webp_with_profile(noise(3_000, 8))),
]


def _webp_with_profile(profile: bytes) -> bytes:
    canvas = webp_chunk(b"VP8X", struct.pack("<I", 0x20) + (31).to_bytes(3, "little") * 2)
    return a_webp(canvas, webp_chunk(b"ICCP", profile), encoded(a_logo(32, 32), "WEBP", lossless=True)[12:])


def _with_palette(*chunks: bytes, depth: int = 8, value: bytes = b"\x01") -> bytes:
    return a_png(*chunks, head=header(16, 16, depth=depth, colour=3), rows=rows_of(16, 16, bits=depth, value=value))


_PALETTES: list[Row] = [
    ("palette", ACCEPTED, lambda: _with_palette(png_chunk(b"PLTE", b"\1\2\3\4\5\6"))),
    ("palette that pixels go beyond", ACCEPTED, lambda: _with_palette(png_chunk(b"PLTE", b"\1\2\3"), value=b"\xff")),
    ("no palette", DAMAGED, _with_palette),
    ("empty palette", DAMAGED, lambda: _with_palette(png_chunk(b"PLTE", b""))),
    ("palette of a colour and a half", DAMAGED, lambda: _with_palette(png_chunk(b"PLTE", b"\1\2\3\4"))),
    ("palette of 300 colours", DAMAGED, lambda: _with_palette(png_chunk(b"PLTE", b"\0" * 900))),
    ("two palettes", DAMAGED, lambda: _with_palette(*[png_chunk(b"PLTE", b"\0" * 6)] * 2)),
    ("palette with too much transparency", DAMAGED, lambda: _with_palette(*_too_transparent())),
    ("palette in a picture of colours", ACCEPTED, lambda: a_png(png_chunk(b"PLTE", b"\0" * 6))),
    ("transparent colour that breaks off", DAMAGED, lambda: a_png(png_chunk(b"tRNS", b"\0"))),
]


def _too_transparent() -> tuple[bytes, bytes]:
    return png_chunk(b"PLTE", b"\1\2\3\4\5\6"), png_chunk(b"tRNS", b"\x40" * 300)


def _framed(at: int, put: bytes, jpeg: bytes = b"") -> bytes:
    """A JPEG with other bytes in its frame header, counted from its marker."""
    jpeg = jpeg or _jpeg()
    start = jpeg.index(b"\xff\xc0") + at
    return jpeg[:start] + put + jpeg[start + len(put) :]


_FRAMES: list[Row] = [
    *[
        (f"jpeg of another process, {code:02x}", VARIANT, lambda code=code: _framed(1, bytes((code,))))
        for code in (0xC3, 0xC5, 0xC7, 0xC9, 0xCB, 0xCF, 0xDE)
    ],
    ("jpeg of 12 bits", VARIANT, lambda: _framed(4, b"\x0c")),
    ("jpeg of 0 bits", VARIANT, lambda: _framed(4, b"\0")),
    ("jpeg of two components", VARIANT, lambda: _framed(9, b"\2")),
    ("jpeg of 255 components", VARIANT, lambda: _framed(9, b"\xff")),
    ("jpeg sampled by zero", DAMAGED, lambda: _framed(11, b"\0")),
    ("jpeg sampled by fifteen", DAMAGED, lambda: _framed(11, b"\xff")),
    ("jpeg with a quantisation table that is not there", DAMAGED, lambda: _framed(12, b"\x03")),
    ("jpeg of one bit deep greys", ACCEPTED, lambda: encoded(Image.new("1", (16, 16)).convert("L"), "JPEG")),
]
