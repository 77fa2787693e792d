"""Read the national pupil file as a stream. The only place that knows SIECLE's own tags.

The source is an opened, counted stream, never a path (libxml2 would expand a gzip by itself). `xml_records` cuts it
into records without a tree of it; here is what the records mean. Memory is flat for any length, any order of the
blocks, and any block that is not known. A record as exporters write it (each field a plain tag with its text) is read
straight from its text; whatever else XML allows in it is read from a small tree of that one record, to the same result.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from cpro_siecle_import.adapters.encoding import EncodingWatch
from cpro_siecle_import.adapters.packaging import ExportStream
from cpro_siecle_import.adapters.xml_records import (
    Element,
    MalformedXmlError,
    PlainMarkup,
    Record,
    RecordCutter,
    WellFormedText,
    leaves,
    parse,
    unescaped,
)
from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.export import ExportHeader
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine, read_pupil
from cpro_siecle_import.domain.refusals import FileRefusedError

HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 256 * 1024
"""Long enough for the thread that judges to get its turn while the other one reads."""
LARGEST_ELEMENT_BYTES = 512 * 1024
"""More than this (in characters of the text) without the end of an element: no export has such a thing."""
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
_LEGACY_FAMILY_NAME = "NOM"
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
    # These are put together with others, and keep their tags until then.
    **{tag: tag for tag in (*_OTHER_FIRST_NAMES, *_NATIONAL_NUMBERS, _LEGACY_FAMILY_NAME)},
}
_PLAIN_OPENING = re.compile(rf'<{_PUPIL} {_PUPIL_ID}="([^"]*)"(?: {_SCHOOL_NUMBER}="([^"]*)")?>')
_PLAIN_PLACING = re.compile(rf'<{_STRUCTURES_OF_PUPIL} {_PUPIL_ID}="([^"]*)"(?: {_SCHOOL_NUMBER}="[^"]*")?>')
_MOST_NESTED = 8
_PLAIN_STRUCTURE = re.compile(
    rf"<{_STRUCTURE}>\s*<{_STRUCTURE_CODE}>([^<]*)</{_STRUCTURE_CODE}>\s*"
    rf"<{_STRUCTURE_KIND}>([^<]*)</{_STRUCTURE_KIND}>\s*</{_STRUCTURE}>"
)
_OTHER_KINDS = {
    "BEE_RESPONSABLES": "l'export des responsables (BEE_RESPONSABLES)",
    "BEE_NOMENCLATURES": "l'export des nomenclatures (BEE_NOMENCLATURES)",
    "BEE_STRUCTURES": "l'export des structures (BEE_STRUCTURES)",
    "BEE_COMMUN": "l'export des données communes (BEE_COMMUN)",
    "IMPORT_ELEVES": "un fichier d'import d'élèves vers SIECLE (IMPORT_ELEVES)",
    "html": "une page web",
}
# libxml2's XML_ERR_INVALID_ENCODING and XML_ERR_RESOURCE_LIMIT
_BAD_ENCODING_ERROR = 81
_RESOURCE_LIMIT_ERROR = 114


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
        self._readers: Mapping[tuple[str, ...], Callable[[list[Record]], None]] = {
            (_PARAMETERS,): self._take_header,
            (_CONTENT, _PUPILS, _PUPIL): self._take_pupils,
            (_CONTENT, _STRUCTURES, _STRUCTURES_OF_PUPIL): self._take_divisions,
        }
        self._pupils = _Pupils()
        self._markup = PlainMarkup()
        self._cutter = RecordCutter(self._readers, LARGEST_ELEMENT_BYTES, _oversized)
        self._lines_passed = 1
        self._without_progress = 0
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
        handed_on = 0
        texts = iter(WellFormedText(self._watched(head, encoding), encoding.name))
        try:
            for text in texts:
                self._read(text, texts)
                if len(self._batch) >= BATCH_LINES or self._stream.bytes_read - handed_on >= BATCH_BYTES:
                    handed_on = self._stream.bytes_read
                    yield self._take_batch()
        except MalformedXmlError as error:
            raise _unreadable(error.code, error.line, encoding) from error
        encoding.verdict()
        self._refuse_emptiness()
        yield self._take_batch()

    def _read_head(self) -> bytes:
        """Enough to know what kind of file this is."""
        head = b""
        while len(head) < HEAD_BYTES and (chunk := self._stream.read(HEAD_BYTES - len(head))):
            head += chunk
        if not head.strip(b"\x00 \t\r\n"):
            raise FileRefusedError(refusals.EMPTY_FILE)
        return head

    def _watched(self, head: bytes, encoding: EncodingWatch) -> Iterator[bytes]:
        chunk, before = head, b""
        while chunk:
            _refuse_declarations(before[-16:] + chunk)
            encoding.feed(chunk)
            yield chunk
            before = chunk
            chunk = self._stream.read(CHUNK_BYTES)

    def _read(self, text: str, following: Iterator[str]) -> None:
        try:
            plain = self._markup.feed(text)
            self._note_progress(plain, text)
            for stretch in self._cutter.feed(plain):
                self._readers[stretch.path](stretch.records)
        except (LookupError, ValueError):
            # Ahead of libxml2, which now says what is wrong here; if it has nothing to say, the fault is ours.
            for _ in following:
                pass
            raise
        self._refuse_crowd()

    def _note_progress(self, plain: str, text: str) -> None:
        self._lines_passed += text.count("\n")
        self._without_progress = 0 if "</" in plain or "/>" in plain else self._without_progress + len(text)
        if self._without_progress > LARGEST_ELEMENT_BYTES:
            raise _oversized(self._lines_passed)

    def _refuse_crowd(self) -> None:
        lines = self.pupils_read + self.divisions_read
        if lines > CROWD_LINES and self._stream.bytes_read < lines * LEAST_LINE_BYTES:
            raise _oversized(self._lines_passed)

    def _take_header(self, records: list[Record]) -> None:
        for record in records:
            if self._header is not None:
                raise FileRefusedError(refusals.XML_MALFORMED, line=record.line)
            found = {child.tag: _value(child.text) for child in parse(record.text).children}
            self._header = ExportHeader(
                uai=found.get("UAJ"),
                school_year=found.get("ANNEE_SCOLAIRE"),
                export_date=found.get("DATE_EXPORT"),
                timestamp=found.get("HORODATAGE"),
            )

    def _take_pupils(self, records: list[Record]) -> None:
        self._batch.pupils += map(self._pupils.line, records)
        self.pupils_read += len(records)

    def _take_divisions(self, records: list[Record]) -> None:
        self._batch.divisions += map(_divisions, records)
        self.divisions_read += len(records)

    def _take_batch(self) -> Batch:
        batch, self._batch = self._batch, Batch()
        return batch

    def _refuse_emptiness(self) -> None:
        if not self.pupils_read:
            raise FileRefusedError(refusals.NO_PUPIL)
        if not self.divisions_read:
            raise FileRefusedError(refusals.NO_STRUCTURES)


def _oversized(line: int) -> FileRefusedError:
    return FileRefusedError(refusals.XML_OVERSIZED, line=line)


def _unreadable(code: int, line: int, encoding: EncodingWatch) -> FileRefusedError:
    if code == _BAD_ENCODING_ERROR:
        return encoding.undecodable()
    if code == _RESOURCE_LIMIT_ERROR:
        return _oversized(line)
    return FileRefusedError(refusals.XML_MALFORMED, line=line)


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
            raise _unreadable(getattr(error, "code", 0), error.lineno or 1, EncodingWatch(head)) from error
    else:
        root = _first_element(scout)
    if root is None:
        raise FileRefusedError(refusals.XML_MALFORMED, line=1)
    if root.tag != _ROOT:
        name = str(root.tag)[:60]
        kind = _OTHER_KINDS.get(name, f"un fichier XML d'un autre type (« {name} »)")
        raise FileRefusedError(refusals.WRONG_KIND, kind=kind)


def _first_element(parser: etree.XMLPullParser) -> Any:
    return next((element for _, element in parser.read_events()), None)


def _refuse_declarations(chunk: bytes) -> None:
    """No export has them, and everything dangerous in XML begins with one of them."""
    if b"!" in chunk and (b"<!DOCTYPE" in chunk or b"<!ENTITY" in chunk):
        raise FileRefusedError(refusals.DOCTYPE_FORBIDDEN)


def _looks_like_csv(text: bytes) -> bool:
    first_line = text[:4096].split(b"\n", 1)[0]
    return b"\x00" not in text and any(mark in first_line for mark in (b";", b",", b"\t"))


class _Pupils:
    """Reads pupils out of their records, and learns from those that are not plain which children have children."""

    def __init__(self) -> None:
        self._nested: tuple[str, ...] = (_LAST_YEAR,)

    def line(self, record: Record) -> PupilLine:
        """What a record says."""
        fields = _plain_fields(record.text, self._nested)
        if fields is None:
            pupil = parse(record.text)
            self._learn(pupil)
            fields = _fields(pupil)
        pop = fields.pop
        second, third = (pop(tag, None) for tag in _OTHER_FIRST_NAMES)
        if second or third:
            fields["other_first_names"] = f"{second} {third}" if second and third else second or third or ""
        legacy_name = pop(_LEGACY_FAMILY_NAME, None)
        if legacy_name is not None:
            fields.setdefault("family_name", legacy_name)
        numbers = tuple([number for tag in _NATIONAL_NUMBERS if (number := pop(tag, None))])
        return read_pupil(record.line, fields, numbers)

    def _learn(self, pupil: Element) -> None:
        nested = {child.tag for child in pupil.children if child.children} - {*self._nested, *_FIELDS}
        self._nested = (*self._nested, *sorted(nested))[:_MOST_NESTED]


def _plain_fields(record: str, nested: tuple[str, ...]) -> dict[str, str] | None:
    """The fields of a record that is written as exporters write it; None for one that is not.

    The same as `_fields` of the parsed record: a test holds the two together.
    """
    opening = _PLAIN_OPENING.match(record)
    children = leaves(record, nested) if opening else None
    if opening is None or children is None:
        return None
    texts, insides = children
    previous_uai = None
    last_year = insides.get(_LAST_YEAR, "")
    before_uai, found, from_uai = last_year.partition(f"<{_LAST_YEAR_UAI}>")
    if found:
        previous_uai = from_uai[: from_uai.find("<")]
    # Once, and a child of the year itself: no tag is open before it.
    if last_year.count(f"<{_LAST_YEAR_UAI}") != len(found[:1]) or before_uai.count("<") != 2 * before_uai.count("</"):
        return None
    get = texts.get
    if _is_tidy(f"|{'|'.join(texts.values())}|"):
        fields = {name: value for tag, name in _FIELDS.items() if (value := get(tag))}
    else:
        fields = {name: value for tag, name in _FIELDS.items() if (value := _value(get(tag))) is not None}
    _add_what_stands_elsewhere(fields, previous_uai, *opening.groups())
    return fields


def _fields(pupil: Element) -> dict[str, str]:
    """The fields of any record: by our names, blank ones left out, the last of several of one name counts."""
    fields: dict[str, str] = {}
    previous_uai = None
    for child in pupil.children:
        name = _FIELDS.get(child.tag)
        if name is not None:
            value = _value(child.text)
            if value is not None:
                fields[name] = value
        elif child.tag == _LAST_YEAR:
            previous_uai = child.child_text(_LAST_YEAR_UAI) or previous_uai
    attributes = pupil.attributes
    _add_what_stands_elsewhere(fields, previous_uai, attributes.get(_PUPIL_ID), attributes.get(_SCHOOL_NUMBER))
    return fields


def _is_tidy(values: str) -> bool:
    """Whether these texts, with a bar before and behind each, are what `_value` would make of them."""
    return (
        values.isprintable()
        and not ("&" in values or "| " in values or " |" in values or "  " in values)
        and (values.isascii() or unicodedata.is_normalized("NFC", values))
    )


def _add_what_stands_elsewhere(
    fields: dict[str, str], previous_uai: str | None, siecle_id: str | None, school_number: str | None
) -> None:
    """What stands elsewhere than in a child. Attribute and child may differ: the attribute wins."""
    if value := _value(siecle_id):
        fields["siecle_id"] = value
    if value := _value(school_number):
        fields["school_number"] = value
    if value := _value(previous_uai):
        fields["previous_uai"] = value


def _divisions(record: Record) -> DivisionLine:
    siecle_id, structures = _plain_structures(record.text) or _structures(parse(record.text))
    found: dict[str, None] = {}
    for code, kind in structures:
        division = _value(code) if _value(kind) == _DIVISION_KIND else None
        if division is not None and division.lower() != _NO_CLASS:
            found[division] = None
    return DivisionLine(record.line, siecle_id, tuple(found))


def _plain_structures(text: str) -> tuple[str | None, list[tuple[str, str]]] | None:
    """ELEVE_ID, and code and kind of each structure, of a record as exporters write it; None for one that is not."""
    opening = _PLAIN_PLACING.match(text)
    if opening is None:
        return None
    structures = _PLAIN_STRUCTURE.findall(text)
    return (_value(opening[1]), structures) if text.count("<") == 6 * len(structures) + 2 else None


def _structures(placing: Element) -> tuple[str | None, list[tuple[str, str]]]:
    siecle_id = _value(placing.attributes.get(_PUPIL_ID)) or _value(placing.child_text(_PUPIL_ID))
    return siecle_id, [
        (child.child_text(_STRUCTURE_CODE) or "", child.child_text(_STRUCTURE_KIND) or "")
        for child in placing.children
        if child.tag == _STRUCTURE
    ]


def _value(written: str | None) -> str | None:
    """What is written, without references, blanks around it and doubled inside it; None where nothing is left."""
    text = unescaped(written).strip() if written else ""
    if not text:
        return None
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if "  " in text or "\n" in text or "\t" in text or "\r" in text:
        text = " ".join(text.split())
    return text
