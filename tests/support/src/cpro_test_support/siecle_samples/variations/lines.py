"""What a pupil's line says: names, dates, codes and classes."""

from dataclasses import replace
from datetime import date

from cpro_test_support.siecle_samples.files import PARIS, PupilEdit, SampleFile
from cpro_test_support.siecle_samples.records import tag
from cpro_test_support.siecle_samples.variations.deforming import adds, lacks, renames, says, sets
from cpro_test_support.siecle_samples.variations.expected import Expected, Variation, of_file, of_pupil, without

_SEPTEMBER_2025, _JUNE_2026 = date(2025, 9, 1), date(2026, 6, 30)


def _division(code: str | None) -> PupilEdit:
    return lambda pupil: replace(pupil, division=code)


def _structure(code: str, kind: str = "D") -> str:
    return f"<STRUCTURE>\n{tag('CODE_STRUCTURE', code)}{tag('TYPE_STRUCTURE', kind)}</STRUCTURE>"


def _in_class(code: str) -> PupilEdit:
    return lambda pupil: replace(pupil, division=code, groups=("G1", "G2"))


def _leaving_on_the_day_of_the_export(file: SampleFile, at: int) -> None:
    assert file.exported_at is not None
    on = file.exported_at.astimezone(PARIS).date()
    file.pupil_edits[at].append(lambda pupil: pupil.leaves(on))


NAMES: tuple[Variation, ...] = (
    of_file("legacy-names", "NOM instead of NOM_DE_FAMILLE, as before 2016", sets(legacy_names=True)),
    of_pupil("legacy-name-too", "NOM beside NOM_DE_FAMILLE: the family name counts", record=adds("<NOM>AUTRE</NOM>")),
    of_pupil("usage-name", "a name of usage", edit=lambda pupil: replace(pupil, usage_name="D'ORMESSAN-VIÉ")),
    of_pupil("several-first-names", "several first names in PRENOM and after it", edit=lambda pupil: replace(
        pupil, first_name="Marie Léa Zoé", other_first_names=("Anne-Lou", "Ève"))),
    of_pupil("names-with-signs", "ampersand, quotes, angle brackets", edit=lambda pupil: replace(
        pupil, family_name="O'NEIL & \"FILS\" <X>")),
    of_pupil("doubled-blanks", "blanks doubled inside a name", edit=lambda pupil: replace(
        pupil, family_name="LE   GUEN"), becomes=lambda pupil: replace(pupil, family_name="LE GUEN")),
    of_pupil("longest-name", "a name of a hundred characters", edit=lambda pupil: replace(
        pupil, family_name="É" * 100)),
    of_pupil("too-long-name", "a name of a hundred and one characters", "name_too_long", gone=True,
        edit=lambda pupil: replace(pupil, family_name="X" * 101)),
    of_pupil("too-long-usage-name", "a name of usage of a thousand characters", "name_too_long", gone=True,
        edit=lambda pupil: replace(pupil, usage_name="X" * 1_000)),
    of_pupil("no-family-name", "no family name", "family_name_missing", gone=True, record=lacks("NOM_DE_FAMILLE")),
    of_pupil("blank-family-name", "a blank family name", "family_name_missing", gone=True,
        record=says("NOM_DE_FAMILLE", "  ")),
    of_pupil("no-first-name", "no first name", "first_name_missing", gone=True, record=lacks("PRENOM")),
    of_pupil("first-name-in-another-field", "the first name in PRENOM2", "first_name_missing", gone=True,
        record=renames("PRENOM", "PRENOM2")),
    of_pupil("no-sex", "no CODE_SEXE", edit=lambda pupil: replace(pupil, sex=None)),
    of_pupil("unknown-sex", "a CODE_SEXE of 9", record=says("CODE_SEXE", "9"),
        becomes=lambda pupil: replace(pupil, sex=None)),
    of_pupil("no-codes", "no course, status, boarding or repeating", edit=lambda pupil: replace(
        pupil, mef_code=None, status_code=None, boarding_code=None, repeating=None)),
    of_pupil("leading-zeros", "codes that look like numbers", edit=lambda pupil: replace(
        pupil, mef_code="00100010001", boarding_code="0", school_number="000007")),
    of_pupil("too-long-code", "a course code of sixty-five characters", "field_too_long",
        record=says("CODE_MEF", "9" * 65), becomes=lambda pupil: replace(pupil, mef_code=None), told=("9" * 64,)),
    of_pupil("last-year", "last year's school", edit=lambda pupil: replace(pupil, previous_uai="0750680G")),
    of_pupil("lower-case-last-year", "last year's school in lower case", edit=lambda pupil: replace(
        pupil, previous_uai="0750680g"), becomes=lambda pupil: replace(pupil, previous_uai="0750680G")),
    of_pupil("malformed-last-year", "last year's school is no UAI", edit=lambda pupil: replace(
        pupil, previous_uai="ETRANGER"), becomes=lambda pupil: replace(pupil, previous_uai=None)),
)  # fmt: skip

