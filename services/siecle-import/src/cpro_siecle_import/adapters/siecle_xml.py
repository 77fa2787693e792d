"""Read the national pupil file as a stream. The only place that knows SIECLE's own tags.

The source is an opened, counted stream, never a path (libxml2 would expand a gzip by itself). Bytes go to a push
parser in chunks; after each chunk what is complete is taken out of the tree and dropped, whatever it is, so that the
memory stays flat for any length, any order of the blocks, and any block that is not known. Only elements below a block
are taken: the last one of an open block may be incomplete and waits for the next chunk.
"""

import codecs
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lxml import etree

from cpro_siecle_import.adapters.encoding import EncodingWatch
from cpro_siecle_import.adapters.packaging import ExportStream
from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.export import ExportHeader
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine, read_pupil
from cpro_siecle_import.domain.refusals import FileRefusedError

Element: TypeAlias = Any  # the stubs of lxml know neither slices of elements nor their line numbers

CHUNK_BYTES = 64 * 1024
LARGEST_ELEMENT_BYTES = 512 * 1024
"""More than this without one complete element below a block: no export has such a thing."""
BATCH_LINES = 2_000
BATCH_BYTES = 4 * 1024 * 1024
"""Of the file: a batch is handed on earlier where its lines are long."""

LEAST_LINE_BYTES, CROWD_LINES = 64, 10_000
"""A pupil with nothing but a key, two names and a birth date takes 90 bytes. So many lines that are shorter on average
are no export: they would cost twenty times as much as its bytes do."""

_ROOT, _PARAMETERS, _CONTENT = "BEE_ELEVES", "PARAMETRES", "DONNEES"
_PUPILS, _PUPIL, _PUPIL_ID, _SCHOOL_NUMBER = "ELEVES", "ELEVE", "ELEVE_ID", "ELENOET"
_STRUCTURES, _STRUCTURES_OF_PUPIL, _STRUCTURE = "STRUCTURES", "STRUCTURES_ELEVE", "STRUCTURE"
_STRUCTURE_CODE, _STRUCTURE_KIND, _DIVISION_KIND = "CODE_STRUCTURE", "TYPE_STRUCTURE", "D"
_NO_CLASS = "inactifs"
_LAST_YEAR, _LAST_YEAR_UAI = "SCOLARITE_AN_DERNIER", "CODE_RNE"
_OTHER_FIRST_NAMES = ("PRENOM2", "PRENOM3")
_NATIONAL_NUMBERS = ("ID_NATIONAL", "INE_RNIE", "INE_BEA")
_FIELDS = {
    "ELEVE_ID": "siecle_id",
    "ELENOET": "school_number",
    "NOM_DE_FAMILLE": "family_name",
    "NOM_USAGE": "usage_name",
    "PRENOM": "first_name",
    "DATE_NAISS": "birth_date",
    "CODE_SEXE": "sex",
    "DATE_ENTREE": "entry_date",
    "DATE_SORTIE": "leaving_date",
    "CODE_MOTIF_SORTIE": "leaving_reason",
    "CODE_MEF": "mef_code",
    "CODE_STATUT": "status_code",
    "CODE_REGIME": "boarding_code",
    "DOUBLEMENT": "repeating",
}
_LEGACY_FAMILY_NAME = "NOM"
_ASIDE = frozenset({*_OTHER_FIRST_NAMES, *_NATIONAL_NUMBERS, _LEGACY_FAMILY_NAME})
_OTHER_KINDS = {
    "BEE_RESPONSABLES": "l'export des responsables (BEE_RESPONSABLES)",
    "BEE_NOMENCLATURES": "l'export des nomenclatures (BEE_NOMENCLATURES)",
    "BEE_STRUCTURES": "l'export des structures (BEE_STRUCTURES)",
    "BEE_COMMUN": "l'export des données communes (BEE_COMMUN)",
    "IMPORT_ELEVES": "un fichier d'import d'élèves vers SIECLE (IMPORT_ELEVES)",
    "html": "une page web",
}
_BAD_ENCODING_ERROR = 81  # libxml2's XML_ERR_INVALID_ENCODING


@dataclass(slots=True)
class Batch:
    """What a stretch of the file says, in its order."""

    pupils: list[PupilLine] = field(default_factory=list)
    divisions: list[DivisionLine] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.pupils) + len(self.divisions)


