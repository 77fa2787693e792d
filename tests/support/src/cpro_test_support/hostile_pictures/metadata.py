"""What pictures carry besides the picture: Exif, XMP, texts, previews; true, false and broken."""

import struct
from collections.abc import Iterator

from PIL import Image

from cpro_test_support.hostile_pictures.hostile_picture import (
    ACCEPTED,
    DAMAGED,
    SECRET,
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

_ORIENTATION, _IFD, _GPS = 0x0112, 0x8769, 0x8825


def metadata() -> Iterator[HostilePicture]:
    """In each format."""
    yield from pictures("metadata", [*_EXIF, *_OTHERS])
    for form in ("jpeg", "png", "webp"):
        yield from pictures("metadata", [_in(form, name, exif) for name, exif in _broken_exif()])


def _jpeg(**options: object) -> bytes:
    return encoded(a_logo(48, 32), "JPEG", **options)


def _exif(*entries: bytes, count: int | None = None, following: int = 0, order: bytes = b"MM\0*") -> bytes:
    """A block with one directory."""
    number = len(entries) if count is None else count
    return order + struct.pack(">IH", 8, number) + b"".join(entries) + struct.pack(">I", following)


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack(">HHII", tag, kind, count, value)


def _broken_exif() -> Iterator[tuple[str, bytes]]:
    yield "empty exif", b""
    yield "exif of noise", noise(300, 9)
    yield "exif whose directory follows itself", _exif(_entry(_ORIENTATION, 3, 1, 6 << 16), following=8)
    yield "exif whose part is its own directory", _exif(_entry(_IFD, 4, 1, 8), _entry(_GPS, 4, 1, 8))
    yield "exif that points outside", _exif(_entry(_IFD, 4, 1, 2**32 - 1), following=2**32 - 1)
    yield "exif with values outside", _exif(_entry(0x010E, 2, 2**32 - 1, 2**32 - 2))
    yield "exif of 65,535 entries", _exif(_entry(_ORIENTATION, 3, 1, 1 << 16), count=65_535)
    yield "exif with an orientation of 9", _exif(_entry(_ORIENTATION, 3, 1, 9 << 16))
    yield "exif with an orientation of many", _exif(_entry(_ORIENTATION, 3, 2, 6 << 16 | 8))
    yield "exif with an orientation in words", _exif(_entry(_ORIENTATION, 2, 4, 0x41424300))
    yield "exif with an unknown kind", _exif(_entry(_ORIENTATION, 99, 1, 6 << 16))
    yield "exif in no byte order", _exif(_entry(_ORIENTATION, 3, 1, 6 << 16), order=b"XX\0*")
    yield "exif with a secret", _exif(_entry(0x010E, 2, len(SECRET), 26)) + SECRET


def _in(form: str, name: str, exif: bytes) -> Row:
    make = {
        "jpeg": lambda: with_segment(_jpeg(), segment(0xE1, b"Exif\0\0" + exif)),
        "png": lambda: a_png(png_chunk(b"eXIf", exif)),
        "webp": lambda: _webp_with(0x08, webp_chunk(b"EXIF", exif)),
    }
    return f"{form} {name}", ACCEPTED, make[form]


def _webp_with(flags: int, *after: bytes) -> bytes:
    canvas = webp_chunk(b"VP8X", struct.pack("<I", flags) + (31).to_bytes(3, "little") * 2)
    return a_webp(canvas, encoded(a_logo(32, 32), "WEBP", lossless=True)[12:], *after)


def _camera() -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION], exif[0x010E] = 6, SECRET.decode()
    exif.get_ifd(_GPS)[1] = "N"
    exif.get_ifd(_IFD)[0x927C] = SECRET
    return exif


def _preview() -> bytes:
    return _exif(_entry(0x0201, 4, 1, 26), _entry(0x0202, 4, 1, 900)) + _jpeg(comment=SECRET)


_XMP = b"<x:xmpmeta><rdf:li>" + SECRET + b"</rdf:li></x:xmpmeta>"
_EXIF: list[Row] = [
    ("jpeg of a camera", ACCEPTED, lambda: _jpeg(exif=_camera())),
    ("png of a camera", ACCEPTED, lambda: encoded(a_logo(), "PNG", exif=_camera())),
    ("webp of a camera", ACCEPTED, lambda: encoded(a_logo(), "WEBP", exif=_camera())),
    ("jpeg with a preview inside", ACCEPTED, lambda: with_segment(_jpeg(), segment(0xE1, b"Exif\0\0" + _preview()))),
    (
        "jpeg with two exif blocks",
        ACCEPTED,
        lambda: with_segment(_jpeg(exif=_camera()), segment(0xE1, b"Exif\0\0" + _exif())),
    ),
    ("png with two exif chunks", DAMAGED, lambda: a_png(*[png_chunk(b"eXIf", _exif())] * 2)),
]
_OTHERS: list[Row] = [
    ("jpeg with xmp", ACCEPTED, lambda: with_segment(_jpeg(), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP))),
    ("webp with xmp", ACCEPTED, lambda: _webp_with(0x04, webp_chunk(b"XMP ", _XMP))),
    ("png with xmp", ACCEPTED, lambda: a_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP))),
    (
        "jpeg with press data",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xED, b"Photoshop 3.0\08BIM\x04\x04" + SECRET)),
    ),
    (
        "jpeg with press data that break off",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xED, b"Photoshop 3.0\08BIM")),
    ),
    (
        "jpeg with a list of previews in a loop",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xE2, b"MPF\0" + _exif(following=8))),
    ),
    (
        "jpeg with a jfif preview",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xE0, b"JFXX\0\x10" + _jpeg(comment=SECRET))),
    ),
    (
        "jpeg with a secret in its jfif",
        ACCEPTED,
        lambda: with_segment(_jpeg(), segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0" + SECRET)),
    ),
    ("jpeg with a comment", ACCEPTED, lambda: _jpeg(comment=SECRET)),
    ("png with a text", ACCEPTED, lambda: a_png(png_chunk(b"tEXt", b"Author\0" + SECRET))),
    ("png with a text that is none", ACCEPTED, lambda: a_png(png_chunk(b"zTXt", SECRET), png_chunk(b"iTXt", b"\xff"))),
    ("png with a time", ACCEPTED, lambda: a_png(png_chunk(b"tIME", b"\xff" * 7))),
    ("png with a resolution of zero", ACCEPTED, lambda: a_png(png_chunk(b"pHYs", b"\0" * 9))),
    ("png with a secret behind its rows", ACCEPTED, lambda: a_png(after_rows=png_chunk(b"tEXt", b"Author\0" + SECRET))),
]