DATES: tuple[Variation, ...] = (
    of_pupil("no-birth-date", "no birth date", "birth_date_missing", gone=True, record=lacks("DATE_NAISS")),
    *(
        of_pupil(f"birth-date-{what}", f"a birth date {how}", "birth_date_invalid", gone=True,
            record=says("DATE_NAISS", text), told=(text,))
        for what, how, text in (
            ("iso", "in another form", "2009-12-31"), ("short", "without zeros", "1/2/2009"),
            ("two-digit-year", "with a year of two digits", "31/12/09"), ("impossible", "of a 31st of February",
            "31/02/2009"), ("month-first", "with the month first", "12/31/2009"), ("with-time", "with an hour",
            "31/12/2009 00:00:00"), ("ancient", "of the year 209", "31/12/0209"),
        )
    ),
    of_pupil("no-entry-date", "no entry date", edit=lambda pupil: replace(pupil, entry_date=None)),
    of_pupil("unreadable-entry-date", "an entry date in another form", "entry_date_unreadable",
        record=says("DATE_ENTREE", "rentrée"), becomes=lambda pupil: replace(pupil, entry_date=None),
        told=("rentrée",)),
    of_pupil("future-leaving-date", "a leaving date that has not come",
        edit=lambda pupil: replace(pupil, leaving_date=date(2099, 7, 5), leaving_reason="06")),
    of_pupil("leaving-reason-alone", "a leaving reason without a date",
        edit=lambda pupil: replace(pupil, leaving_reason="11")),
    of_pupil("left", "a leaver who keeps the last division", gone=True,
        edit=lambda pupil: replace(pupil, entry_date=_SEPTEMBER_2025, leaving_date=_JUNE_2026)),
    of_pupil("left-without-division", "a leaver without a division", gone=True, edit=lambda pupil: replace(
        pupil, entry_date=_SEPTEMBER_2025, leaving_date=_JUNE_2026, division=None, groups=())),
    Variation("left-on-the-day-of-the-export", "a leaving date that is the reference date",
        _leaving_on_the_day_of_the_export, Expected(present=without)),
    of_pupil("unreadable-leaving-date", "a leaving date in another form", "leaving_date_invalid", gone=True,
        record=says("DATE_SORTIE", "juin 2026"), told=("juin 2026",)),
    of_pupil("leaving-before-entry", "a leaving date before the entry date", "leaving_before_entry", gone=True,
        edit=lambda pupil: replace(pupil, entry_date=_SEPTEMBER_2025, leaving_date=date(2025, 8, 31)),
        told=("31/08/2025",)),
    of_pupil("leaving-on-the-entry-date", "an enrolment of a day", gone=True,
        edit=lambda pupil: replace(pupil, entry_date=_SEPTEMBER_2025, leaving_date=_SEPTEMBER_2025)),
)  # fmt: skip

CLASSES: tuple[Variation, ...] = (
    of_pupil("division-with-blanks", "a division with blanks in its code", edit=_division("T MCV A 1")),
    of_pupil("division-of-digits", "a division of digits", edit=_division("0301")),
    of_pupil("division-with-signs", "a division with signs", edit=_division("1G&<T>'2")),
    of_pupil("groups-first", "groups before the division", edit=_in_class("4 D")),
    of_pupil("division-first", "the division before the groups", edit=lambda pupil: replace(
        pupil, division="4 D", groups=()), structures=adds(_structure("G1", "G"))),
    of_pupil("division-twice", "the same division twice", edit=_division("4 D"), structures=adds(_structure("4 D"))),
    of_pupil("two-divisions", "two divisions", "two_divisions", edit=_division("4 D"),
        structures=adds(_structure("301")), becomes=_division(None), told=("301", "4 D")),
    of_pupil("two-entries-in-structures", "two STRUCTURES_ELEVE of one pupil, with two divisions", "two_divisions",
        edit=_division("4 D"), structures=lambda record: record + record.replace("4 D", "301"),
        becomes=_division(None), told=("301", "4 D")),
    of_pupil("no-division", "neither a division nor a leaving date", "not_arrived", gone=True,
        edit=lambda pupil: replace(pupil, division=None, groups=())),
    of_pupil("no-division-and-a-leaving-date-to-come", "no division, and a leaving date that has not come", "not_arrived",
        gone=True, edit=lambda pupil: replace(pupil, division=None, groups=(), leaving_date=date(2099, 7, 5))),
    of_pupil("groups-alone", "groups and no division", "not_arrived", gone=True,
        edit=lambda pupil: replace(pupil, division=None, groups=("G1",))),
    of_pupil("inactive", "the division called Inactifs", "not_arrived", gone=True, edit=_division("Inactifs")),
    of_pupil("inactive-upper-case", "the same in upper case", "not_arrived", gone=True, edit=_division("INACTIFS")),
    of_pupil("inactive-and-a-division", "Inactifs beside a division", edit=_division("4 D"),
        structures=adds(_structure("Inactifs"))),
    of_pupil("structure-without-kind", "a structure that does not say what it is", edit=_division("4 D"),
        structures=adds("<STRUCTURE><CODE_STRUCTURE>301</CODE_STRUCTURE></STRUCTURE>")),
    of_pupil("division-without-code", "a division without a code", edit=_division("4 D"),
        structures=adds("<STRUCTURE><CODE_STRUCTURE/><TYPE_STRUCTURE>D</TYPE_STRUCTURE></STRUCTURE>")),
)  # fmt: skip
