"""Find the one XML in what a school uploads, whatever its name says: decided from the bytes.

The directory of a zip can lie, so what limits the expansion is what is counted while reading, never what is declared.
Only the formats that schools produce are opened: a plain XML, or a zip with stored or deflated members.
"""

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Protocol

from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.refusals import FileRefusedError

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ARCHIVES = {
    b"\x1f\x8b": "une archive gzip",
    b"Rar!": "une archive RAR",
    b"7z\xbc\xaf": "une archive 7-Zip",
    b"BZh": "une archive bzip2",
    b"\xfd7zXZ": "une archive xz",
}
_DOCUMENTS = {
    b"\xd0\xcf\x11\xe0": "un classeur ou un document bureautique",
    b"{\\rtf": "un document de traitement de texte",
    b"%PDF": "un document PDF",
    b"\x89PNG": "une image",
    b"\xff\xd8\xff": "une image",
    b"GIF8": "une image",
}
_START_BYTES = 8
_SPREADSHEET_MEMBERS = {"[Content_Types].xml", "mimetype"}
_END_OF_DIRECTORY = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_END = struct.Struct("<4s4H2LH")
_LONGEST_COMMENT = 65_535
_ZIP64_LOCATOR_BYTES = 20
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED_FLAGS = 0x1 | 0x40
_AES_METHOD = 99
_PLAIN_KINDS = {0, stat.S_IFREG, stat.S_IFDIR}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


@dataclass(frozen=True, slots=True)
class ExpansionLimits:
    """How much an upload may become. The ratio only counts past `ratio_from_bytes`: small files may be very regular."""

    max_xml_bytes: int = 1_500_000_000
    max_ratio: int = 200
    ratio_from_bytes: int = 2_000_000
    max_directory_bytes: int = 100_000
    """Of the zip's own directory, which is read whole."""


class ByteSource(Protocol):
    """What an export is read from: blocking."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, empty at the end."""


class ExportStream:
    """The XML as a stream that counts what it gives and stops at the limits."""

    def __init__(self, source: ByteSource, packed_bytes: int, expected_bytes: int, limits: ExpansionLimits) -> None:
        """Of what `packed_bytes` hold, which say that they are `expected_bytes` long.

        Raises:
            FileRefusedError: what it says of itself is beyond the limits.
        """
        self._source = source
        self._packed_bytes = packed_bytes
        self._limits = limits
        self.expected_bytes = expected_bytes
        """How long the XML says it is. A zip that gives less has lied; more it can't give."""
        self.bytes_read = 0
        self._refuse_beyond(expected_bytes)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, empty at the end.

        Raises:
            FileRefusedError: past the expansion limits, or the archive is damaged.
        """
        try:
            chunk = self._source.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise FileRefusedError(refusals.ZIP_CORRUPT) from error
        if size and not chunk and self.bytes_read != self.expected_bytes:
            raise FileRefusedError(refusals.ZIP_CORRUPT)
        self.bytes_read += len(chunk)
        self._refuse_beyond(self.bytes_read)
        return chunk

    def _refuse_beyond(self, length: int) -> None:
        limits = self._limits
        beyond_ratio = length > limits.ratio_from_bytes and length > limits.max_ratio * self._packed_bytes
        if length > limits.max_xml_bytes or beyond_ratio:
            raise FileRefusedError(refusals.EXPANSION_LIMIT, limit_mb=limits.max_xml_bytes // 1_000_000)


@contextmanager
def opened_export(upload: IO[bytes], limits: ExpansionLimits) -> Iterator[ExportStream]:
    """The XML inside an uploaded file, which must be seekable.

    Raises:
        FileRefusedError: it is neither XML nor a zip with exactly one XML.
    """
    upload.seek(0)
    start = upload.read(_START_BYTES)
    size = upload.seek(0, 2)
    upload.seek(0)
    if not start:
        raise FileRefusedError(refusals.EMPTY_FILE)
    _refuse_kinds(start, _ARCHIVES | _DOCUMENTS)
    if start.startswith(_ZIP_STARTS):
        with _opened_zip(upload, size, limits) as stream:
            yield stream
    else:
        yield ExportStream(upload, size, size, limits)


@contextmanager
def _opened_zip(upload: IO[bytes], size: int, limits: ExpansionLimits) -> Iterator[ExportStream]:
    directory_at = _start_of_directory(upload, size, limits)
    with ExitStack() as opened:
        with _faults_of_the_archive():
            archive = opened.enter_context(zipfile.ZipFile(upload))
            member = _the_one_xml(archive, directory_at)
            source = opened.enter_context(archive.open(member))
        yield ExportStream(source, max(member.compress_size, 1), member.file_size, limits)


@contextmanager
def _faults_of_the_archive() -> Iterator[None]:
    """Around what opens the archive and nothing else: the faults of its reader are not the archive's."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, UnicodeDecodeError) as error:
        raise FileRefusedError(refusals.ZIP_CORRUPT) from error


