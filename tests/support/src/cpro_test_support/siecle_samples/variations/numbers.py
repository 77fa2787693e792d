"""The keys of a pupil: ELEVE_ID, ELENOET, and the three fields of the INE."""

import re
from collections.abc import Callable
from dataclasses import replace

from cpro_test_support.siecle_samples.files import PupilEdit, SampleFile
from cpro_test_support.siecle_samples.pupils import SamplePupil, apprentice_ine, bea_ine, rnie_ine, university_ine
from cpro_test_support.siecle_samples.records import structures_record
from cpro_test_support.siecle_samples.variations.deforming import (
    adds,
    attribute_as_child,
    says,
    with_attribute,
)
from cpro_test_support.siecle_samples.variations.expected import Variation, of_file, of_pupil, of_two

_WRONG_BEA, _WRONG_RNIE = "9876543210A", "987654321AA"


def _rnie(pupil: SamplePupil) -> str:
    """Another INE of the pupil's own, as are the following ones."""
    return rnie_ine(900_000_000 + int(pupil.siecle_id))


def _bea(pupil: SamplePupil) -> str:
    return bea_ine(9_000_000_000 + int(pupil.siecle_id))


def _apprentice(pupil: SamplePupil) -> str:
    return apprentice_ine(2024, int(pupil.siecle_id))


def _university(pupil: SamplePupil) -> str:
    return university_ine(f"0ABC{pupil.siecle_id[-6:]}")


def _with_another_key(ine: str) -> str:
    return ine[:-1] + str((int(ine[-1]) + 1) % 10)


def _ine(ine: str | Callable[[SamplePupil], str] | None) -> PupilEdit:
    """The pupil has this INE, and no other number."""
    return lambda pupil: replace(pupil, ine=ine(pupil) if callable(ine) else ine, ine_bea=None, ine_rnie=None)


def _keys_as_children(file: SampleFile, _: int) -> None:
    def edit(text: str) -> str:
        if text.startswith(("<ELEVE ", "<STRUCTURES_ELEVE ")):
            return attribute_as_child("ELEVE_ID")(attribute_as_child("ELENOET")(text))
        return text

    file.text_edits.append(edit)


def _copied(count: int) -> Callable[[SampleFile, int], None]:
    """The line stands there several times, its structures too."""

    def apply(file: SampleFile, at: int) -> None:
        for block in ("ELEVES", "STRUCTURES"):
            file.record_edits[block, at].append(lambda record: record * count)

    return apply


def _same_id(file: SampleFile, at: int) -> None:
    """The next pupil's line says this pupil's ELEVE_ID, in every block."""
    first = _at(file, at)
    for block in ("ELEVES", "STRUCTURES"):
        file.record_edits[block, at + 1].append(with_attribute("ELEVE_ID", first.siecle_id))


def _same_ine(field: str) -> Callable[[SampleFile, int], None]:
    """The next pupil's line says this pupil's INE, in one of the three fields."""

    def apply(file: SampleFile, at: int) -> None:
        first = _at(file, at)
        assert first.ine is not None
        file.record_edits["ELEVES", at + 1].append(says(field, first.ine))

    return apply


def _created_again(file: SampleFile, at: int) -> None:
    """The old line comes first, with its ELEVE_ID and its leaving date; both have the INE."""

    def edit(record: str) -> str:
        old = with_attribute("ELEVE_ID", "555")(says("DATE_SORTIE", "30/06/2026")(record))
        return old + record

    file.record_edits["ELEVES", at].append(edit)


def _at(file: SampleFile, at: int) -> SamplePupil:
    return next(pupil for position, pupil in enumerate(file.pupils()) if position == at)


def _structures_of_nobody(file: SampleFile, at: int) -> None:
    stranger = replace(_at(file, at), siecle_id="999999999")
    file.raw_structures = (*file.raw_structures, structures_record(stranger).rstrip())


