"""What the file comes in: what schools pack again or name wrongly, and what is no pupil file at all."""

import gzip
import zipfile

from cpro_test_support.siecle_samples.files import DEFAULT_BLOCKS, XML_NAME, SampleFile, zipped
from cpro_test_support.siecle_samples.variations.deforming import sets
from cpro_test_support.siecle_samples.variations.expected import Variation, of_file, refused

_EXCEL = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


def _bare(file: SampleFile, _: int) -> None:
    file.packing, file.name = bytes, XML_NAME


def _holding(content: bytes, name: str = XML_NAME) -> dict[str, object]:
    return {"packing": lambda _: content, "name": name}


def _encrypted(xml: bytes) -> bytes:
    """A zip whose directory says that it wants a password."""
    archive = bytearray(zipped({XML_NAME: xml}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.index(signature) + offset] |= 0x01
    return bytes(archive)


def _damaged(xml: bytes) -> bytes:
    """A zip with one bit of the file turned over."""
    archive = bytearray(zipped({XML_NAME: xml}, compression=zipfile.ZIP_STORED))
    archive[archive.index(b"NOM_DE_FAMILLE>") + 20] ^= 0x01
    return bytes(archive)


def _expanding(_: bytes) -> bytes:
    """Thirty megabytes of nothing in thirty kilobytes."""
    blank = b"<X>" + b" " * 60_000 + b"</X>"
    return zipped({XML_NAME: b"<BEE_ELEVES><DONNEES><VIDE>" + blank * 500 + b"</VIDE></DONNEES></BEE_ELEVES>"})


PACKAGING: tuple[Variation, ...] = (
    of_file("bare-xml", "the XML itself, not zipped", _bare),
    of_file("xml-named-zip", "the XML itself, called .zip", sets(packing=bytes)),
    of_file("zip-named-xml", "a zip called .xml", sets(name=XML_NAME)),
    of_file("zip-stored", "a zip without compression",
        sets(packing=lambda xml: zipped({XML_NAME: xml}, compression=zipfile.ZIP_STORED))),
    of_file("zip-with-folder", "a zip made again, with a sub-folder",
        sets(packing=lambda xml: zipped({"export siecle/": b"", f"export siecle/{XML_NAME}": xml}))),
    of_file("zip-with-macos-remains", "a zip made again on a Mac",
        sets(packing=lambda xml: zipped({XML_NAME: xml, f"__MACOSX/._{XML_NAME}": b"\0\5\26\7", ".DS_Store": b"x"}))),
    of_file("zip-with-dot-files", "a zip made again with the system's files",
        sets(packing=lambda xml: zipped({".cache/.index": b"x", "Thumbs.db": b"x", "desktop.ini": b"", XML_NAME: xml}))),
    of_file("with-addresses", "the file with addresses",
        sets(blocks=(*DEFAULT_BLOCKS, "ADRESSES"), xml_name="ElevesAvecAdresses.xml",
            name="ExportXML_ElevesAvecAdresses.zip")),
    refused("zip-with-two-files", "a zip with the two exports in it", "zip_several_files",
        sets(packing=lambda xml: zipped({XML_NAME: xml, "ElevesAvecAdresses.xml": xml})), told=("2 fichiers",)),
    refused("zip-in-zip", "a zip in a zip", "zip_nested",
        sets(packing=lambda xml: zipped({"ExportXML.zip": zipped({XML_NAME: xml})}))),
    refused("zip-with-password", "a zip that asks for a password", "zip_encrypted", sets(packing=_encrypted)),
    refused("zip-truncated", "a zip whose download broke off", "zip_corrupt",
        sets(packing=lambda xml: zipped({XML_NAME: xml})[:-30])),
    refused("zip-damaged", "a zip with a bit turned over", "zip_corrupt", sets(packing=_damaged)),
    refused("zip-empty", "a zip without any file", "zip_without_xml", sets(packing=lambda _: zipped({}))),
    refused("zip-unsafe-path", "a zip whose path leads out of its folder", "zip_unsafe_path",
        sets(packing=lambda xml: zipped({f"../{XML_NAME}": xml}))),
    refused("zip-bomb", "a zip that grows a thousand times", "expansion_limit", sets(packing=_expanding)),
    refused("blank-file", "nothing but blanks", "empty_file", sets(**_holding(b" \r\n \r\n"))),
    refused("text-file", "a text", "not_xml_nor_zip", sets(**_holding("Le fichier des élèves est en pièce jointe.".encode()))),
    refused("csv-file", "a table as text", "wrong_kind_of_file",
        sets(**_holding(b"Nom;Prenom;Classe\r\nABELARD;Lou;2 A\r\n", "eleves.csv")), told=("CSV",)),
    refused("spreadsheet", "an old spreadsheet", "wrong_kind_of_file",
        sets(**_holding(_EXCEL, "eleves.xls")), told=("classeur",)),
    refused("new-spreadsheet", "a spreadsheet", "wrong_kind_of_file",
        sets(**_holding(zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<w/>"}), "eleves.xlsx")),
        told=("classeur",)),
    refused("pdf-file", "a list as PDF", "wrong_kind_of_file",
        sets(**_holding(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "liste.pdf")), told=("PDF",)),
    refused("gzip-file", "the XML in another kind of archive", "wrong_kind_of_file",
        sets(packing=lambda xml: gzip.compress(xml, mtime=0), name=f"{XML_NAME}.gz"), told=("gzip",)),
    refused("web-page", "the page of the portal, saved", "wrong_kind_of_file",
        sets(**_holding(b"<!DOCTYPE html>\n<html><body>Portail</body></html>", "portail.html")), told=("page web",)),
    *(
        refused(f"{what}-export", f"the export of {what}", "wrong_kind_of_file",
            sets(**_holding(f"<{root} VERSION='2.1'><PARAMETRES/></{root}>".encode())), told=(root,))
        for what, root in {
            "guardians": "BEE_RESPONSABLES", "nomenclatures": "BEE_NOMENCLATURES", "structures": "BEE_STRUCTURES",
            "common": "BEE_COMMUN", "import": "IMPORT_ELEVES", "unknown": "AUTRE_EXPORT",
        }.items()
    ),
)  # fmt: skip
