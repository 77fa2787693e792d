"""Write the national pupil file as the ministry's application exports it, and as schools deform it."""

import codecs
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TypeAlias, TypedDict, Unpack
from xml.sax.saxutils import quoteattr
from zoneinfo import ZoneInfo

from cpro_test_support.siecle_samples.pupils import SamplePupil
from cpro_test_support.siecle_samples.records import (
    RecordStyle,
    address_record,
    day,
    grant_record,
    option_record,
    pupil_record,
    structures_record,
    tag,
)

PARIS = ZoneInfo("Europe/Paris")
EXPORTED_AT = datetime(2026, 9, 15, 16, 30, 12, tzinfo=UTC)
DEFAULT_BLOCKS = ("ELEVES", "OPTIONS", "STRUCTURES", "BOURSES")
XML_NAME = "ElevesSansAdresses.xml"
ZIP_NAME = "ExportXML_ElevesSansAdresses.zip"
ZIP_TIME = (2026, 9, 15, 18, 30, 12)
_RECORDS: dict[str, Callable[[SamplePupil, RecordStyle], str]] = {
    "STRUCTURES": structures_record,
    "OPTIONS": option_record,
    "BOURSES": grant_record,
    "ADRESSES": address_record,
}

PupilEdit: TypeAlias = Callable[[SamplePupil], SamplePupil]
TextEdit: TypeAlias = Callable[[str], str]
BytesEdit: TypeAlias = Callable[[bytes], bytes]


class FileOptions(TypedDict, total=False):
    """What the functions of this module pass on to a `SampleFile`, where each is explained."""

    school_year: int | None
    exported_at: datetime | None
    encoding: str
    declared_encoding: str | None
    byte_order_mark: bool
    blocks: Sequence[str]
    version: str | None
    with_timestamp: bool
    with_export_date: bool
    legacy_names: bool
    style: RecordStyle
    raw_pupils: Sequence[str]
    raw_structures: Sequence[str]


