"""Pictures that break off, at each place where their structure has a joint."""

import struct
from collections.abc import Iterator

from cpro_test_support.hostile_pictures.hostile_picture import (
    DAMAGED,
    EMPTY,
    TYPE,
    HostilePicture,
    Row,
    a_png,
    pictures,
    rows_of,
)
from cpro_test_support.pictures import a_logo, a_stamp, encoded, png_chunk


def truncations() -> Iterator[HostilePicture]:
    """Each good picture, cut at its joints; and parts that are missing from the middle."""
    yield from pictures("truncation", [("nothing at all", EMPTY, lambda: b""), *_signatures(), *_missing()])
    for name, data, joints in _good():
        yield from pictures("truncation", [_cut(name, data, at) for at in joints])


def _cut(name: str, data: bytes, at: int) -> Row:
    return f"{name} after {at} bytes", DAMAGED, lambda: data[:at]


def _signatures() -> Iterator[Row]:
    png, jpeg, webp = (encoded(a_logo(16, 16), form) for form in ("PNG", "JPEG", "WEBP"))
    yield "half a png signature", TYPE, lambda: png[:4]
    yield "half a jpeg signature", TYPE, lambda: jpeg[:2]
    yield "half a webp signature", TYPE, lambda: webp[:11]


def _missing() -> list[Row]:
    return [
        ("png without rows", DAMAGED, lambda: a_png(rows=png_chunk(b"tEXt", b"a\0"))),
        ("png with half of its rows", DAMAGED, lambda: a_png(rows=rows_of(16, 8))),
        ("png without its end", DAMAGED, lambda: a_png()[:-12]),
        ("jpeg without its end", DAMAGED, lambda: encoded(a_logo(16, 16), "JPEG")[:-2]),
        ("jpeg of which only start and end are there", DAMAGED, lambda: b"\xff\xd8\xff\xd9"),
    ]


def _good() -> Iterator[tuple[str, bytes, list[int]]]:
    png = encoded(a_stamp(60), "PNG", dpi=(72, 72))
    yield "png", png, _png_joints(png)
    jpeg = encoded(a_logo(48, 32), "JPEG")
    yield "jpeg", jpeg, _jpeg_joints(jpeg)
    progressive = encoded(a_logo(48, 32), "JPEG", progressive=True)
    yield "progressive jpeg", progressive, _jpeg_joints(progressive)[-9:]
    webp = encoded(a_stamp(60), "WEBP", lossless=False, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    yield "webp", webp, _webp_joints(webp)


def _png_joints(data: bytes) -> list[int]:
    joints, start = [8], 8
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        joints += [start + 4, start + 8, start + 8 + length // 2, start + 8 + length, start + 12 + length]
        start += 12 + length
    return sorted({joint for joint in joints if joint < len(data)})


def _jpeg_joints(data: bytes) -> list[int]:
    starts = [at for at in range(3, len(data) - 1) if data[at] == 0xFF and data[at + 1] not in {0x00, 0xFF}]
    return sorted({joint for start in starts[::2] for joint in (start, start + 1, start + 3) if 2 < joint < len(data)})


def _webp_joints(data: bytes) -> list[int]:
    joints, start = [12], 12
    while start < len(data):
        (length,) = struct.unpack_from("<I", data, start + 4)
        joints += [start + 4, start + 8, start + 8 + length // 2, start + 8 + length]
        start += 8 + length + length % 2
    return sorted({joint for joint in joints if joint < len(data)})
