"""What the file says of itself, and whether it may be applied to this school now."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.lines import parse_day
from cpro_siecle_import.domain.refusals import FileRefusedError

SCHOOLS_TIME = ZoneInfo("Europe/Paris")
# The academies' clocks run from UTC-4 (Guadeloupe) to UTC+12 (Wallis): an export made now may read that much later.
CLOCKS_APART = timedelta(hours=14)
FIRST_MONTH_OF_SCHOOL_YEAR = 8
_TIMESTAMP_FORM = re.compile(r"([0-9]{2}/[0-9]{2}/[0-9]{4})[ T]+([0-9]{2}):([0-9]{2}):([0-9]{2})")
_YEAR_FORM = re.compile(r"[0-9]{4}")


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """The parameters of the file as they stand in it, blank ones as None."""

    uai: str | None = None
    school_year: str | None = None
    export_date: str | None = None
    timestamp: str | None = None


@dataclass(frozen=True, slots=True)
class Export:
    """The file's own words on its origin, understood.

    `exported_at` is local time without a zone: it is only ever compared with another export of the same school.
    `school_year` is None where the file does not say it.
    """

    uai: str
    school_year: int | None
    exported_at: datetime | None
    reference_date: date


@dataclass(frozen=True, slots=True)
class AppliedExport:
    """The last export that was applied to the school."""

    exported_at: datetime | None
    reference_date: date


def accept(header: ExportHeader, *, expected_uai: str, received_on: datetime) -> Export:
    """The export, if it is this school's and not from the future.

    The reference date for presence is the export's date, else its timestamp's, else the upload's; never the clock of
    the import.

    Args:
        header: the file's parameters.
        expected_uai: the school that uploads.
        received_on: when the upload arrived, in the school's local time without a zone.

    Raises:
        FileRefusedError: another school's file, or an impossible date.
    """
    uai = _uai(header.uai, expected_uai)
    exported_at, export_date = _timestamp(header.timestamp), _export_date(header.export_date)
    for said, moment in ((exported_at, exported_at), (export_date, _midnight(export_date))):
        if said is not None and moment is not None and moment > received_on + CLOCKS_APART:
            raise FileRefusedError(refusals.EXPORT_IN_FUTURE, found=in_words(said), received=in_words(received_on))
    reference_date = export_date or (exported_at or received_on).date()
    year = header.school_year or ""
    return Export(uai, int(year) if _YEAR_FORM.fullmatch(year) else None, exported_at, reference_date)


def refuse_if_outdated(export: Export, last: AppliedExport | None) -> None:
    """Refuse an export older than the last one applied; the same one again is not older.

    Raises:
        FileRefusedError: it is older.
    """
    if last is None:
        return
    if export.exported_at is not None and last.exported_at is not None:
        older = export.exported_at < last.exported_at
    else:
        older = export.reference_date < last.reference_date
    if older:
        raise FileRefusedError(
            refusals.EXPORT_OUTDATED,
            found=in_words(export.exported_at or export.reference_date),
            last=in_words(last.exported_at or last.reference_date),
        )


def school_year_of(day: date) -> int:
    """The starting year of the school year that a day belongs to; a new one begins in August."""
    return day.year if day.month >= FIRST_MONTH_OF_SCHOOL_YEAR else day.year - 1


def in_words(moment: date | datetime) -> str:
    """A date, or a date and time, as a French reader writes it."""
    return moment.strftime("%d/%m/%Y à %H:%M:%S" if isinstance(moment, datetime) else "%d/%m/%Y")


def _uai(found: str | None, expected: str) -> str:
    try:
        uai = parse_uai(found or "")
    except MalformedUaiError:
        problem = (
            f"Le code d'établissement du fichier, « {found[:20]} », n'est pas un code UAI"
            if found
            else "Le fichier ne dit pas de quel établissement il vient"
        )
        raise FileRefusedError(refusals.UAI_MISSING, problem=problem, expected=expected) from None
    if uai != expected:
        raise FileRefusedError(refusals.UAI_OF_ANOTHER_SCHOOL, found=uai, expected=expected)
    return uai


def _timestamp(text: str | None) -> datetime | None:
    if text is None:
        return None
    match = _TIMESTAMP_FORM.fullmatch(text)
    day = parse_day(match[1]) if match else None
    if match is None or day is None:
        raise FileRefusedError(refusals.EXPORT_DATE_UNREADABLE, found=text[:30])
    try:
        return datetime.combine(day, time(int(match[2]), int(match[3]), int(match[4])))
    except ValueError:
        raise FileRefusedError(refusals.EXPORT_DATE_UNREADABLE, found=text[:30]) from None


def _export_date(text: str | None) -> date | None:
    if text is None:
        return None
    day = parse_day(text)
    if day is None:
        raise FileRefusedError(refusals.EXPORT_DATE_UNREADABLE, found=text[:30])
    return day


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time())