class SiecleReader:
    """One pass over one file. `batches` gives the lines, and at its end the header is known and everything checked."""

    def __init__(self, stream: ExportStream) -> None:
        self._stream = stream
        self._header: ExportHeader | None = None
        self._batch = Batch()
        self._lines_read = 1
        self._bytes_without_progress = 0
        self.pupils_read = 0
        self.divisions_read = 0

    @property
    def header(self) -> ExportHeader:
        """What the file says of itself. Complete once its parameters have been read, at the latest at the end."""
        return self._header or ExportHeader()

    def batches(self) -> Iterator[Batch]:
        """The lines of the file, a few thousand at a time.

        Raises:
            FileRefusedError: this is no complete, honest pupil file; what was given before must be forgotten.
        """
        head = self._read_head()
        encoding = EncodingWatch(head)
        _refuse_other_kinds(head)
        root: Element | None = None
        parser = _parser()
        chunk, before, batch_bytes = head, b"", 0
        while chunk:
            _refuse_declarations(before[-16:] + chunk)
            encoding.feed(chunk)
            self._feed(parser, chunk, encoding)
            # All of them are taken each time: the parser keeps those that are not, with their elements.
            started = [element for _, element in parser.read_events()]
            root = started[0] if root is None and started else root
            if root is not None:
                self._note_progress(self._harvest(root, complete=False), len(chunk))
            before = chunk
            self._lines_read += chunk.count(b"\n")
            chunk = self._stream.read(CHUNK_BYTES)
            batch_bytes += len(chunk)
            self._refuse_crowd()
            if len(self._batch) >= BATCH_LINES or batch_bytes >= BATCH_BYTES:
                batch_bytes = 0
                yield self._take_batch()
        root = self._close(parser, encoding)
        encoding.verdict()
        self._harvest(root, complete=True)
        self._refuse_emptiness()
        yield self._take_batch()

    def _read_head(self) -> bytes:
        """Enough to know what kind of file this is."""
        head = b""
        while len(head) < CHUNK_BYTES and (chunk := self._stream.read(CHUNK_BYTES - len(head))):
            head += chunk
        if not head.strip(b"\x00 \t\r\n"):
            raise FileRefusedError(refusals.EMPTY_FILE)
        return head

    def _feed(self, parser: etree.XMLPullParser, chunk: bytes, encoding: EncodingWatch) -> None:
        try:
            parser.feed(chunk)
        except etree.XMLSyntaxError as error:
            raise self._unreadable(error, encoding) from error

    def _close(self, parser: etree.XMLPullParser, encoding: EncodingWatch) -> Element:
        try:
            return parser.close()
        except etree.XMLSyntaxError as error:
            raise self._unreadable(error, encoding) from error

    def _unreadable(self, error: etree.XMLSyntaxError, encoding: EncodingWatch) -> FileRefusedError:
        if _code_of(error) == _BAD_ENCODING_ERROR:
            return encoding.undecodable()
        return FileRefusedError(refusals.XML_MALFORMED, line=error.lineno or self._lines_read)

    def _note_progress(self, taken: int, fed_bytes: int) -> None:
        self._bytes_without_progress = 0 if taken else self._bytes_without_progress + fed_bytes
        if self._bytes_without_progress > LARGEST_ELEMENT_BYTES:
            raise FileRefusedError(refusals.XML_OVERSIZED, line=self._lines_read)

    def _refuse_crowd(self) -> None:
        lines = self.pupils_read + self.divisions_read
        if lines > CROWD_LINES and self._stream.bytes_read < lines * LEAST_LINE_BYTES:
            raise FileRefusedError(refusals.XML_OVERSIZED, line=self._lines_read)

    def _harvest(self, root: Element, *, complete: bool) -> int:
        """Take what is complete out of the tree. Returns how many elements."""
        taken = 0
        parts = list(root)
        for part in parts:
            part_open = not complete and part is parts[-1]
            if part.tag == _PARAMETERS:
                if not part_open:
                    self._take_header(part)
            else:
                taken += self._harvest_part(part, part_open=part_open)
            if not part_open:
                root.remove(part)
                taken += 1
        return taken

    def _harvest_part(self, part: Element, *, part_open: bool) -> int:
        taken = 0
        blocks = list(part)
        known = part.tag == _CONTENT
        for block in blocks:
            block_open = part_open and block is blocks[-1]
            records = block[:-1] if block_open else block[:]
            if known and block.tag == _PUPILS:
                self._take_pupils(records)
            elif known and block.tag == _STRUCTURES:
                self._take_structures(records)
            del block[: len(records)]
            taken += len(records)
            if not block_open:
                part.remove(block)
                taken += 1
        return taken

    def _take_header(self, parameters: Element) -> None:
        if self._header is not None:
            raise FileRefusedError(refusals.XML_MALFORMED, line=parameters.sourceline)
        found = {child.tag: _clean(child.text) for child in parameters}
        self._header = ExportHeader(
            uai=found.get("UAJ"),
            school_year=found.get("ANNEE_SCOLAIRE"),
            export_date=found.get("DATE_EXPORT"),
            timestamp=found.get("HORODATAGE"),
        )

    def _take_pupils(self, elements: list[Element]) -> None:
        lines = [_pupil(element) for element in elements if element.tag == _PUPIL]
        self._batch.pupils += lines
        self.pupils_read += len(lines)

    def _take_structures(self, elements: list[Element]) -> None:
        lines = [_divisions(element) for element in elements if element.tag == _STRUCTURES_OF_PUPIL]
        self._batch.divisions += lines
        self.divisions_read += len(lines)

    def _take_batch(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        return batch

    def _refuse_emptiness(self) -> None:
        if not self.pupils_read:
            raise FileRefusedError(refusals.NO_PUPIL)
        if not self.divisions_read:
            raise FileRefusedError(refusals.NO_STRUCTURES)


def _parser() -> etree.XMLPullParser:
    return etree.XMLPullParser(
        events=("start",),
        tag=_ROOT,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )


def _refuse_other_kinds(head: bytes) -> None:
    """Look at the root before anything is kept of the file."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text.startswith(b"<"):
        if _looks_like_csv(text):
            raise FileRefusedError(refusals.WRONG_KIND, kind="un fichier de texte ou CSV")
        raise FileRefusedError(refusals.NOT_XML_NOR_ZIP)
    if text[:14].lower() == b"<!doctype html" or text[:5].lower() == b"<html":
        raise FileRefusedError(refusals.WRONG_KIND, kind=_OTHER_KINDS["html"])
    _refuse_declarations(head)
    scout = etree.XMLPullParser(events=("start",), resolve_entities=False, no_network=True)
    try:
        scout.feed(head)
    except etree.XMLSyntaxError as error:
        root = _first_element(scout)
        if root is None:
            raise _headless(head, error) from error
    else:
        root = _first_element(scout)
    if root is None:
        raise FileRefusedError(refusals.XML_MALFORMED, line=1)
    if root.tag != _ROOT:
        name = str(root.tag)[:60]
        kind = _OTHER_KINDS.get(name, f"un fichier XML d'un autre type (« {name} »)")
        raise FileRefusedError(refusals.WRONG_KIND, kind=kind)


def _headless(head: bytes, error: etree.XMLSyntaxError) -> FileRefusedError:
    if _code_of(error) == _BAD_ENCODING_ERROR:
        return EncodingWatch(head).undecodable()
    return FileRefusedError(refusals.XML_MALFORMED, line=error.lineno or 1)


def _first_element(parser: etree.XMLPullParser) -> Element | None:
    found: Element = next((element for _, element in parser.read_events()), None)
    return found


def _code_of(error: etree.XMLSyntaxError) -> int:
    return int(getattr(error, "code", 0))


def _refuse_declarations(chunk: bytes) -> None:
    """No export has them, and everything dangerous in XML begins with one of them."""
    if b"<!DOCTYPE" in chunk or b"<!ENTITY" in chunk:
        raise FileRefusedError(refusals.DOCTYPE_FORBIDDEN)


def _looks_like_csv(text: bytes) -> bool:
    first_line = text[:4096].split(b"\n", 1)[0]
    return b"\x00" not in text and any(mark in first_line for mark in (b";", b",", b"\t"))


def _pupil(element: Element) -> PupilLine:
    fields: dict[str, str] = {}
    aside: dict[str, str] = {}
    for child in element:
        tag = child.tag
        name = _FIELDS.get(tag)
        if name is not None:
            text = _clean(child.text)
            if text is not None:
                fields[name] = text
        elif tag in _ASIDE:
            text = _clean(child.text)
            if text is not None:
                aside[tag] = text
        elif tag == _LAST_YEAR:
            text = _clean(child.findtext(_LAST_YEAR_UAI))
            if text is not None:
                fields["previous_uai"] = text
    _take_attributes(element, fields)
    if aside:
        if "family_name" not in fields and _LEGACY_FAMILY_NAME in aside:
            fields["family_name"] = aside[_LEGACY_FAMILY_NAME]
        others = [aside[name] for name in _OTHER_FIRST_NAMES if name in aside]
        if others:
            fields["other_first_names"] = " ".join(others)
    numbers = tuple(aside[name] for name in _NATIONAL_NUMBERS if name in aside)
    return read_pupil(element.sourceline or 0, fields, numbers)


def _take_attributes(element: Element, fields: dict[str, str]) -> None:
    """Attribute and child may differ: the attribute wins."""
    siecle_id, school_number = _clean(element.get(_PUPIL_ID)), _clean(element.get(_SCHOOL_NUMBER))
    if siecle_id is not None:
        fields["siecle_id"] = siecle_id
    if school_number is not None:
        fields["school_number"] = school_number


def _divisions(element: Element) -> DivisionLine:
    found: dict[str, None] = {}
    for structure in element:
        if structure.tag == _STRUCTURE and _clean(structure.findtext(_STRUCTURE_KIND)) == _DIVISION_KIND:
            code = _clean(structure.findtext(_STRUCTURE_CODE))
            if code is not None and code.lower() != _NO_CLASS:
                found[code] = None
    siecle_id = _clean(element.get(_PUPIL_ID)) or _clean(element.findtext(_PUPIL_ID))
    return DivisionLine(element.sourceline or 0, siecle_id, tuple(found))


def _clean(text: str | None) -> str | None:
    """The text without the blanks around it and doubled inside it, or None where nothing is left."""
    if text is None:
        return None
    text = text.strip()
    if not text:
        return None
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if "  " in text or "\n" in text or "\t" in text or "\r" in text:
        text = " ".join(text.split())
    return text
