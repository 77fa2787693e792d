"""Write the national pupil file as the ministry's application exports it, and as schools deform it."""

import codecs
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import IO
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
ZIP_TIME = (2026, 9, 15, 18, 30, 12)
_RECORDS: dict[str, Callable[[SamplePupil, RecordStyle], str]] = {
    "STRUCTURES": structures_record,
    "OPTIONS": option_record,
    "BOURSES": grant_record,
    "ADRESSES": address_record,
}


def siecle_xml(
    uai: str,
    pupils: Iterable[SamplePupil],
    *,
    school_year: int | None = 2026,
    exported_at: datetime | None = EXPORTED_AT,
    encoding: str = "ISO-8859-15",
    declared_encoding: str | None = "",
    byte_order_mark: bool = False,
    blocks: Sequence[str] = DEFAULT_BLOCKS,
    version: str = "3.1",
    with_timestamp: bool = True,
    with_export_date: bool = True,
    legacy_names: bool = False,
    style: RecordStyle = RecordStyle.LEAN,
    raw_pupils: Sequence[str] = (),
    raw_structures: Sequence[str] = (),
) -> bytes:
    """The file of a school with these pupils, as bytes.

    Args:
        uai: what the file says of its school, right or wrong.
        pupils: its lines, in this order.
        school_year: the starting year (`2026` for 2026-2027); None leaves the tag out.
        exported_at: aware; written in Paris time. None leaves both dates out.
        encoding: of the bytes; characters that it lacks become `?`, as in real exports.
        declared_encoding: what the header says; the default is the truth, None leaves the header without encoding.
        byte_order_mark: whether a UTF-8 mark comes first.
        blocks: the blocks of `DONNEES` and their order; leave one out, or add `ADRESSES`.
        version: the root's attribute, which readers must not rely on.
        with_timestamp: whether `HORODATAGE` is there.
        with_export_date: whether `DATE_EXPORT` is there.
        legacy_names: write `NOM` instead of `NOM_DE_FAMILLE`, as before 2016.
        style: how much each record says.
        raw_pupils: lines of `ELEVES` written as they are, for what no pupil can say.
        raw_structures: the same for `STRUCTURES`.
    """
    out = io.BytesIO()
    write_siecle_xml(
        out, uai, list(pupils),
        school_year=school_year, exported_at=exported_at, encoding=encoding, declared_encoding=declared_encoding,
        byte_order_mark=byte_order_mark, blocks=blocks, version=version, with_timestamp=with_timestamp,
        with_export_date=with_export_date, legacy_names=legacy_names, style=style,
        raw_pupils=raw_pupils, raw_structures=raw_structures,
    )  # fmt: skip
    return out.getvalue()


def write_siecle_xml(
    out: IO[bytes],
    uai: str,
    pupils: Sequence[SamplePupil] | Callable[[], Iterable[SamplePupil]],
    *,
    school_year: int | None = 2026,
    exported_at: datetime | None = EXPORTED_AT,
    encoding: str = "ISO-8859-15",
    declared_encoding: str | None = "",
    byte_order_mark: bool = False,
    blocks: Sequence[str] = DEFAULT_BLOCKS,
    version: str = "3.1",
    with_timestamp: bool = True,
    with_export_date: bool = True,
    legacy_names: bool = False,
    style: RecordStyle = RecordStyle.LEAN,
    raw_pupils: Sequence[str] = (),
    raw_structures: Sequence[str] = (),
) -> None:
    """Write the file to `out` without holding it in memory; see `siecle_xml` for the arguments.

    A million pupils need not exist at once: `pupils` may be a function that starts their iteration again, which is
    called once for each block that names them.
    """
    again = pupils if callable(pupils) else lambda: pupils
    encoder = codecs.getencoder(encoding)

    def write(text: str) -> None:
        out.write(encoder(text, "replace")[0])

    if byte_order_mark:
        out.write(codecs.BOM_UTF8)
    declared = encoding if declared_encoding == "" else declared_encoding
    write('<?xml version="1.0"' + (f' encoding="{declared}"' if declared else "") + "?>\n")
    write(f"<BEE_ELEVES VERSION={quoteattr(version)}>\n")
    write(
        _parameters(
            uai, school_year, exported_at if with_timestamp else None, exported_at if with_export_date else None
        )
    )
    write("<DONNEES>\n")
    for block in blocks:
        write(f"<{block}>\n")
        for line in _lines(block, again(), style, legacy_names=legacy_names):
            write(line)
        for raw in {"ELEVES": raw_pupils, "STRUCTURES": raw_structures}.get(block, ()):
            write(raw + "\n")
        write(f"</{block}>\n")
    write("</DONNEES>\n</BEE_ELEVES>\n")


def siecle_zip(
    uai: str,
    pupils: Iterable[SamplePupil],
    *,
    school_year: int | None = 2026,
    exported_at: datetime | None = EXPORTED_AT,
    encoding: str = "ISO-8859-15",
    name: str = XML_NAME,
    blocks: Sequence[str] = DEFAULT_BLOCKS,
    style: RecordStyle = RecordStyle.LEAN,
) -> bytes:
    """`ExportXML_ElevesSansAdresses.zip` as the ministry's application makes it: the file, alone."""
    xml = siecle_xml(
        uai, pupils,
        school_year=school_year, exported_at=exported_at, encoding=encoding, blocks=blocks, style=style,
    )  # fmt: skip
    return zipped({name: xml})


def zipped(members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members, the same bytes for the same content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=ZIP_TIME), content, compress_type=compression)
    return out.getvalue()


def _parameters(uai: str, school_year: int | None, timestamp: datetime | None, export_date: datetime | None) -> str:
    lines = [tag("UAJ", uai), tag("ANNEE_SCOLAIRE", school_year)]
    if export_date is not None:
        lines.append(tag("DATE_EXPORT", day(export_date.astimezone(PARIS).date())))
    if timestamp is not None:
        lines.append(tag("HORODATAGE", timestamp.astimezone(PARIS).strftime("%d/%m/%Y %H:%M:%S")))
    return "<PARAMETRES>\n" + "".join(lines) + "</PARAMETRES>\n"


def _lines(block: str, pupils: Iterable[SamplePupil], style: RecordStyle, *, legacy_names: bool) -> Iterator[str]:
    if block == "ELEVES":
        return (pupil_record(pupil, style, legacy_names=legacy_names) for pupil in pupils)
    record = _RECORDS.get(block)
    return iter(()) if record is None else (record(pupil, style) for pupil in pupils)
