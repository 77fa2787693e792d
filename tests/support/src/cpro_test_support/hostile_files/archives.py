"""Zips that lie, hide or point elsewhere, and zips with something else in them."""

import io
import struct
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from cpro_test_support.hostile_files.forged_zip import (
    AES,
    BZIP2,
    DEFLATE64,
    ENCRYPTED,
    LZMA,
    PATCHED,
    STORED,
    STRONGLY_ENCRYPTED,
    UTF_8_NAME,
    Member,
    deflated,
    forged_zip,
    zip64_end,
    zip64_extra,
)
from cpro_test_support.hostile_files.hostile_file import XML_NAME, HostileFile, Make, Row, Target, files, noise
from cpro_test_support.siecle_samples import zipped

_UNIX_LINK, _UNIX_DEVICE, _UNIX_PIPE = 0o120777 << 16, 0o020666 << 16, 0o010644 << 16
_LARGEST_32, _LARGEST_63, _LARGEST_64 = 2**32 - 1, 2**63 - 1, 2**64 - 1
_NAMES: dict[str, bytes] = {
    "parent": b"../ElevesSansAdresses.xml",
    "parents": b"../../../../../../etc/cron.d/eleves.xml",
    "parent-inside": b"a/../../ElevesSansAdresses.xml",
    "parent-at-the-end": b"a/..",
    "absolute": b"/etc/passwd",
    "two-slashes": b"//serveur/partage/a.xml",
    "backslash": b"..\\..\\a.xml",
    "backslash-inside": b"a\\b.xml",
    "drive": b"C:\\Windows\\a.xml",
    "drive-without-slash": b"C:a.xml",
    "stream": b"a.xml:cache",
    "nul": b"a.xml\x00.exe",
    "nul-before-parents": b"a.xml\x00/../../b",
    "line-feed": b"a\n.xml",
    "escape": b"a\x1b[2J.xml",
    "parent-among-by-catch": b"__MACOSX/../../a.xml",
}
_UNICODE_NAMES = {
    "two-dot-leader": "‥/a.xml",
    "wide-dots-and-slash": "．．／a.xml",
    "wide-backslash": "．．＼a.xml",
    "wide-colon": "C：a.xml",
    "fraction-of-dots": "․․/a.xml",
    "right-to-left": "a\u202elmx.exe",
    "zero-width": "a\u200b.xml",
}
_INSIDE = {
    "zip": lambda t: zipped({"a.xml": t.xml()}),
    "gzip": lambda _: b"\x1f\x8b\x08\x00" + noise(200, 1),
    "bzip2": lambda _: b"BZh91AY&SY" + noise(200, 2),
    "xz": lambda _: b"\xfd7zXZ\x00" + noise(200, 3),
    "7z": lambda _: b"7z\xbc\xaf\x27\x1c" + noise(200, 4),
    "rar": lambda _: b"Rar!\x1a\x07\x01\x00" + noise(200, 5),
    "empty-zip": lambda _: zipped({}),
}  # fmt: skip


def _one(**lies: Any) -> Make:
    """An archive of a good export, some fields of which lie."""
    return lambda target: forged_zip([Member(**{"name": XML_NAME, "content": target.xml(), **lies})])


def _named(name: bytes, *, flags: int = 0) -> Make:
    return lambda target: forged_zip([Member(name, target.xml(), flags=flags)])


def _archive(**lies: Any) -> Make:
    """An honest entry of a good export under an end record that lies."""
    return lambda target: forged_zip([Member(XML_NAME, target.xml())], **lies)


def _sized(**by: int) -> Make:
    """Sizes that are off by so many bytes."""

    def make(target: Target) -> bytes:
        content = target.xml()
        true = {"file_size": len(content), "compress_size": len(deflated(content))}
        true |= {f"local_{name}": size for name, size in true.items()}
        return forged_zip([Member(XML_NAME, content, **{name: true[name] + more for name, more in by.items()})])  # type: ignore[arg-type]

    return make


def _with(*others: tuple[str, bytes]) -> Make:
    return lambda target: zipped({XML_NAME.decode(): target.xml(), **dict(others)})


def _zip64_hidden(target: Target) -> bytes:
    """The records of a large archive, as far from the end as the longest comment can push them."""
    local_and_directory = forged_zip([Member(XML_NAME, target.xml())])[:-22]
    at = local_and_directory.index(b"PK\x01\x02")
    records = zip64_end(len(local_and_directory) - at, at, end_at=len(local_and_directory))
    # They pass for a part of the directory, so that it reaches to the end record.
    size = len(local_and_directory) - at + len(records)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, size, at, 65_535)
    return local_and_directory + records + end + b"c" * 65_535


