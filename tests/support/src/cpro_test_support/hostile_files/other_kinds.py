"""What a hurried hand uploads instead of the export."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator

from cpro_test_support.hostile_files.hostile_file import HostileFile, Row, Target, files, literally, noise
from cpro_test_support.siecle_samples import zipped

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 1_000
_TABLE = [["Nom", "Prénom", "Né le"], ["BŒUF", "Éloïse", "01/02/2009"], ["LE GUILLOUX", "Noé", "03/04/2009"]]
_OTHER_ROOTS = {
    "guardians": "BEE_RESPONSABLES", "nomenclatures": "BEE_NOMENCLATURES", "structures": "BEE_STRUCTURES",
    "shared-data": "BEE_COMMUN", "import-of-pupils": "IMPORT_ELEVES", "siecle-without-bee": "ELEVES",
    "root-in-lower-case": "bee_eleves", "root-nearly": "BEE_ELEVES_", "root-with-accent": "BEE_ÉLÈVES", "feed": "rss",
    "drawing": "svg", "message": "Envelope", "calendar-of-classes": "EMPLOI_DU_TEMPS", "timetable-program": "STS_EDT",
    "school-life-program": "lsun-bilans",
}  # fmt: skip


def _csv(separator: str, encoding: str, *, mark: bytes = b"", end: str = "\r\n") -> bytes:
    return mark + "".join(separator.join(row) + end for row in _TABLE).encode(encoding, "replace")


def _tar(target: Target) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        content = target.xml()
        entry = tarfile.TarInfo("ElevesSansAdresses.xml")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _office(kind: str, *others: str) -> bytes:
    return zipped({"[Content_Types].xml": b"<Types/>", f"{kind}.xml": b"<x/>", **dict.fromkeys(others, b"<x/>")})


def _open_document(kind: str) -> bytes:
    return zipped({"mimetype": f"application/vnd.oasis.opendocument.{kind}".encode(), "content.xml": b"<x/>"})


def _spreadsheet_in_xml(_: Target) -> bytes:
    return (
        b'<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n'
        b'<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"><Worksheet/></Workbook>'
    )


def _styled(target: Target) -> bytes:
    """A style sheet that would make an export of it: nobody may run it."""
    return b'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="http://127.0.0.1:9/x.xsl"?><autre/>'


def _transformation(target: Target) -> bytes:
    return (
        b'<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/">'
        b"<BEE_ELEVES/></xsl:template></xsl:stylesheet>"
    )


def _seen_in_a_browser(target: Target) -> bytes:
    """The tree that an old browser shows, copied: with a hyphen before each element that can be folded."""
    return target.xml().split(b"?>\n", 1)[1].replace(b"<ELEVE ", b"- <ELEVE ").replace(b"<BEE_", b"- <BEE_", 1)


_ROWS: tuple[Row, ...] = (
    ("nothing", "empty_file", lambda _: b""),
    ("one-blank", "empty_file", lambda _: b" "),
    ("line-ends", "empty_file", lambda _: b"\r\n" * 40),
    ("csv-with-semicolons", "wrong_kind_of_file", lambda _: _csv(";", "cp1252")),
    ("csv-with-commas", "wrong_kind_of_file", lambda _: _csv(",", "utf-8")),
    ("csv-with-tabs", "wrong_kind_of_file", lambda _: _csv("\t", "iso8859-15")),
    ("csv-marked", "wrong_kind_of_file", lambda _: _csv(";", "utf-8", mark=b"\xef\xbb\xbf")),
    ("csv-of-unix", "wrong_kind_of_file", lambda _: _csv(";", "utf-8", end="\n")),
    ("csv-of-old-macintosh", "wrong_kind_of_file", lambda _: _csv(";", "mac_roman", end="\r")),
    ("csv-saying-its-separator", "wrong_kind_of_file", lambda _: b"sep=;\r\n" + _csv(";", "cp1252")),
    ("csv-with-bars", "not_xml_nor_zip", lambda _: _csv("|", "utf-8")),
    ("csv-in-utf-16", "encoding_unknown", lambda _: _csv("\t", "utf-16")),
    ("csv-in-utf-16-unmarked", "not_xml_nor_zip", lambda _: _csv("\t", "utf-16-le")),
    ("csv-of-two-megabytes", "wrong_kind_of_file", lambda _: _csv(";", "cp1252") * 25_000),
    ("spreadsheet", "wrong_kind_of_file", lambda _: _office("xl/workbook", "xl/worksheets/sheet1.xml")),
    ("spreadsheet-with-macros", "wrong_kind_of_file", lambda _: _office("xl/workbook", "xl/vbaProject.bin")),
    ("document", "wrong_kind_of_file", lambda _: _office("word/document")),
    ("open-spreadsheet", "wrong_kind_of_file", lambda _: _open_document("spreadsheet")),
    ("open-document", "wrong_kind_of_file", lambda _: _open_document("text")),
    ("old-spreadsheet", "wrong_kind_of_file", lambda _: _OLE + b"Workbook"),
    ("old-document", "wrong_kind_of_file", lambda _: _OLE + b"WordDocument"),
    ("locked-spreadsheet", "wrong_kind_of_file", lambda _: _OLE + b"E\0n\0c\0r\0y\0p\0t\0e\0d\0"),
    ("spreadsheet-in-xml", "wrong_kind_of_file", _spreadsheet_in_xml),
    ("spreadsheet-in-html", "wrong_kind_of_file", lambda _: b"<html><table><tr><td>Nom</td></tr></table></html>"),
    ("pdf", "wrong_kind_of_file", lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + noise(500, 20)),
    ("rich-text", "wrong_kind_of_file", lambda _: rb"{\rtf1\ansi BEE_ELEVES}"),
    ("png", "wrong_kind_of_file", lambda _: b"\x89PNG\r\n\x1a\n" + noise(500, 21)),
    ("jpeg", "wrong_kind_of_file", lambda _: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + noise(500, 22)),
    ("gif", "wrong_kind_of_file", lambda _: b"GIF89a" + noise(500, 23)),
    ("gzip", "wrong_kind_of_file", lambda t: gzip.compress(t.xml(), mtime=0)),
    ("gzip-of-a-gigabyte", "wrong_kind_of_file", lambda _: gzip.compress(b"\0" * 1_000_000, mtime=0) * 1_000),
    ("bzip2", "wrong_kind_of_file", lambda t: bz2.compress(t.xml())),
    ("xz", "wrong_kind_of_file", lambda t: lzma.compress(t.xml())),
    ("7z", "wrong_kind_of_file", lambda _: b"7z\xbc\xaf\x27\x1c\x00\x04" + noise(500, 24)),
    ("rar", "wrong_kind_of_file", lambda _: b"Rar!\x1a\x07\x01\x00" + noise(500, 25)),
    ("tar", "not_xml_nor_zip", _tar),
    ("html", "wrong_kind_of_file", lambda _: b"<!DOCTYPE html>\n<html><body>Session expir\xe9e</body></html>"),
    ("html-in-capitals", "wrong_kind_of_file", lambda _: b"<HTML><BODY>Erreur</BODY></HTML>"),
    ("html-after-blanks", "wrong_kind_of_file", lambda _: b"\r\n\r\n <!doctype HTML><html>"),
    ("html-strict", "doctype_forbidden", lambda _: b'<?xml version="1.0"?><!DOCTYPE html><html/>'),
    ("json", "wrong_kind_of_file", lambda _: b'{"eleves": [{"nom": "A", "prenom": "B"}]}'),
    ("json-in-lines", "not_xml_nor_zip", lambda _: b'{\n"eleves":\n[]\n}'),
    ("text", "not_xml_nor_zip", lambda _: "Voici le fichier demandé".encode()),
    ("letter", "wrong_kind_of_file", lambda _: b"Bonjour,\nvoici le fichier"),
    ("mail", "not_xml_nor_zip", lambda _: b"Return-Path: <secretariat@example.org>\r\nSubject: export\r\n\r\n<BEE_ELEVES/>"),
    ("base64", "not_xml_nor_zip", lambda _: b"UEsDBBQAAAAIAAAAIQAAAAAA" * 40),
    ("shortcut", "not_xml_nor_zip", lambda _: b"L\x00\x00\x00\x01\x14\x02\x00" + noise(300, 26)),
    ("address", "not_xml_nor_zip", lambda _: b"[InternetShortcut]\r\nURL=http://example.org/\r\n"),
    ("program", "not_xml_nor_zip", lambda _: b"MZ\x90\x00\x03\x00\x00\x00" + noise(500, 27)),
    ("database", "not_xml_nor_zip", lambda _: b"SQLite format 3\x00" + noise(500, 28)),
    ("script", "not_xml_nor_zip", lambda _: b"#!/bin/sh\nexit 0\n"),
    ("noise", "not_xml_nor_zip", lambda _: b"\x00\x9f" + noise(100_000, 29)),
    ("style-sheet-asked-for", "wrong_kind_of_file", _styled),
    ("transformation", "wrong_kind_of_file", _transformation),
    ("seen-in-a-browser", "not_xml_nor_zip", _seen_in_a_browser),
    ("export-in-an-envelope", "wrong_kind_of_file", lambda t: b"<enveloppe>" + t.xml().split(b"?>\n", 1)[1] + b"</enveloppe>"),
    ("root-of-60-kilobytes", "xml_malformed|wrong_kind_of_file", lambda _: b"<" + b"x" * 60_000 + b"/>"),
)  # fmt: skip


def other_kinds() -> Iterator[HostileFile]:
    """See the module."""
    yield from files("kind", _ROWS)
    yield from files(
        "kind",
        (
            (name, "wrong_kind_of_file", literally(f'<?xml version="1.0"?><{root}><A/></{root}>'.encode()))
            for name, root in _OTHER_ROOTS.items()
        ),
    )
