"""What the file says of itself: its school, its year, the moment of the export."""

from collections.abc import Callable
from datetime import timedelta

from cpro_contracts.identifiers import uai_key
from cpro_test_support.siecle_samples.files import PARIS, SampleFile
from cpro_test_support.siecle_samples.variations.deforming import sets
from cpro_test_support.siecle_samples.variations.expected import Variation, of_file, refused, waits

_OTHER_NUMBER = 750_680
_OTHER_UAI = f"{_OTHER_NUMBER:07}{uai_key(_OTHER_NUMBER)}"


def _says(tag: str, text: str | None) -> Callable[[SampleFile, int], None]:
    """`PARAMETRES` says this instead of the truth."""

    def apply(file: SampleFile, _: int) -> None:
        file.parameters[tag] = text

    return apply


def _uai(edit: Callable[[str], str]) -> Callable[[SampleFile, int], None]:
    return lambda file, at: _says("UAJ", edit(file.uai))(file, at)


def _next_year(file: SampleFile, _: int) -> None:
    file.school_year = (file.school_year or 2026) + 1


def _years_ahead(tag: str) -> Callable[[SampleFile, int], None]:
    """A clock that runs ten years fast."""

    def apply(file: SampleFile, at: int) -> None:
        assert file.exported_at is not None
        moment = file.exported_at.astimezone(PARIS) + timedelta(days=3_653)
        _says(tag, f"{moment:%d/%m/%Y}" if tag == "DATE_EXPORT" else f"{moment:%d/%m/%Y %H:%M:%S}")(file, at)

    return apply


HEADERS: tuple[Variation, ...] = (
    of_file("no-timestamp", "HORODATAGE is missing", sets(with_timestamp=False)),
    of_file("no-export-date", "DATE_EXPORT is missing", sets(with_export_date=False)),
    of_file("no-export-moment", "neither HORODATAGE nor DATE_EXPORT",
        sets(with_timestamp=False, with_export_date=False)),
    of_file("old-version", "VERSION 1.7", sets(version="1.7")),
    of_file("no-version", "no VERSION", sets(version=None)),
    of_file("lower-case-uai", "the school's UAI in lower case, blanks around it", _uai(lambda uai: f" {uai.lower()} ")),
    of_file("unknown-parameters", "PARAMETRES say more", _says("PARAMETRE_NOUVEAU", "1")),
    waits("next-school-year", "the base in preparation", "other_school_year", _next_year),
    waits("no-school-year", "ANNEE_SCOLAIRE is missing", "other_school_year", sets(school_year=None)),
    waits("unreadable-school-year", "ANNEE_SCOLAIRE in another form", "other_school_year",
        _says("ANNEE_SCOLAIRE", "2026-2027")),
    refused("other-uai", "the file of another school", "uai_of_another_school", _says("UAJ", _OTHER_UAI),
        told=(_OTHER_UAI,)),
    refused("no-uai", "UAJ is missing", "uai_missing", _says("UAJ", None)),
    refused("malformed-uai", "UAJ is no UAI", "uai_missing", _says("UAJ", "LYCEE"), told=("LYCEE",)),
    refused("wrong-key-uai", "UAJ with another letter", "uai_missing",
        _uai(lambda uai: uai[:7] + ("A" if uai[7] != "A" else "B"))),
    refused("no-parameters", "a file whose PARAMETRES say nothing", "uai_missing",
        lambda file, _: file.parameters.update(UAJ=None, ANNEE_SCOLAIRE=None, DATE_EXPORT=None, HORODATAGE=None)),
    refused("future-timestamp", "HORODATAGE in ten years", "export_in_future", _years_ahead("HORODATAGE")),
    refused("future-export-date", "DATE_EXPORT in ten years", "export_in_future", _years_ahead("DATE_EXPORT")),
    refused("unreadable-timestamp", "HORODATAGE in another form", "export_date_unreadable",
        _says("HORODATAGE", "2026-09-15T18:30:12"), told=("2026-09-15T18:30:12",)),
    refused("unreadable-export-date", "DATE_EXPORT in another form", "export_date_unreadable",
        _says("DATE_EXPORT", "15 sept. 2026"), told=("15 sept. 2026",)),
)  # fmt: skip