def _zip64(target: Target) -> bytes:
    plain = forged_zip([Member(XML_NAME, target.xml())])[:-22]
    at = plain.index(b"PK\x01\x02")
    return plain + zip64_end(len(plain) - at, at, end_at=len(plain)) + (
        b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, _LARGEST_32, _LARGEST_32, 0)
    )  # fmt: skip


def _flipped(offset: int) -> Make:
    """A stored export of which one byte has changed."""

    def make(target: Target) -> bytes:
        archive = bytearray(forged_zip([Member(XML_NAME, target.xml(), method=STORED)]))
        archive[archive.index(b"<PRENOM>") + offset] ^= 0x01
        return bytes(archive)

    return make


def _tar(target: Target) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("ElevesSansAdresses.xml")
        content = target.xml()
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


_LYING: tuple[Row, ...] = (
    ("checksum", "zip_corrupt", _one(crc=0)),
    ("stored-byte-flipped", "zip_corrupt", _flipped(9)),
    ("file-size-one-less", "zip_corrupt", _sized(file_size=-1)),
    ("file-size-one-more", "zip_corrupt", _sized(file_size=1)),
    ("file-size-nothing", "zip_corrupt", _one(file_size=0)),
    ("file-size-four-gigabytes", "expansion_limit", _one(file_size=_LARGEST_32 - 1)),
    ("file-size-of-64-bits", "expansion_limit", _one(file_size=_LARGEST_32, extra=zip64_extra(_LARGEST_64))),
    ("file-size-of-63-bits", "expansion_limit", _one(file_size=_LARGEST_32, extra=zip64_extra(_LARGEST_63))),
    ("packed-size-less", "zip_corrupt", _sized(compress_size=-9)),
    ("packed-size-nothing", "zip_corrupt", _one(compress_size=0)),
    ("packed-size-four-gigabytes", "zip_corrupt", _one(compress_size=_LARGEST_32 - 1)),
    ("packed-size-of-64-bits", "zip_corrupt", _one(compress_size=_LARGEST_32, extra=zip64_extra(_LARGEST_64))),
    ("stored-packed-size-less", "zip_corrupt", _one(method=STORED, compress_size=100)),
    ("stored-file-size-more", "zip_corrupt", _one(method=STORED, file_size=100_000)),
    ("deflated-said-stored", "zip_corrupt", _one(method=STORED, packed=deflated(b"<BEE_ELEVES/>"))),
    ("stored-said-deflated", "zip_corrupt", lambda t: forged_zip([Member(XML_NAME, t.xml(), packed=t.xml())])),
    ("deflated-noise", "zip_corrupt", _one(packed=noise(5_000, 6))),
    ("deflated-nothing", "zip_corrupt", _one(packed=b"")),
    ("deflated-cut", "zip_corrupt", lambda t: forged_zip([Member(XML_NAME, t.xml(), packed=deflated(t.xml())[:-40])])),
    ("offset-of-the-entry-beyond", "zip_corrupt", _one(header_offset=10_000_000)),
    ("offset-of-the-entry-inside", "zip_corrupt", _one(header_offset=7)),
    ("offset-of-the-entry-in-the-directory", "zip_corrupt",
        lambda t: forged_zip([Member(XML_NAME, t.xml(), header_offset=len(forged_zip([Member(XML_NAME, t.xml())])) - 100)])),
    ("offset-of-64-bits", "zip_corrupt", _one(header_offset=_LARGEST_32, extra=zip64_extra(_LARGEST_64))),
    ("offset-of-63-bits", "zip_corrupt", _one(header_offset=_LARGEST_32, extra=zip64_extra(_LARGEST_63))),
    ("offset-missing-in-64-bits", "zip_corrupt", _one(header_offset=_LARGEST_32, extra=zip64_extra())),
    ("directory-offset-beyond", "zip_corrupt", _archive(directory_offset=2**31)),
    ("directory-offset-nought", "zip_corrupt", _archive(directory_offset=0)),
    ("directory-offset-one-more", "zip_corrupt",
        lambda t: forged_zip([Member(XML_NAME, t.xml())],
            directory_offset=forged_zip([Member(XML_NAME, t.xml())]).index(b"PK\x01\x02") + 1)),
    ("directory-size-nought", "zip_corrupt", _archive(directory_size=0)),
    ("directory-size-one-less", "zip_corrupt", _archive(directory_size=46 + len(XML_NAME) - 1)),
    ("directory-size-four-gigabytes", "zip_corrupt", _archive(directory_size=_LARGEST_32)),
    ("directory-missing", "zip_corrupt", lambda t: (x := _one()(t))[: x.index(b"PK\x01\x02")]),
    ("directory-alone", "not_xml_nor_zip", lambda t: (x := _one()(t))[x.index(b"PK\x01\x02") :]),
    ("end-alone-with-entries", "zip_corrupt", lambda _: forged_zip([], entries=1, directory_size=46)),
    ("end-cut", "zip_corrupt", lambda t: _one()(t)[:-1]),
    ("start-alone", "zip_corrupt", lambda _: b"PK\x03\x04"),
    ("start-and-noise", "zip_corrupt", lambda _: b"PK\x03\x04" + noise(50_000, 7)),
    ("entry-signature", "zip_corrupt", _one(local_signature=b"PK\x07\x08")),
    ("entry-named-otherwise", "zip_corrupt", _one(local_name=b"AutreFichier.xml......")),
    ("name-not-utf-8", "zip_corrupt", _named(b"\xff\xfe.xml", flags=UTF_8_NAME)),
    ("extra-field-cut", "zip_corrupt", _one(extra=b"\x01\x00\xff\xff")),
    ("extra-field-of-64-kilobytes", "zip_corrupt", _one(extra=b"\xff\xff\x00\x00" * 16_000, comment=b"c" * 40_000)),
    ("version-of-the-future", "zip_corrupt", _one(version_needed=99)),
    ("records-of-64-bits", "zip_corrupt", _zip64),
    ("records-of-64-bits-behind-a-comment", "zip_corrupt", _zip64_hidden),
    ("locator-of-another-disk", "zip_corrupt", _archive(before_end=zip64_end(46, 0, end_at=0, disks=3))),
    ("two-archives-in-a-row", "zip_corrupt", lambda t: _one()(t) + _one()(t)),
    ("archive-behind-a-first-entry", "zip_corrupt", _archive(prefix=b"PK\x03\x04" + b"\x00" * 26)),
    ("program-before-the-archive", "not_xml_nor_zip", _archive(prefix=b"MZ" + b"\x90" * 500)),
    ("many-entries", "zip_corrupt", lambda _: forged_zip([Member(b"%d.xml" % i, b"x", STORED) for i in range(3_000)])),
    ("many-entries-of-nothing", "zip_several_files",
        lambda _: forged_zip([Member(b"%d" % i, b"", STORED) for i in range(1_900)])),
    ("patched", "zip_corrupt", _one(flags=PATCHED)),
    ("bzip2", "zip_corrupt", _one(method=BZIP2)),
    ("lzma", "zip_corrupt", _one(method=LZMA)),
    ("deflate64", "zip_corrupt", _one(method=DEFLATE64)),
    ("zstandard", "zip_corrupt", _one(method=93)),
    ("unknown-method", "zip_corrupt", _one(method=12345)),
)  # fmt: skip
_LOCKED: tuple[Row, ...] = (
    ("classic", "zip_encrypted", _one(flags=ENCRYPTED, packed=noise(4_000, 8))),
    ("classic-stored", "zip_encrypted", _one(flags=ENCRYPTED, method=STORED)),
    ("aes", "zip_encrypted", _one(flags=ENCRYPTED, method=AES, extra=b"\x01\x99\x07\x00\x02\x00AE\x03\x08\x00")),
    ("aes-unsaid", "zip_encrypted", _one(method=AES, extra=b"\x01\x99\x07\x00\x02\x00AE\x03\x08\x00")),
    ("strong", "zip_encrypted", _one(flags=STRONGLY_ENCRYPTED)),
    ("strong-and-classic", "zip_encrypted", _one(flags=STRONGLY_ENCRYPTED | ENCRYPTED)),
    ("said-only-before-the-bytes", "zip_corrupt", _one(local_flags=ENCRYPTED, packed=noise(4_000, 9))),
    ("in-a-folder", "zip_encrypted", _one(flags=ENCRYPTED, name=b"a/ElevesSansAdresses.xml")),
)  # fmt: skip
_CONTENTS: tuple[Row, ...] = (
    ("nothing", "zip_without_xml", lambda _: zipped({})),
    ("a-folder", "zip_without_xml", lambda _: zipped({"export/": b""})),
    ("an-empty-file", "zip_without_xml", lambda _: zipped({"ElevesSansAdresses.xml": b""})),
    ("by-catch-alone", "zip_without_xml", lambda t: zipped({"__MACOSX/._a.xml": t.xml(), ".DS_Store": b"x"})),
    ("a-hidden-export", "zip_without_xml", lambda t: zipped({".ElevesSansAdresses.xml": t.xml()})),
    ("two-exports", "zip_several_files", _with(("ElevesAvecAdresses.xml", b"<BEE_ELEVES/>"))),
    ("the-same-export-twice", "zip_several_files",
        lambda t: forged_zip([Member(XML_NAME, t.xml()), Member(XML_NAME, t.xml())])),
    ("the-same-bytes-twice", "zip_several_files",
        lambda t: forged_zip([Member(XML_NAME, t.xml()), Member(b"b.xml", b"", packed=b"", header_offset=0)])),
    ("in-two-folders", "zip_several_files", lambda t: zipped({"a/e.xml": t.xml(), "b/e.xml": t.xml()})),
    ("with-a-pdf", "zip_several_files", _with(("Notice.pdf", b"%PDF-1.7"))),
    ("with-a-spreadsheet", "zip_several_files", _with(("eleves.xlsx", b"PK\x03\x04"))),
    ("with-a-program", "zip_several_files", _with(("lisezmoi.exe", b"MZ"))),
    ("with-a-zip", "zip_several_files", _with(("autre.zip", zipped({"a": b"b"})))),
    ("all-exports-of-the-school", "zip_several_files",
        lambda _: zipped({f"{n}.xml": b"<x/>" for n in ("Responsables", "Eleves", "Structures", "Nomenclature", "Commun")})),
    ("a-pdf", "wrong_kind_of_file", lambda _: zipped({"eleves.pdf": b"%PDF-1.7\n" + noise(300, 10)})),
    ("an-old-spreadsheet", "wrong_kind_of_file", lambda _: zipped({"e.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500})),
    ("a-csv", "wrong_kind_of_file", lambda _: zipped({"eleves.csv": b"Nom;Prenom\r\nA;B\r\n"})),
    ("a-web-page", "wrong_kind_of_file", lambda _: zipped({"e.html": b"<!DOCTYPE html><html></html>"})),
    ("the-guardians", "wrong_kind_of_file", lambda _: zipped({"ResponsablesAvecAdresses.xml": b"<BEE_RESPONSABLES/>"})),
    ("a-picture", "wrong_kind_of_file", lambda _: zipped({"scan.png": b"\x89PNG\r\n\x1a\n" + noise(300, 11)})),
    ("a-text", "not_xml_nor_zip", lambda _: zipped({"lisezmoi.txt": b"bonjour"})),
    ("a-tar", "not_xml_nor_zip", lambda t: zipped({"eleves.tar": _tar(t)})),
    ("an-export-cut", "xml_malformed", lambda t: zipped({"e.xml": t.xml()[:-20]})),
    ("an-export-in-utf-16", "encoding_unknown", lambda t: zipped({"e.xml": t.xml(encoding="utf-16")})),
    ("a-link", "zip_unsafe_path", _one(external_attributes=_UNIX_LINK)),
    ("a-link-to-a-file", "zip_unsafe_path",
        lambda _: forged_zip([Member(XML_NAME, b"/etc/passwd", STORED, external_attributes=_UNIX_LINK)])),
    ("a-device", "zip_unsafe_path", _one(external_attributes=_UNIX_DEVICE)),
    ("a-pipe", "zip_unsafe_path", _one(external_attributes=_UNIX_PIPE)),
    ("a-link-among-by-catch", "zip_unsafe_path",
        lambda t: forged_zip([Member(XML_NAME, t.xml()), Member(b".x", b"/", STORED, external_attributes=_UNIX_LINK)])),
)  # fmt: skip


def archives() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("lying-zip", _LYING)
    yield from files("locked-zip", _LOCKED)
    yield from files("zip-of", _CONTENTS)
    yield from files("zip-name", ((name, "zip_unsafe_path", _named(path)) for name, path in _NAMES.items()))
    yield from files(
        "zip-name",
        ((name, "zip_unsafe_path", _named(path.encode(), flags=UTF_8_NAME)) for name, path in _UNICODE_NAMES.items()),
    )
    yield from files("zip-in-zip", ((name, "zip_nested", _nested(inside)) for name, inside in _INSIDE.items()))


def _nested(inside: Callable[[Target], bytes]) -> Make:
    return lambda target: zipped({"ElevesSansAdresses.xml": inside(target)})
