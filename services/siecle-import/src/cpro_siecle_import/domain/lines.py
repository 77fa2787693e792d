"""One line of the file, turned into a pupil or into a rejection. Nothing here looks at another line."""

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple, Protocol, overload

from cpro_contracts.identifiers import IneStatus, MalformedUaiError, parse_ine, parse_uai
from cpro_siecle_import.domain import findings

LONGEST_NAME = 100
LONGEST_CODE = 64
EARLIEST_BIRTH_YEAR = 1900
_DAY_FORM = re.compile(r"([0-9]{2})/([0-9]{2})/([0-9]{4})")
_SIECLE_ID_FORM = re.compile(r"[0-9]{1,18}")
_NAMES = ("family_name", "usage_name", "first_name", "other_first_names")
_CODES = ("mef_code", "status_code", "boarding_code", "leaving_reason", "school_number")
_SEXES = {"1": "male", "2": "female"}
_ANSWERS = {"0": False, "1": True}
_LOST, _REPLACED = "?", "\N{REPLACEMENT CHARACTER}"
_NONE: frozenset[str] = frozenset()
_TRUSTED, _ABSENT, _NOT_TRUSTED = IneStatus.TRUSTED.value, IneStatus.ABSENT.value, IneStatus.NOT_TRUSTED.value


class _Get(Protocol):
    """A mapping's `get`: bound once for a line."""

    @overload
    def __call__(self, name: str, /) -> str | None: ...
    @overload
    def __call__(self, name: str, default: str, /) -> str: ...


class PupilLine(NamedTuple):
    """What a line says of a pupil. With a `rejection` only the fields that name the pupil can be relied on.

    `ine` is the first well-formed of the three numbers, `all_ine` every well-formed one; `warnings` and `found` run in
    parallel: the value that each warning is about.
    """

    line: int
    siecle_id: str | None
    ine: str | None
    ine_status: str
    all_ine: tuple[str, ...]
    family_name: str | None
    usage_name: str | None
    first_name: str | None
    other_first_names: str | None
    birth_date: date | None
    sex: str | None
    mef_code: str | None
    status_code: str | None
    boarding_code: str | None
    repeating: bool | None
    entry_date: date | None
    leaving_date: date | None
    leaving_reason: str | None
    previous_uai: str | None
    school_number: str | None
    rejection: str | None
    rejected_value: str | None
    warnings: tuple[str, ...]
    warned_values: tuple[str, ...]


class DivisionLine(NamedTuple):
    """The divisions that the file gives to a pupil, groups left out; `Inactifs` is no class and is left out too."""

    line: int
    siecle_id: str | None
    divisions: tuple[str, ...]


def read_pupil(line: int, fields: Mapping[str, str], national_numbers: tuple[str, ...]) -> PupilLine:
    """The pupil of one line.

    Args:
        line: where it stands in the file.
        fields: the values by our names, stripped; what the file leaves out or blank is not in it.
        national_numbers: the INE fields that hold something, in the order of their precedence.
    """
    get = fields.get
    warnings: list[tuple[str, str]] = []
    ine, status, all_ine = _national_number(national_numbers, warnings)
    entry_date, leaving_date = parse_day(get("entry_date")), parse_day(get("leaving_date"))
    birth_date = parse_day(get("birth_date"))
    rejection, rejected_value = _rejection(get, birth_date, entry_date, leaving_date)
    _warn_of_damage(get, entry_date, warnings)
    too_long = _warn_of_length(get, warnings)
    return PupilLine(
        line,
        get("siecle_id"),
        ine,
        status,
        all_ine,
        get("family_name"),
        get("usage_name"),
        get("first_name"),
        get("other_first_names"),
        birth_date,
        _SEXES.get(get("sex", "")),
        None if "mef_code" in too_long else get("mef_code"),
        None if "status_code" in too_long else get("status_code"),
        None if "boarding_code" in too_long else get("boarding_code"),
        _ANSWERS.get(get("repeating", "")),
        entry_date,
        leaving_date,
        None if "leaving_reason" in too_long else get("leaving_reason"),
        _uai(get("previous_uai")),
        None if "school_number" in too_long else get("school_number"),
        rejection,
        rejected_value,
        tuple([code for code, _ in warnings]) if warnings else (),
        tuple([value for _, value in warnings]) if warnings else (),
    )


