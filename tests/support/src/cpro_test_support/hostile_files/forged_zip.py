"""Write a zip whose every field may lie. `zipfile` writes honest ones only."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

STORED, DEFLATED, DEFLATE64, BZIP2, LZMA, AES = 0, 8, 9, 12, 14, 99
ENCRYPTED, STRONGLY_ENCRYPTED, PATCHED, UTF_8_NAME = 0x1, 0x40, 0x20, 0x800
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END_64, _LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
_DOS_DATE = (46 << 9) | (9 << 5) | 15


@dataclass(frozen=True, slots=True)
class Member:
    """One entry. A field that is None tells the truth; `local_…` is what the header before the bytes says instead."""

    name: bytes
    content: bytes
    method: int = DEFLATED
    packed: bytes | None = None
    flags: int = 0
    crc: int | None = None
    compress_size: int | None = None
    file_size: int | None = None
    extra: bytes = b""
    comment: bytes = b""
    external_attributes: int = 0
    header_offset: int | None = None
    version_needed: int = 20
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_compress_size: int | None = None
    local_file_size: int | None = None
    local_extra: bytes = b""
    local_signature: bytes = _LOCAL

    @property
    def stream(self) -> bytes:
        """The bytes as they lie in the archive."""
        if self.packed is not None:
            return self.packed
        return deflated(self.content) if self.method == DEFLATED else self.content


def deflated(content: bytes) -> bytes:
    """A raw deflate stream."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


def forged_zip(
    members: Sequence[Member],
    *,
    prefix: bytes = b"",
    comment: bytes = b"",
    comment_size: int | None = None,
    directory_offset: int | None = None,
    directory_size: int | None = None,
    entries: int | None = None,
    before_end: bytes = b"",
) -> bytes:
    """A zip of these members, with a directory that says what it is told to.

    Args:
        members: in the order in which they lie.
        prefix: bytes before the first one, which the offsets do not count.
        comment: of the archive.
        comment_size: how long the end record says the comment is.
        directory_offset: where the end record says the directory is.
        directory_size: how long the end record says the directory is.
        entries: how many the end record says there are.
        before_end: bytes between the directory and the end record.
    """
    body, directory = bytearray(), bytearray()
    for member in members:
        offset = len(body) if member.header_offset is None else member.header_offset
        body += _local(member)
        directory += _central(member, offset)
    count = len(members) if entries is None else entries
    end = _END + struct.pack(
        "<4H2LH",
        0, 0, count & 0xFFFF, count & 0xFFFF,
        len(directory) if directory_size is None else directory_size,
        len(body) if directory_offset is None else directory_offset,
        len(comment) if comment_size is None else comment_size,
    )  # fmt: skip
    return prefix + bytes(body) + bytes(directory) + before_end + end + comment


def zip64_end(directory_size: int, directory_offset: int, *, end_at: int, entries: int = 1, disks: int = 1) -> bytes:
    """The two records of a large archive, to be put before the ordinary end record."""
    record = _END_64 + struct.pack(
        "<QHHLLQQQQ", 44, 45, 45, 0, 0, entries, entries, directory_size, directory_offset
    )  # fmt: skip
    return record + _LOCATOR_64 + struct.pack("<LQL", 0, end_at, disks)


def zip64_extra(*values: int) -> bytes:
    """The extra field that holds what does not fit in 32 bits."""
    return struct.pack("<HH", 1, 8 * len(values)) + b"".join(struct.pack("<Q", value) for value in values)


def _local(member: Member) -> bytes:
    stream = member.stream
    name = member.name if member.local_name is None else member.local_name
    header = struct.pack(
        "<5H3L2H",
        member.version_needed & 0xFFFF,
        member.flags if member.local_flags is None else member.local_flags,
        member.method if member.local_method is None else member.local_method,
        0, _DOS_DATE,
        zlib.crc32(member.content) if member.crc is None else member.crc,
        len(stream) if member.local_compress_size is None else member.local_compress_size,
        len(member.content) if member.local_file_size is None else member.local_file_size,
        len(name), len(member.local_extra),
    )  # fmt: skip
    return member.local_signature + header + name + member.local_extra + stream


def _central(member: Member, offset: int) -> bytes:
    stream = member.stream
    return _CENTRAL + struct.pack(
        "<6H3L5H2L",
        0x0314, member.version_needed, member.flags, member.method, 0, _DOS_DATE,
        zlib.crc32(member.content) if member.crc is None else member.crc,
        len(stream) if member.compress_size is None else member.compress_size,
        len(member.content) if member.file_size is None else member.file_size,
        len(member.name), len(member.extra), len(member.comment), 0, 0,
        member.external_attributes, offset,
    ) + member.name + member.extra + member.comment  # fmt: skip
