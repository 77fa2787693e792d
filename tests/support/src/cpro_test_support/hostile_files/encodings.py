"""Bytes in another encoding than the header says, and headers that say what no export says."""

import codecs
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cpro_test_support.hostile_files.hostile_file import HostileFile, Make, Row, Target, files, swapped

_ACCENTS = "BŒUF-ÉLAN"
_WIDE = {
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32": "UTF-32",
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
}
_DECLARED = (
    "windows-1252", "cp1252", "IBM850", "cp437", "macintosh", "ISO-8859-2", "ISO-8859-9", "ISO-8859-16", "UTF-7",
    "UTF-16", "UTF-32", "UCS-2", "UCS-4", "EBCDIC-CP-FR", "IBM037", "Shift_JIS", "GB18030", "Big5", "HZ-GB-2312",
    "ISO-2022-JP", "koi8-r", "punycode", "idna", "rot13", "hex", "zlib", "base64", "unicode_escape", "raw_unicode_escape",
    "utf-8-sig", "mbcs", "undefined", "français", "latin-9", "../../../etc/passwd", "x" * 40,
)  # fmt: skip


def _accented(**options: Any) -> Make:
    def make(target: Target) -> bytes:
        first, *others = target.pupils
        return target.xml(pupils=[replace(first, family_name=_ACCENTS), *others], **options)

    return make


def _declaring(name: bytes) -> Make:
    return lambda target: swapped(target.xml(), b"ISO-8859-15", name)


def _transcoded(encoding: str) -> Make:
    """All of the file in an encoding that the header is silent about."""
    return lambda target: target.xml(encoding="UTF-8", declared_encoding=None).decode().encode(encoding, "replace")


def _twice(target: Target) -> bytes:
    return swapped(target.xml(), b'encoding="ISO-8859-15"', b'encoding="ISO-8859-15" encoding="UTF-8"')


def _half(target: Target) -> bytes:
    """What two programs make of one file: the first half in UTF-8, the second not."""
    text = _accented(encoding="UTF-8")(target).decode()
    at = len(text) // 2
    return text[:at].encode() + ("É" + text[at:]).encode("iso8859-15", "replace")


_ROWS: tuple[Row, ...] = (
    ("utf-8-under-8859-15", "encoding_mismatch", _accented(encoding="UTF-8", declared_encoding="ISO-8859-15")),
    ("utf-8-under-8859-1", "encoding_mismatch", _accented(encoding="UTF-8", declared_encoding="ISO-8859-1")),
    ("windows-under-8859-15", "encoding_mismatch", _accented(encoding="cp1252", declared_encoding="ISO-8859-15")),
    ("windows-under-8859-1", "encoding_mismatch", _accented(encoding="cp1252", declared_encoding="ISO-8859-1")),
    ("dos-under-8859-15", "encoding_mismatch", _accented(encoding="cp850", declared_encoding="ISO-8859-15")),
    ("macintosh-under-8859-15", "encoding_mismatch", _accented(encoding="mac_roman", declared_encoding="ISO-8859-15")),
    ("latin-under-utf-8", "encoding_mismatch", _accented(encoding="ISO-8859-15", declared_encoding="UTF-8")),
    ("windows-under-utf-8", "encoding_mismatch", _accented(encoding="cp1252", declared_encoding="UTF-8")),
    ("latin-under-ascii", "encoding_mismatch", _accented(encoding="ISO-8859-15", declared_encoding="US-ASCII")),
    ("latin-undeclared", "encoding_mismatch", _accented(encoding="ISO-8859-15", declared_encoding=None)),
    ("windows-undeclared", "encoding_mismatch", _accented(encoding="cp1252", declared_encoding=None)),
    ("half-and-half", "encoding_mismatch", _half),
    ("mark-over-8859-15", "encoding_mismatch", lambda t: codecs.BOM_UTF8 + t.xml()),
    ("mark-over-utf-8-saying-8859-15", "encoding_mismatch",
        _accented(encoding="UTF-8", declared_encoding="ISO-8859-15", byte_order_mark=True)),
    ("mark-twice", "not_xml_nor_zip", lambda t: codecs.BOM_UTF8 + t.xml(encoding="UTF-8", byte_order_mark=True)),
    ("wide-mark-over-narrow-bytes", "encoding_unknown", lambda t: codecs.BOM_UTF16_LE + t.xml()),
    ("wide-mark-alone", "encoding_unknown", lambda _: codecs.BOM_UTF16_LE),
    ("narrow-mark-alone", "not_xml_nor_zip", lambda _: codecs.BOM_UTF8),
    ("declared-twice", "xml_malformed", _twice),
    ("declared-empty", "xml_malformed", _declaring(b"")),
    ("declared-nul", "encoding_unknown", _declaring(b"ISO-8859-15\x00UTF-16")),
    ("declared-control-characters", "encoding_unknown", _declaring(b"\x1b[31m\r\n\x08")),
    ("declared-braces", "encoding_unknown", _declaring(b"{0.__class__}{declared}")),
    ("declared-nearly-utf-8", "xml_malformed", _declaring(b"UTF 8!")),
    ("declared-endless", "xml_malformed", _declaring(b"x" * 5_000)),
    ("declared-with-blanks", "encoding_unknown", _declaring(b" UTF-16 ")),
    ("declared-before-version", "xml_malformed",
        lambda t: swapped(t.xml(), b'version="1.0" encoding="ISO-8859-15"', b'encoding="UTF-8" version="1.0"')),
    ("quoted-printable", "xml_malformed", lambda t: t.xml().replace(b"=", b"=3D")),
    ("escaped-twice", "wrong_kind_of_file", lambda t: t.xml().replace(b"<", b"&lt;").replace(b">", b"&gt;")),
    ("mangled-accents", "encoding_mismatch",
        lambda t: _accented(encoding="UTF-8", declared_encoding="ISO-8859-15")(t).replace(b"\xc2", b"\xc3\x82")),
    ("ebcdic", "not_xml_nor_zip", _transcoded("cp500")),
    ("ebcdic-french", "not_xml_nor_zip", _transcoded("cp1140")),
)  # fmt: skip


def encodings() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("encoding", _ROWS)
    for codec, name in _WIDE.items():
        said = _accented(encoding=codec, declared_encoding=name)
        yield from files("encoding", [(f"{codec}-said", "encoding_unknown", said)])
        yield from files("encoding", [(f"{codec}-unsaid", "encoding_unknown", _transcoded(codec))])
    yield from files(
        "encoding",
        (
            (f"declared-{name[:24].replace('/', '_')}", "encoding_unknown", _declaring(name.encode()))
            for name in _DECLARED
        ),
    )
