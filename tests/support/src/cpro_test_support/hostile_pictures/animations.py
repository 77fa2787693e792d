"""Pictures that move, and pictures that hide that they do."""

import struct
from collections.abc import Iterator

from cpro_test_support.hostile_pictures.hostile_picture import (
    ANIMATED,
    DAMAGED,
    TRAILING,
    TYPE,
    HostilePicture,
    Row,
    a_png,
    a_webp,
    pictures,
    swapped,
    webp_chunk,
)
from cpro_test_support.pictures import a_logo, an_animation, encoded, png_chunk

_CONTROL = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
_FRAME = png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 16, 16, 0, 0, 1, 1, 0, 0))


def animations() -> Iterator[HostilePicture]:
    """In each format."""
    yield from pictures("animation", _ROWS)


def _still() -> bytes:
    return encoded(a_logo(32, 32), "WEBP", lossless=True)[12:]


def _canvas(flags: int) -> bytes:
    return webp_chunk(b"VP8X", struct.pack("<I", flags) + (31).to_bytes(3, "little") * 2)


_ROWS: list[Row] = [
    ("png", ANIMATED, lambda: an_animation("PNG")),
    ("webp", ANIMATED, lambda: an_animation("WEBP")),
    ("gif", TYPE, lambda: an_animation("GIF")),
    ("png of two thousand million frames", ANIMATED, lambda: a_png(_CONTROL, _FRAME)),
    ("png of no frames", ANIMATED, lambda: a_png(png_chunk(b"acTL", b"\0" * 8))),
    ("png whose control comes late", ANIMATED, lambda: a_png(after_rows=_CONTROL)),
    ("png with frames without control", ANIMATED, lambda: a_png(after_rows=_FRAME)),
    ("png with frame rows only", ANIMATED, lambda: a_png(after_rows=png_chunk(b"fdAT", b"\0" * 40))),
    ("png whose control is damaged", ANIMATED, lambda: a_png(png_chunk(b"acTL", b"")[:-1] + b"!")),
    ("webp whose flag is taken away", ANIMATED, lambda: _without_flag(an_animation("WEBP"))),
    ("webp with the flag and no frame", ANIMATED, lambda: a_webp(_canvas(2), _still())),
    ("webp with a frame in a still picture", ANIMATED, lambda: a_webp(_still(), webp_chunk(b"ANMF", b"\0" * 24))),
    ("webp with two pictures", DAMAGED, lambda: a_webp(_still(), _still())),
    (
        "webp with a lossy and a lossless picture",
        DAMAGED,
        lambda: a_webp(encoded(a_logo(32, 32), "WEBP")[12:], _still()),
    ),
    ("jpeg with a second one", TRAILING, lambda: encoded(a_logo(), "MPO", save_all=True, append_images=[a_logo()])),
    ("jpeg with a film", TRAILING, lambda: encoded(a_logo(), "JPEG") + b"\0\0\0\x18ftypmp42"),
]


def _without_flag(data: bytes) -> bytes:
    return swapped(data, data[12:21], data[12:20] + b"\0")
