"""Small archives of something very large."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from cpro_test_support.hostile_files.forged_zip import (
    DEFLATED,
    STORED,
    Member,
    deflated,
    forged_zip,
    zip64_extra,
)
from cpro_test_support.hostile_files.hostile_file import XML_NAME, HostileFile, Make, Row, Target, files
from cpro_test_support.siecle_samples import zipped

_MEGABYTE = 1_000_000
_LARGEST_32 = 2**32 - 1
_HEADER_BYTES = 30


def _repeated(target: Target, unit: bytes, times: int, *, mark: bytes = b"<DONNEES>") -> tuple[bytes, int, int]:
    """An export with one thing over and over, packed without ever being whole: its stream, length and checksum."""
    start, end = target.xml().split(mark, 1)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stretch = unit * max(1, _MEGABYTE // len(unit))
    pieces = [start + mark, *[stretch] * (times * len(unit) // len(stretch)), end]
    packed, length, crc = bytearray(), 0, 0
    for piece in pieces:
        packed += compressor.compress(piece)
        length, crc = length + len(piece), zlib.crc32(piece, crc)
    return bytes(packed + compressor.flush()), length, crc


def _bomb(unit: bytes, megabytes: int, *, mark: bytes = b"<DONNEES>", honest: bool = True) -> Make:
    """A flat bomb. The other kind says that it is as long as an ordinary export."""

    def make(target: Target) -> bytes:
        packed, length, crc = _repeated(target, unit, megabytes * _MEGABYTE // len(unit), mark=mark)
        said = length if honest else 20_000
        return forged_zip([Member(XML_NAME, b"", packed=packed, crc=crc, file_size=said, local_file_size=said)])

    return make


def _with_lying_packed_size(extra: bytes) -> Make:
    """A flat bomb that says that it was hardly packed, so that its ratio looks well."""

    def make(target: Target) -> bytes:
        packed, length, crc = _repeated(target, b"<X/>", 60 * _MEGABYTE // 4)
        said = _LARGEST_32 if extra else 2**31
        return forged_zip(
            [Member(XML_NAME, b"", packed=packed, crc=crc, file_size=length, compress_size=said, extra=extra)]
        )

    return make


def _overlapping(target: Target) -> bytes:
    """Many entries that share one kernel of packed bytes."""
    content = b" " * 5 * _MEGABYTE
    packed, crc = deflated(content), zlib.crc32(content)
    kernel = Member(b"0", content, packed=packed)
    sharer = Member(b"", b"", packed=b"", header_offset=0, crc=crc, compress_size=len(packed), file_size=len(content))
    return forged_zip([kernel, *(replace(sharer, name=b"%d" % index) for index in range(1, 500))])


def _quoting(_: Target) -> bytes:
    """Each entry's stream quotes the header of the next one as a stored block, and goes on into it.

    So every entry expands to the same kernel, and no two of them begin at the same place.
    """
    rest, crc, entries = deflated(b" " * 2 * _MEGABYTE), 0, []
    for index in reversed(range(60)):
        entries.append(Member(b"%02d.xml" % index, b"", packed=rest, crc=crc, file_size=2 * _MEGABYTE))
        header = forged_zip([entries[-1]])[: _HEADER_BYTES + 6]
        rest = struct.pack("<BHH", 0, len(header), len(header) ^ 0xFFFF) + header + rest
    first, *others = reversed(entries)
    step = 5 + _HEADER_BYTES + 6
    quoted = [
        replace(entry, packed=b"", compress_size=len(entry.stream), header_offset=step * (place + 1))
        for place, entry in enumerate(others)
    ]
    return forged_zip([first, *quoted])


def _nested(levels: int, width: int) -> Make:
    """Archives of archives, as in 42.zip."""

    def make(target: Target) -> bytes:
        content = zipped({"a.xml": b" " * 4 * _MEGABYTE})
        for _ in range(levels):
            content = zipped({f"{index}.zip": content for index in range(width)})
        return content

    return make


def _quine_like(target: Target) -> bytes:
    """An archive whose one entry is the archive's own start."""
    return forged_zip([Member(XML_NAME, b"PK\x03\x04" * 5_000, STORED)])


_ROWS: tuple[Row, ...] = (
    ("elements", "expansion_limit", _bomb(b"<X/>", 60)),
    ("blanks", "expansion_limit", _bomb(b" ", 300)),
    ("pupils", "expansion_limit", _bomb(b"<ELEVE/>", 40, mark=b"<ELEVES>")),
    ("structures", "expansion_limit", _bomb(b"<STRUCTURES_ELEVE/>", 40, mark=b"<STRUCTURES>")),
    ("comments", "expansion_limit", _bomb(b"<!---->", 60)),
    ("whole-pupils", "expansion_limit",
        _bomb(b'<ELEVE ELEVE_ID="1"><NOM_DE_FAMILLE>A</NOM_DE_FAMILLE><PRENOM>B</PRENOM></ELEVE>\n', 60, mark=b"<ELEVES>")),
    ("elements-unsaid", "zip_corrupt", _bomb(b"<X/>", 60, honest=False)),
    ("blanks-unsaid", "zip_corrupt", _bomb(b" ", 300, honest=False)),
    ("packed-size-lying", "zip_corrupt", _with_lying_packed_size(b"")),
    ("packed-size-lying-in-64-bits", "zip_corrupt", _with_lying_packed_size(zip64_extra(2**50))),
    ("overlapping", "zip_several_files", _overlapping),
    ("quoting", "zip_several_files", _quoting),
    ("nested", "zip_nested", _nested(3, 1)),
    ("nested-and-wide", "zip_several_files", _nested(2, 8)),
    ("of-itself", "zip_nested", _quine_like),
    ("not-xml", "expansion_limit", lambda _: forged_zip([Member(XML_NAME, b"\x00" * 30 * _MEGABYTE, DEFLATED)])),
)  # fmt: skip


def zip_bombs() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("bomb", _ROWS)