NUMBERS: tuple[Variation, ...] = (
    of_file("keys-as-children", "ELEVE_ID and ELENOET as children", _keys_as_children),
    of_pupil("padded-eleve-id", "blanks around ELEVE_ID",
        record=lambda record: re.sub(r'ELEVE_ID="(\d+)"', r'ELEVE_ID=" \1 "', record)),
    of_pupil("two-elenoet", "ELENOET as attribute and as child, and they differ",
        edit=lambda pupil: replace(pupil, school_number="0042"), record=adds("<ELENOET>77</ELENOET>")),
    of_pupil("two-eleve-id", "ELEVE_ID as attribute and as child, and they differ",
        record=adds("<ELEVE_ID>777</ELEVE_ID>")),
    of_pupil("no-elenoet", "no ELENOET", edit=lambda pupil: replace(pupil, school_number=None)),
    of_pupil("ine-bea", "an INE of before 2017", edit=_ine(_bea)),
    of_pupil("ine-in-ine-rnie", "the INE in INE_RNIE alone",
        edit=lambda pupil: replace(pupil, ine=None, ine_rnie=_rnie(pupil))),
    of_pupil("ine-in-ine-bea", "the INE in INE_BEA alone",
        edit=lambda pupil: replace(pupil, ine=None, ine_bea=_bea(pupil))),
    of_pupil("three-ine", "a number in each of the three fields",
        edit=lambda pupil: replace(pupil, ine_rnie=_rnie(pupil), ine_bea=_bea(pupil))),
    of_pupil("same-ine-in-three-fields", "the same number in each of the three fields",
        edit=lambda pupil: replace(pupil, ine_rnie=pupil.ine, ine_bea=pupil.ine)),
    of_pupil("ine-after-a-malformed-one", "ID_NATIONAL holds something else, INE_RNIE the INE",
        edit=lambda pupil: replace(pupil, ine="A DEMANDER", ine_rnie=_rnie(pupil)), becomes=_ine(_rnie)),
    of_pupil("lower-case-ine", "the INE in lower case",
        edit=lambda pupil: replace(pupil, ine=_rnie(pupil).lower()), becomes=_ine(_rnie)),
    of_pupil("padded-ine", "blanks around the INE",
        edit=lambda pupil: replace(pupil, ine=f"  {_rnie(pupil)}\t"), becomes=_ine(_rnie)),
    of_pupil("apprentice-ine", "the INE of an apprentice", edit=_ine(_apprentice)),
    of_pupil("university-ine", "the INE of a university", edit=_ine(_university)),
    of_pupil("no-ine", "no INE", "ine_absent", edit=_ine(None)),
    of_pupil("blank-ine", "an INE of blanks", "ine_absent", edit=_ine("   "), becomes=_ine(None)),
    of_pupil("malformed-ine", "something else in the INE's place", "ine_malformed",
        edit=_ine("12345"), becomes=_ine(None), told=("12345",)),
    of_pupil("ine-with-blanks-inside", "an INE written in groups", "ine_malformed",
        edit=_ine("987 654 321 CF"), becomes=_ine(None), told=("987 654 321 CF",)),
    of_pupil("wrong-key-ine", "an INE whose key does not hold", "ine_key_wrong",
        edit=_ine(_WRONG_RNIE), told=(_WRONG_RNIE,)),
    of_pupil("wrong-key-ine-bea", "an INE of before 2017 whose key does not hold", "ine_key_wrong",
        edit=_ine(_WRONG_BEA), told=(_WRONG_BEA,)),
    of_pupil("wrong-key-university-ine", "an INE of a university whose key does not hold", "ine_key_wrong",
        edit=_ine(lambda pupil: _with_another_key(_university(pupil)))),
    of_two("shared-ine", "the same INE on two pupils", "ine_repeated", "ine_repeated",
        apply=_same_ine("ID_NATIONAL")),
    of_two("shared-ine-in-another-field", "one pupil's INE is the old number of another",
        "ine_repeated", "ine_repeated", apply=_same_ine("INE_BEA")),
    Variation("created-again", "a pupil created again, whose old line says that they left", _created_again,
        of_pupil("", "", "ine_repeated", "ine_repeated", gone=True).expected),
    of_pupil("no-eleve-id", "no ELEVE_ID", "siecle_id_missing", "structures_of_unknown_pupil", gone=True,
        record=with_attribute("ELEVE_ID", "")),
    of_pupil("malformed-eleve-id", "an ELEVE_ID that is no number", "siecle_id_invalid", "structures_of_unknown_pupil",
        gone=True, record=with_attribute("ELEVE_ID", "12A"), told=("12A",)),
    of_pupil("very-long-eleve-id", "an ELEVE_ID of thirty digits", "siecle_id_invalid", "structures_of_unknown_pupil",
        gone=True, record=with_attribute("ELEVE_ID", "1" * 30)),
    Variation("repeated-line", "the same line twice", _copied(2),
        of_pupil("", "", "repeated_line").expected),
    Variation("line-three-times", "the same line three times", _copied(3),
        of_pupil("", "", "repeated_line", "repeated_line").expected),
    of_two("shared-eleve-id", "the same ELEVE_ID on two different lines", "siecle_id_repeated", "siecle_id_repeated",
        apply=_same_id),
    Variation("structures-of-nobody", "STRUCTURES_ELEVE of a pupil who is not there", _structures_of_nobody,
        of_pupil("", "", "structures_of_unknown_pupil", told=("999999999",)).expected),
)  # fmt: skip
