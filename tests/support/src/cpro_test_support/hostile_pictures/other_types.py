"""What is no accepted picture, whatever its name says; and files that are a picture and something else besides."""

import gzip
import io
import zipfile
from collections.abc import Iterator

from cpro_test_support.hostile_pictures.hostile_picture import (
    ACCEPTED,
    DAMAGED,
    SECRET,
    TRAILING,
    TYPE,
    HostilePicture,
    Row,
    a_png,
    a_webp,
    noise,
    pictures,
    segment,
    webp_chunk,
    with_segment,
)
from cpro_test_support.pictures import a_logo, encoded, png_chunk

_HTML = b"<html><script>alert('" + SECRET + b"')</script></html>"
_SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
_PHP = b"<?php system($_GET['c']); ?>" + SECRET


def other_types() -> Iterator[HostilePicture]:
    """Wrong types, and polyglots."""
    yield from pictures("type", _TYPES)
    yield from pictures("polyglot", _polyglots())


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("evil.html", _HTML)
    return buffer.getvalue()


_TYPES: list[Row] = [
    ("svg", TYPE, lambda: _SVG),
    ("svg behind a declaration", TYPE, lambda: b"<?xml version='1.0'?>\n" + _SVG),
    ("svg behind a byte order mark", TYPE, lambda: b"\xef\xbb\xbf" + _SVG),
    ("svg in utf-16", TYPE, lambda: _SVG.decode().encode("utf-16")),
    ("svg compressed", TYPE, lambda: gzip.compress(_SVG)),
    (
        "svg that draws outside files",
        TYPE,
        lambda: _SVG.replace(b"<script>", b"<image href='file:///etc/passwd'/><script>"),
    ),
    ("svg with entities", TYPE, lambda: b"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>" + _SVG),
    ("html", TYPE, lambda: _HTML),
    ("javascript that starts as a gif", TYPE, lambda: b"GIF89a/*" + b"\0" * 8 + b"*/=1;alert(1)//"),
    ("gif", TYPE, lambda: encoded(a_logo().quantize(16), "GIF")),
    ("bmp", TYPE, lambda: encoded(a_logo(), "BMP")),
    ("tiff", TYPE, lambda: encoded(a_logo(), "TIFF")),
    ("ico", TYPE, lambda: encoded(a_logo(64, 64), "ICO")),
    ("tga", TYPE, lambda: encoded(a_logo(), "TGA")),
    ("ppm", TYPE, lambda: encoded(a_logo(), "PPM")),
    ("pcx", TYPE, lambda: encoded(a_logo(), "PCX")),
    ("sgi", TYPE, lambda: encoded(a_logo(), "SGI")),
    ("dds", TYPE, lambda: encoded(a_logo(), "DDS")),
    ("icns", TYPE, lambda: encoded(a_logo(64, 64), "ICNS")),
    ("eps", TYPE, lambda: encoded(a_logo(), "EPS")),
    ("pdf", TYPE, lambda: encoded(a_logo(), "PDF")),
    ("jpeg 2000", TYPE, lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 80),
    ("jpeg xl", TYPE, lambda: b"\xff\x0a" + noise(80, 4)),
    ("heic", TYPE, lambda: b"\0\0\0\x20ftypheic" + b"\0" * 80),
    ("avif", TYPE, lambda: b"\0\0\0\x20ftypavif" + b"\0" * 80),
    ("psd", TYPE, lambda: b"8BPS\0\1" + b"\0" * 80),
    ("mng", TYPE, lambda: b"\x8aMNG\r\n\x1a\n" + b"\0" * 80),
    ("imagemagick script", TYPE, lambda: b"push graphic-context\nfill 'url(https://x/\"|ls \"-la)'"),
    ("wave in a riff", TYPE, lambda: b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 24),
    ("elf program", TYPE, lambda: b"\x7fELF" + b"\0" * 80),
    ("zip", TYPE, _zip),
    ("noise", TYPE, lambda: noise(4_000, 5)),
    ("one zero byte", TYPE, lambda: b"\0"),
    ("png behind a blank", TYPE, lambda: b" " + a_png()),
    ("png with its line ends broken", TYPE, lambda: a_png().replace(b"\r\n", b"\n", 1)),
    ("jpeg behind a pdf", TYPE, lambda: b"%PDF-1.7\n" + encoded(a_logo(), "JPEG")),
]


def _polyglots() -> Iterator[Row]:
    goods = {"png": a_png(), "jpeg": encoded(a_logo(32, 32), "JPEG"), "webp": encoded(a_logo(32, 32), "WEBP")}
    riders = {
        "zip": _zip(),
        "html": _HTML,
        "php": _PHP,
        "pdf": b"%PDF-1.7\n%%EOF",
        "picture": goods["jpeg"],
        "byte": b"x",
    }
    for form, good in goods.items():
        for rider, appended in riders.items():
            yield f"{form} and {rider}", TRAILING, lambda good=good, appended=appended: good + appended  # type: ignore[misc]
        yield f"{form} and {rider} behind zeros", TRAILING, lambda good=good: good + b"\0" * 512 + _zip()  # type: ignore[misc]
        yield f"{form} padded with zeros", ACCEPTED, lambda good=good: good + b"\0" * 512  # type: ignore[misc]
    jpeg = goods["jpeg"]
    yield "html in a jpeg's comment", ACCEPTED, lambda: with_segment(jpeg, segment(0xFE, _HTML))
    yield "pdf in a jpeg's comment", ACCEPTED, lambda: with_segment(jpeg, segment(0xFE, b"%PDF-1.7" + SECRET))
    yield "javascript in a jpeg's head", ACCEPTED, lambda: with_segment(jpeg, segment(0xE0, b"*/=1;/*" + SECRET))
    yield "zip in a jpeg's segment", ACCEPTED, lambda: with_segment(jpeg, segment(0xED, _zip()))
    yield "php in a png's text", ACCEPTED, lambda: a_png(png_chunk(b"tEXt", b"Comment\0" + _PHP))
    yield "zip in a png's own chunk", ACCEPTED, lambda: a_png(png_chunk(b"prVt", _zip()))
    yield "program in a critical chunk", DAMAGED, lambda: a_png(png_chunk(b"EVIL", _zip()))
    yield "zip in a webp's chunk", ACCEPTED, lambda: a_webp(goods["webp"][12:], webp_chunk(b"EVIL", _zip() + SECRET))
