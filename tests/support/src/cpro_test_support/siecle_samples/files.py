"""Write the national pupil file as the ministry's application exports it, and as schools deform it."""

import codecs
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import IO
from xml.sax.saxutils import escape, quoteattr
from zoneinfo import ZoneInfo

from cpro_test_support.siecle_samples.pupils import SamplePupil

PARIS = ZoneInfo("Europe/Paris")
EXPORTED_AT = datetime(2026, 9, 15, 16, 30, 12, tzinfo=UTC)
DEFAULT_BLOCKS = ("ELEVES", "OPTIONS", "STRUCTURES", "BOURSES")
XML_NAME = "ElevesSansAdresses.xml"
ZIP_TIME = (2026, 9, 15, 18, 30, 12)


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
        raw_pupils: lines of `ELEVES` written as they are, for what no pupil can say.
        raw_structures: the same for `STRUCTURES`.
    """
    out = io.BytesIO()
    write_siecle_xml(
        out, uai, list(pupils),
        school_year=school_year, exported_at=exported_at, encoding=encoding, declared_encoding=declared_encoding,
        byte_order_mark=byte_order_mark, blocks=blocks, version=version, with_timestamp=with_timestamp,
        with_export_date=with_export_date, legacy_names=legacy_names,
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
        for line in _lines(block, again(), legacy_names=legacy_names):
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
) -> bytes:
    """`ExportXML_ElevesSansAdresses.zip` as the ministry's application makes it: the file, alone."""
    xml = siecle_xml(uai, pupils, school_year=school_year, exported_at=exported_at, encoding=encoding, blocks=blocks)
    return zipped({name: xml})


def zipped(members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members, the same bytes for the same content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=ZIP_TIME), content, compress_type=compression)
    return out.getvalue()


def _parameters(uai: str, school_year: int | None, timestamp: datetime | None, export_date: datetime | None) -> str:
    lines = [_tag("UAJ", uai), _tag("ANNEE_SCOLAIRE", school_year)]
    if export_date is not None:
        lines.append(_tag("DATE_EXPORT", _day(export_date.astimezone(PARIS).date())))
    if timestamp is not None:
        lines.append(_tag("HORODATAGE", timestamp.astimezone(PARIS).strftime("%d/%m/%Y %H:%M:%S")))
    return "<PARAMETRES>\n" + "".join(lines) + "</PARAMETRES>\n"


def _lines(block: str, pupils: Iterable[SamplePupil], *, legacy_names: bool) -> Iterator[str]:
    for pupil in pupils:
        if block == "ELEVES":
            yield _pupil(pupil, legacy_names=legacy_names)
        elif block == "STRUCTURES" and (pupil.division or pupil.groups):
            yield _structures(pupil)
        elif block == "OPTIONS":
            yield _option(pupil)
        elif block == "ADRESSES":
            yield _address(pupil)


def _pupil(pupil: SamplePupil, *, legacy_names: bool) -> str:
    number = f" ELENOET={quoteattr(pupil.school_number)}" if pupil.school_number else ""
    others = dict(enumerate(pupil.other_first_names, start=2))
    return (
        f"<ELEVE ELEVE_ID={quoteattr(pupil.siecle_id)}{number}>\n"
        + _tag("ID_NATIONAL", pupil.ine)
        + _tag("INE_BEA", pupil.ine_bea)
        + _tag("NOM" if legacy_names else "NOM_DE_FAMILLE", pupil.family_name)
        + _tag("NOM_USAGE", pupil.usage_name)
        + _tag("PRENOM", pupil.first_name)
        + "".join(_tag(f"PRENOM{rank}", name) for rank, name in others.items())
        + _tag("DATE_NAISS", _day(pupil.birth_date))
        + _tag("DOUBLEMENT", None if pupil.repeating is None else int(pupil.repeating))
        + "<CODE_PAYS>100</CODE_PAYS>\n<ACCEPTE_SMS>0</ACCEPTE_SMS>\n"
        + _tag("CODE_REGIME", pupil.boarding_code)
        + _tag("DATE_ENTREE", _day(pupil.entry_date))
        + _tag("DATE_SORTIE", _day(pupil.leaving_date))
        + _tag("CODE_MOTIF_SORTIE", pupil.leaving_reason)
        + _tag("CODE_SEXE", {"male": 1, "female": 2}.get(pupil.sex or ""))
        + "<CODE_PAYS_NAT>100</CODE_PAYS_NAT>\n"
        + _tag("CODE_STATUT", pupil.status_code)
        + _tag("CODE_MEF", pupil.mef_code)
        + _last_year(pupil.previous_uai)
        + "</ELEVE>\n"
    )


def _last_year(previous_uai: str | None) -> str:
    if previous_uai is None:
        return ""
    return (
        f"<SCOLARITE_AN_DERNIER>\n{_tag('CODE_STRUCTURE', '3 B')}{_tag('CODE_RNE', previous_uai)}"
        f"{_tag('SIGLE', 'LP')}</SCOLARITE_AN_DERNIER>\n"
    )


def _structures(pupil: SamplePupil) -> str:
    # Groups first: a reader that takes the first structure for the class must be caught.
    found = [(group, "G") for group in pupil.groups]
    if pupil.division:
        found.append((pupil.division, "D"))
    return (
        f"<STRUCTURES_ELEVE ELEVE_ID={quoteattr(pupil.siecle_id)}>\n"
        + "".join(
            f"<STRUCTURE>\n{_tag('CODE_STRUCTURE', code)}{_tag('TYPE_STRUCTURE', kind)}</STRUCTURE>\n"
            for code, kind in found
        )
        + "</STRUCTURES_ELEVE>\n"
    )


def _option(pupil: SamplePupil) -> str:
    return (
        f"<OPTION ELEVE_ID={quoteattr(pupil.siecle_id)}>\n<OPTIONS_ELEVE>\n<NUM_OPTION>1</NUM_OPTION>\n"
        "<CODE_MODALITE_ELECT>O</CODE_MODALITE_ELECT>\n<CODE_MATIERE>030201</CODE_MATIERE>\n</OPTIONS_ELEVE>\n</OPTION>\n"
    )


def _address(pupil: SamplePupil) -> str:
    return (
        f"<ADRESSE ADRESSE_ID={quoteattr('9' + pupil.siecle_id)}>\n<LIGNE1_ADRESSE>1 RUE IMAGINAIRE</LIGNE1_ADRESSE>\n"
        "<CODE_POSTAL>00000</CODE_POSTAL>\n<LIBELLE_POSTAL>NULLEPART</LIBELLE_POSTAL>\n</ADRESSE>\n"
    )


def _tag(name: str, value: object) -> str:
    return "" if value is None else f"<{name}>{escape(str(value))}</{name}>\n"


def _day(day: date | None) -> str | None:
    return None if day is None else day.strftime("%d/%m/%Y")
