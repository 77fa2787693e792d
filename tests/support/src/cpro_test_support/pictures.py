"""Invented pictures for the tests: good ones, and ones that should not be trusted."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The image as a file of this format (`PNG`, `JPEG`, `WEBP`, `GIF` …)."""
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    """The picture in a file, loaded."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def a_logo(width: int = 320, height: int = 200, colour: str = "navy") -> Image.Image:
    """An opaque picture: a coloured field with a white disc in its upper left quarter."""
    image = Image.new("RGB", (width, height), colour)
    ImageDraw.Draw(image).ellipse((width // 8, height // 8, width // 3, height // 3), fill="white")
    return image


def a_stamp(side: int = 240) -> Image.Image:
    """A red ring on nothing: everything outside of it is transparent."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 20, side - 20, side - 20), outline=(180, 0, 0, 255), width=12)
    return image


def an_animation(form: str) -> bytes:
    """Three frames, in a format that can hold them."""
    frames = [a_logo(colour=colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=100)


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, with its length and its right checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def a_png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that announce a picture of this size: a decompression bomb's head."""
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return PNG_SIGNATURE + b"".join(
        png_chunk(name, body)
        for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" * 64)), (b"IEND", b""))
    )