@lru_cache(maxsize=16_384)
def parse_day(text: str | None) -> date | None:
    """A date written strictly dd/mm/yyyy, else None."""
    match = _DAY_FORM.fullmatch(text or "")
    if match is None:
        return None
    day, month, year = match.groups()
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _rejection(
    get: _Get, birth_date: date | None, entry_date: date | None, leaving_date: date | None
) -> tuple[str | None, str | None]:
    """The first reason not to import the line, with the value that it is about."""
    siecle_id = get("siecle_id")
    if siecle_id is None:
        return findings.SIECLE_ID_MISSING.code, None
    if not _SIECLE_ID_FORM.fullmatch(siecle_id):
        return findings.SIECLE_ID_INVALID.code, siecle_id[:LONGEST_CODE]
    if get("family_name") is None:
        return findings.FAMILY_NAME_MISSING.code, None
    if get("first_name") is None:
        return findings.FIRST_NAME_MISSING.code, None
    for name in _NAMES:
        if len(get(name, "")) > LONGEST_NAME:
            return findings.NAME_TOO_LONG.code, None
    return _rejected_dates(get, birth_date, entry_date, leaving_date)


def _rejected_dates(
    get: _Get, birth_date: date | None, entry_date: date | None, leaving_date: date | None
) -> tuple[str | None, str | None]:
    if birth_date is None or birth_date.year < EARLIEST_BIRTH_YEAR:
        born = get("birth_date")
        if born is None:
            return findings.BIRTH_DATE_MISSING.code, None
        return findings.BIRTH_DATE_INVALID.code, born[:LONGEST_CODE]
    leaves = get("leaving_date")
    if leaves is None:
        return None, None
    if leaving_date is None:
        return findings.LEAVING_DATE_INVALID.code, leaves[:LONGEST_CODE]
    if entry_date is not None and leaving_date < entry_date:
        return findings.LEAVING_BEFORE_ENTRY.code, leaves
    return None, None


def _national_number(
    numbers: tuple[str, ...], warnings: list[tuple[str, str]]
) -> tuple[str | None, str, tuple[str, ...]]:
    if not numbers:
        warnings.append((findings.INE_ABSENT.code, ""))
        return None, _ABSENT, ()
    parsed = [ine for number in numbers if (ine := parse_ine(number)) is not None]
    if not parsed:
        warnings.append((findings.INE_MALFORMED.code, numbers[0][:LONGEST_CODE]))
        return None, _NOT_TRUSTED, ()
    chosen, every = parsed[0], tuple(dict.fromkeys([ine.value for ine in parsed]))
    if not chosen.key_holds:
        warnings.append((findings.INE_KEY_WRONG.code, chosen.value))
        return chosen.value, _NOT_TRUSTED, every
    return chosen.value, _TRUSTED, every


def _warn_of_damage(get: _Get, entry_date: date | None, warnings: list[tuple[str, str]]) -> None:
    for name in _NAMES:
        value = get(name)
        if value is not None and (_LOST in value or _REPLACED in value):
            warnings.append((findings.DAMAGED_NAME.code, value[:LONGEST_NAME]))
    if entry_date is None and (entered := get("entry_date")) is not None:
        warnings.append((findings.ENTRY_DATE_UNREADABLE.code, entered[:LONGEST_CODE]))


def _warn_of_length(get: _Get, warnings: list[tuple[str, str]]) -> frozenset[str]:
    """The codes that are too long to be one: they are not imported."""
    too_long = [name for name in _CODES if len(get(name, "")) > LONGEST_CODE]
    if not too_long:
        return _NONE
    warnings += [(findings.FIELD_TOO_LONG.code, get(name, "")[:LONGEST_CODE]) for name in too_long]
    return frozenset(too_long)


@lru_cache(maxsize=4_096)
def _uai(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return parse_uai(text)
    except MalformedUaiError:
        return None
