"""The pupil file as schools send it: read, or refused with its reason."""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest

from cpro_siecle_import.adapters.packaging import ExpansionLimits, opened_export
from cpro_siecle_import.adapters.siecle_xml import LARGEST_ELEMENT_BYTES, SiecleReader
from cpro_siecle_import.domain.export import ExportHeader
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils, siecle_xml, siecle_zip, zipped

UAI = "0752387M"
NAME = "ElevesSansAdresses.xml"
PUPILS = list(generate_pupils(3, 1))


def read(
    content: bytes, limits: ExpansionLimits | None = None
) -> tuple[ExportHeader, list[PupilLine], list[DivisionLine]]:
    pupils: list[PupilLine] = []
    divisions: list[DivisionLine] = []
    with opened_export(io.BytesIO(content), limits or ExpansionLimits()) as stream:
        reader = SiecleReader(stream)
        for batch in reader.batches():
            pupils += batch.pupils
            divisions += batch.divisions
    return reader.header, pupils, divisions


def refusal(content: bytes, limits: ExpansionLimits | None = None) -> str:
    with pytest.raises(FileRefusedError) as refused:
        read(content, limits)
    assert "{" not in refused.value.detail
    return refused.value.code


def names(lines: Iterable[PupilLine]) -> list[tuple[str | None, str | None]]:
    return [(line.family_name, line.first_name) for line in lines]


def with_name(name: str) -> list[SamplePupil]:
    return [replace(PUPILS[0], family_name=name)]


def test_the_ministrys_zip_is_read_whole() -> None:
    header, pupils, divisions = read(siecle_zip(UAI, PUPILS))

    assert header == ExportHeader(UAI, "2026", "15/09/2026", "15/09/2026 18:30:12")
    assert names(pupils) == [(pupil.family_name, pupil.first_name) for pupil in PUPILS]
    assert [line.divisions for line in divisions] == [(pupil.division,) for pupil in PUPILS]


@pytest.mark.parametrize(
    "content",
    [
        siecle_xml(UAI, PUPILS),
        zipped({"ElevesAvecAdresses.xml": siecle_xml(UAI, PUPILS, blocks=("ADRESSES", "STRUCTURES", "ELEVES"))}),
        zipped({"export/": b"", f"export/{NAME}": siecle_xml(UAI, PUPILS)}),
        zipped({NAME: siecle_xml(UAI, PUPILS), f"__MACOSX/._{NAME}": b"x", ".DS_Store": b"x", "a/.b": b"x"}),
        zipped({NAME: siecle_xml(UAI, PUPILS)}, compression=zipfile.ZIP_STORED),
        siecle_xml(UAI, PUPILS, encoding="ISO-8859-1"),
        siecle_xml(UAI, PUPILS, encoding="UTF-8"),
        siecle_xml(UAI, PUPILS, encoding="UTF-8", byte_order_mark=True),
        siecle_xml(UAI, PUPILS, encoding="UTF-8", declared_encoding=None),
        siecle_xml(UAI, PUPILS, legacy_names=True),
        siecle_xml(UAI, PUPILS, version="1.7", with_timestamp=False, with_export_date=False),
    ],
    ids=[
        "bare", "with-addresses", "sub-folder", "macos", "stored", "latin-1", "utf-8", "utf-8-marked", "undeclared",
        "before-2016", "old-version",
    ],
)  # fmt: skip
def test_what_schools_make_of_the_file_is_taken(content: bytes) -> None:
    _, pupils, divisions = read(content)

    assert [(line.siecle_id, line.ine) for line in pupils] == [(pupil.siecle_id, pupil.ine) for pupil in PUPILS]
    assert len(divisions) == 3