@dataclass(slots=True)
class SampleFile:
    """One export about to be written: the truth by default, and every place where a variation may lie or deform.

    `pupils` starts their iteration again, once for each block that names them: a million need not exist at once.
    Edits are kept by the position of the pupil in the file.
    """

    uai: str
    """What the file says of its school, right or wrong."""
    pupils: Callable[[], Iterable[SamplePupil]]
    school_year: int | None = 2026
    """The starting year (`2026` for 2026-2027); None leaves the tag out."""
    exported_at: datetime | None = EXPORTED_AT
    """Aware; written in Paris time. None leaves both dates out."""
    encoding: str = "ISO-8859-15"
    """Of the bytes; characters that it lacks become `?`, as in real exports."""
    declared_encoding: str | None = ""
    """What the header says: the truth where empty, nothing where None."""
    byte_order_mark: bool = False
    """Whether a UTF-8 mark comes first."""
    blocks: Sequence[str] = DEFAULT_BLOCKS
    """The blocks of `DONNEES` and their order; leave one out, or add `ADRESSES`."""
    version: str | None = "3.1"
    """The root's attribute, which readers must not rely on."""
    with_timestamp: bool = True
    with_export_date: bool = True
    legacy_names: bool = False
    """Write `NOM` instead of `NOM_DE_FAMILLE`, as before 2016."""
    style: RecordStyle = RecordStyle.LEAN
    raw_pupils: Sequence[str] = ()
    """Lines of `ELEVES` written as they are, for what no pupil can say."""
    raw_structures: Sequence[str] = ()
    """The same for `STRUCTURES`."""
    parameters: dict[str, str | None] = field(default_factory=dict)
    """What `PARAMETRES` says instead of the truth, by tag; None leaves the tag out."""
    parameters_last: bool = False
    """`PARAMETRES` after `DONNEES`."""
    before_content: str = ""
    """Raw text before `DONNEES`."""
    first_in_content: str = ""
    """Raw text before the first block."""
    pupil_edits: dict[int, list[PupilEdit]] = field(default_factory=lambda: defaultdict(list))
    edits_of_all: list[PupilEdit] = field(default_factory=list)
    record_edits: dict[tuple[str, int], list[TextEdit]] = field(default_factory=lambda: defaultdict(list))
    """Of single records, by block and position."""
    text_edits: list[TextEdit] = field(default_factory=list)
    """Of everything after the XML declaration, a record or a few lines at a time."""
    line_end: str = "\n"
    byte_edits: list[BytesEdit] = field(default_factory=list)
    """Of the XML as a whole."""
    packing: BytesEdit | None = None
    """From the XML to what is uploaded, where that is no ordinary zip."""
    xml_name: str = XML_NAME
    name: str = ZIP_NAME
    """What the uploaded file is called, whatever it holds."""

    def write(self, out: IO[bytes]) -> None:
        """Write the XML without holding it in memory. Edits of the whole are not for this."""
        encoder = codecs.getencoder(self.encoding)

        def write(text: str) -> None:
            if self.line_end != "\n":
                text = text.replace("\n", self.line_end)
            out.write(encoder(text, "replace")[0])

        if self.byte_order_mark:
            out.write(codecs.BOM_UTF8)
        declared = self.encoding if self.declared_encoding == "" else self.declared_encoding
        write('<?xml version="1.0"' + (f' encoding="{declared}"' if declared else "") + "?>\n")
        for text in self._texts():
            edited = text
            for edit in self.text_edits:
                edited = edit(edited)
            write(edited)

    def xml(self) -> bytes:
        """The XML as a whole."""
        out = io.BytesIO()
        self.write(out)
        content = out.getvalue()
        for edit in self.byte_edits:
            content = edit(content)
        return content

    def write_xml(self, out: IO[bytes]) -> None:
        """The XML into a file, as a stream where nothing asks for the whole."""
        if self.byte_edits:
            out.write(self.xml())
        else:
            self.write(out)

    def packed(self) -> bytes:
        """What a school uploads."""
        return zipped({self.xml_name: self.xml()}) if self.packing is None else self.packing(self.xml())

    def write_packed(self, out: IO[bytes]) -> None:
        """The same into a file, as a stream where nothing asks for the whole."""
        if self.packing is not None or self.byte_edits:
            out.write(self.packed())
            return
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            member = zipfile.ZipInfo(self.xml_name, date_time=ZIP_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=False) as entry:
                self.write(entry)

    def _texts(self) -> Iterator[str]:
        yield "<BEE_ELEVES" + (f" VERSION={quoteattr(self.version)}" if self.version else "") + ">\n"
        if not self.parameters_last:
            yield self._parameters()
        yield f"{self.before_content}<DONNEES>\n{self.first_in_content}"
        for block in self.blocks:
            yield f"<{block}>\n"
            yield from self._records(block)
            yield f"</{block}>\n"
        yield "</DONNEES>\n"
        if self.parameters_last:
            yield self._parameters()
        yield "</BEE_ELEVES>\n"

    def _parameters(self) -> str:
        local = self.exported_at.astimezone(PARIS) if self.exported_at else None
        said: dict[str, str | None] = {
            "UAJ": self.uai,
            "ANNEE_SCOLAIRE": None if self.school_year is None else str(self.school_year),
            "DATE_EXPORT": day(local.date()) if local and self.with_export_date else None,
            "HORODATAGE": f"{local:%d/%m/%Y %H:%M:%S}" if local and self.with_timestamp else None,
        }
        lines = "".join(tag(name, value) for name, value in {**said, **self.parameters}.items())
        return f"<PARAMETRES>\n{lines}</PARAMETRES>\n"

    def _records(self, block: str) -> Iterator[str]:
        record = _RECORDS.get(block)
        if block == "ELEVES":
            legacy_names = self.legacy_names

            def record(pupil: SamplePupil, style: RecordStyle) -> str:
                return pupil_record(pupil, style, legacy_names=legacy_names)

        if record is None:
            return
        for position, pupil in enumerate(self._edited_pupils()):
            text = record(pupil, self.style)
            for edit in self.record_edits.get((block, position), ()):
                text = edit(text)
            if text:
                yield text
        for raw in {"ELEVES": self.raw_pupils, "STRUCTURES": self.raw_structures}.get(block, ()):
            yield raw + "\n"

    def _edited_pupils(self) -> Iterator[SamplePupil]:
        for position, original in enumerate(self.pupils()):
            pupil = original
            for edit in (*self.pupil_edits.get(position, ()), *self.edits_of_all):
                pupil = edit(pupil)
            yield pupil


def siecle_xml(uai: str, pupils: Iterable[SamplePupil], **options: Unpack[FileOptions]) -> bytes:
    """The file of a school with these pupils, as bytes. The options are the fields of `SampleFile`."""
    every = list(pupils)
    return SampleFile(uai, lambda: every, **options).xml()


def write_siecle_xml(
    out: IO[bytes],
    uai: str,
    pupils: Sequence[SamplePupil] | Callable[[], Iterable[SamplePupil]],
    **options: Unpack[FileOptions],
) -> None:
    """Write the file to `out` without holding it in memory.

    A million pupils need not exist at once: `pupils` may be a function that starts their iteration again, which is
    called once for each block that names them.
    """
    SampleFile(uai, pupils if callable(pupils) else lambda: pupils, **options).write(out)


def siecle_zip(
    uai: str, pupils: Iterable[SamplePupil], *, name: str = XML_NAME, **options: Unpack[FileOptions]
) -> bytes:
    """`ExportXML_ElevesSansAdresses.zip` as the ministry's application makes it: the file, alone."""
    return zipped({name: siecle_xml(uai, pupils, **options)})


def zipped(members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members, the same bytes for the same content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=ZIP_TIME), content, compress_type=compression)
    return out.getvalue()