def _start_of_directory(upload: IO[bytes], size: int, limits: ExpansionLimits) -> int:
    """Where the zip's directory lies, once it is known to be small and to lie between the members and the end.

    Zipfile reads the directory whole (an export's has one entry, a hostile one millions), and seeks wherever it says:
    out of the file that is an OSError, which would pass for a disk that is away and be waited for.
    """
    tail_at = max(0, size - _END.size - _LONGEST_COMMENT - _ZIP64_LOCATOR_BYTES)
    upload.seek(tail_at)
    tail = upload.read()
    upload.seek(0)
    at = tail.rfind(_END_OF_DIRECTORY)
    if at < 0 or len(tail) - at < _END.size:
        raise FileRefusedError(refusals.ZIP_CORRUPT)
    *_, directory_bytes, directory_at, _ = _END.unpack_from(tail, at)
    if directory_bytes > limits.max_directory_bytes or _ZIP64_LOCATOR in tail[max(0, at - _ZIP64_LOCATOR_BYTES) : at]:
        raise FileRefusedError(refusals.ZIP_CORRUPT)
    if directory_at + directory_bytes != tail_at + at:
        raise FileRefusedError(refusals.ZIP_CORRUPT)
    return int(directory_at)


def _the_one_xml(archive: zipfile.ZipFile, directory_at: int) -> zipfile.ZipInfo:
    names = {member.filename for member in archive.infolist()}
    if names & _SPREADSHEET_MEMBERS:
        raise FileRefusedError(refusals.WRONG_KIND, kind="un classeur ou un document bureautique")
    members = [member for member in archive.infolist() if not member.is_dir() and not _is_by_catch(member.filename)]
    if any(_is_unsafe(member) for member in archive.infolist()):
        raise FileRefusedError(refusals.ZIP_UNSAFE_PATH)
    if len(members) > 1:
        raise FileRefusedError(refusals.ZIP_SEVERAL_FILES, count=len(members))
    if not members:
        raise FileRefusedError(refusals.ZIP_WITHOUT_XML)
    (member,) = members
    if member.flag_bits & _ENCRYPTED_FLAGS or member.compress_type == _AES_METHOD:
        raise FileRefusedError(refusals.ZIP_ENCRYPTED)
    if member.compress_type not in _METHODS:
        raise FileRefusedError(refusals.ZIP_CORRUPT)
    if not _lies_before(member, directory_at):
        raise FileRefusedError(refusals.ZIP_CORRUPT)
    with archive.open(member) as source:
        start = source.read(_START_BYTES)
    if start.startswith((*_ZIP_STARTS, *_ARCHIVES)):
        raise FileRefusedError(refusals.ZIP_NESTED)
    if not start:
        raise FileRefusedError(refusals.ZIP_WITHOUT_XML)
    _refuse_kinds(start, _DOCUMENTS)
    return member


def _refuse_kinds(start: bytes, kinds: Mapping[bytes, str]) -> None:
    for magic, kind in kinds.items():
        if start.startswith(magic):
            raise FileRefusedError(refusals.WRONG_KIND, kind=kind)


def _lies_before(member: zipfile.ZipInfo, directory_at: int) -> bool:
    """Whether the member can be where the directory says, and as long: the ratio is measured by what it says."""
    stored_otherwise = member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size
    return not stored_otherwise and member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size <= directory_at


def _is_by_catch(name: str) -> bool:
    """What an operating system adds when a person makes the zip again."""
    parts = PurePosixPath(name).parts
    return not parts or parts[0] == "__MACOSX" or parts[-1].startswith(".") or parts[-1].lower() in {
        "thumbs.db", "desktop.ini",
    }  # fmt: skip


def _is_unsafe(member: zipfile.ZipInfo) -> bool:
    """Whether the name leads or looks elsewhere, or the member is a link or a device.

    Nothing is written under these names; but who made one meant to deceive somebody. `filename` ends at a NUL, and
    compatibility characters (two-dot leader, full-width slash) become plain ones on the way to some file systems.
    """
    if stat.S_IFMT(member.external_attr >> 16) not in _PLAIN_KINDS:
        return True
    name = unicodedata.normalize("NFKC", member.orig_filename)
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name.isprintable()