def test_the_letters_that_only_iso_8859_15_has_are_read() -> None:
    _, pupils, _ = read(siecle_xml(UAI, with_name("BŒUF-ŸVES")))

    assert pupils[0].family_name == "BŒUF-ŸVES"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b" \n\t", "empty_file"),
        (b"bonjour", "not_xml_nor_zip"),
        (b"nom;prenom\r\nA;B", "wrong_kind_of_file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "wrong_kind_of_file"),
        (zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<w/>"}), "wrong_kind_of_file"),
        (b"<!DOCTYPE html><html></html>", "wrong_kind_of_file"),
        (b"%PDF-1.7", "wrong_kind_of_file"),
        (b"\x1f\x8b\x08\x00", "wrong_kind_of_file"),
        *[(f"<{root}/>".encode(), "wrong_kind_of_file") for root in
            ("BEE_RESPONSABLES", "BEE_NOMENCLATURES", "BEE_STRUCTURES", "BEE_COMMUN", "IMPORT_ELEVES", "autre")],
        (b'<?xml version="1.0"?><!DOCTYPE BEE_ELEVES><BEE_ELEVES/>', "doctype_forbidden"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><BEE_ELEVES>&b;</BEE_ELEVES>', "doctype_forbidden"),
        (b"<BEE_ELEVES>&b;</BEE_ELEVES>", "xml_malformed"),
        (b"<BEE_ELEVES><a></b></BEE_ELEVES>", "xml_malformed"),
        (b"<BEE_ELEVES/>x", "xml_malformed"),
        (b"<BEE_ELEVES>\x01</BEE_ELEVES>", "xml_malformed"),
        ("<BEE_ELEVES/>".encode("utf-16"), "encoding_unknown"),
        (b'<?xml version="1.0" encoding="EBCDIC-CP-FR"?><BEE_ELEVES/>', "encoding_unknown"),
        (b'<?xml version="1.0" encoding="windows-1252"?><BEE_ELEVES/>', "encoding_unknown"),
        (siecle_xml(UAI, []), "no_pupil"),
        (siecle_xml(UAI, PUPILS, blocks=("ELEVES",)), "no_structures"),
        (siecle_xml(UAI, [replace(pupil, division=None, groups=()) for pupil in PUPILS]), "no_structures"),
        (zipped({}), "zip_without_xml"),
        (zipped({"vide.xml": b""}), "zip_without_xml"),
        (zipped({"a.xml": b"<a/>", "b.txt": b"b"}), "zip_several_files"),
        (zipped({"inner.zip": zipped({NAME: b"<a/>"})}), "zip_nested"),
        (zipped({"../evil.xml": b"<a/>"}), "zip_unsafe_path"),
        (zipped({"/etc/evil.xml": b"<a/>"}), "zip_unsafe_path"),
        (zipped({"..\\evil.xml": b"<a/>"}), "zip_unsafe_path"),
        (siecle_zip(UAI, PUPILS)[:-30], "zip_corrupt"),
    ],
)  # fmt: skip
def test_what_must_not_be_applied_is_refused_with_its_own_code(content: bytes, code: str) -> None:
    assert refusal(content) == code


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [("UTF-8", "ISO-8859-15"), ("UTF-8", "ISO-8859-1"), ("cp1252", "ISO-8859-15"), ("ISO-8859-15", "UTF-8")],
)
def test_a_header_that_says_one_encoding_over_bytes_in_another_is_refused(encoding: str, declared: str) -> None:
    content = siecle_xml(UAI, with_name("BŒUF É"), encoding=encoding, declared_encoding=declared)

    assert refusal(content) == "encoding_mismatch"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.999])
def test_a_file_cut_anywhere_is_refused(share: float) -> None:
    whole = siecle_xml(UAI, list(generate_pupils(200, 1)))

    assert refusal(whole[: int(len(whole) * share)]) == "xml_malformed"


def test_a_damaged_member_is_found_by_its_checksum() -> None:
    archive = bytearray(zipped({NAME: siecle_xml(UAI, PUPILS)}, compression=zipfile.ZIP_STORED))
    at = archive.index(b"NOM_DE_FAMILLE>") + 20
    archive[at] ^= 0x01

    assert refusal(bytes(archive)) == "zip_corrupt"


def test_an_encrypted_member_is_told_apart() -> None:
    archive = bytearray(zipped({NAME: siecle_xml(UAI, PUPILS)}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        archive[archive.index(signature) + offset] |= 0x01

    assert refusal(bytes(archive)) == "zip_encrypted"


def test_a_fault_of_the_reader_is_not_blamed_on_the_archive() -> None:
    archive = io.BytesIO(siecle_zip(UAI, PUPILS))

    with pytest.raises(NotImplementedError), opened_export(archive, ExpansionLimits()):
        raise NotImplementedError


def test_the_expansion_is_counted_while_reading_whatever_the_directory_says() -> None:
    bomb = bytearray(zipped({NAME: b"<BEE_ELEVES>" + b" " * 3_000_000}))
    at = bomb.index(b"PK\x01\x02") + 24
    bomb[at : at + 4] = (1_000).to_bytes(4, "little")

    limits = ExpansionLimits(max_xml_bytes=300_000)
    assert refusal(zipped({NAME: b"<BEE_ELEVES>" + b" " * 3_000_000}), limits) == "expansion_limit"
    assert refusal(bytes(bomb), limits) in {"expansion_limit", "zip_corrupt"}


def test_an_implausible_ratio_is_refused_before_the_size_limit() -> None:
    content = siecle_xml(UAI, PUPILS).replace(b"<DONNEES>", b"<DONNEES>" + b"<X/>" * 400_000)

    assert refusal(zipped({NAME: content}), ExpansionLimits(ratio_from_bytes=200_000, max_ratio=50)) == (
        "expansion_limit"
    )


def test_one_element_that_never_ends_is_refused_early() -> None:
    start = siecle_xml(UAI, PUPILS).split(b"</ELEVE>")[0]

    assert refusal(start + b"<PRENOM3>" + b"x" * (2 * LARGEST_ELEMENT_BYTES)) == "xml_oversized_element"
    assert refusal(start + b"<a>" * (LARGEST_ELEMENT_BYTES // 2)) in {"xml_oversized_element", "xml_malformed"}


def test_unknown_blocks_of_any_length_are_skipped() -> None:
    unknown = b"<NOUVEAU>" + b"<LIGNE><A>1</A></LIGNE>\n" * 60_000 + b"</NOUVEAU>"
    content = siecle_xml(UAI, PUPILS).replace(b"<DONNEES>", b"<DONNEES>" + unknown)

    _, pupils, divisions = read(content)

    assert (len(pupils), len(divisions)) == (3, 3)


def test_blank_empty_and_missing_tags_mean_the_same() -> None:
    line = (
        "<ELEVE ELEVE_ID='7'><NOM_DE_FAMILLE> A  B </NOM_DE_FAMILLE><NOM_USAGE/><PRENOM>C</PRENOM><PRENOM2> </PRENOM2>"
        "<DATE_NAISS>01/02/2009</DATE_NAISS><DATE_SORTIE></DATE_SORTIE></ELEVE>"
    )

    _, pupils, _ = read(siecle_xml(UAI, PUPILS, raw_pupils=[line]))

    last = pupils[-1]
    assert (last.family_name, last.usage_name, last.other_first_names) == ("A B", None, None)
    assert (last.leaving_date, last.birth_date, last.rejection) == (None, date(2009, 2, 1), None)


def test_the_key_may_be_a_child_and_the_attribute_wins_over_it() -> None:
    as_child = "<ELEVE><ELEVE_ID>7</ELEVE_ID><ELENOET>9</ELENOET></ELEVE>"
    as_both = "<ELEVE ELEVE_ID='8' ELENOET='10'><ELEVE_ID>7</ELEVE_ID><ELENOET>9</ELENOET></ELEVE>"

    _, pupils, _ = read(siecle_xml(UAI, PUPILS, raw_pupils=[as_child, as_both]))

    assert [(line.siecle_id, line.school_number) for line in pupils[-2:]] == [("7", "9"), ("8", "10")]


def test_groups_and_the_inactive_division_are_no_class() -> None:
    raw = (
        "<STRUCTURES_ELEVE ELEVE_ID='7'><STRUCTURE><TYPE_STRUCTURE>G</TYPE_STRUCTURE><CODE_STRUCTURE>G1</CODE_STRUCTURE>"
        "</STRUCTURE><STRUCTURE><CODE_STRUCTURE>Inactifs</CODE_STRUCTURE><TYPE_STRUCTURE>D</TYPE_STRUCTURE></STRUCTURE>"
        "</STRUCTURES_ELEVE>"
    )

    _, _, divisions = read(siecle_xml(UAI, PUPILS, raw_structures=[raw]))

    assert (divisions[-1].siecle_id, divisions[-1].divisions) == ("7", ())


def test_lines_are_told_where_they_stand_also_beyond_65535() -> None:
    pupils = list(generate_pupils(5_000, 1))
    content = siecle_xml(UAI, pupils)
    expected = [number for number, line in enumerate(content.splitlines(), 1) if line.startswith(b"<ELEVE ")]

    _, found, _ = read(content)

    assert expected[-1] > 65_535
    assert all(abs(line.line - place) <= 1 for line, place in zip(found, expected, strict=True))
