"""The rules of the import, each with the case that would break it."""

from datetime import date, datetime, timedelta

import pytest

from cpro_siecle_import.domain import findings, refusals
from cpro_siecle_import.domain.export import (
    AppliedExport,
    Export,
    ExportHeader,
    accept,
    refuse_if_outdated,
    school_year_of,
)
from cpro_siecle_import.domain.guard import (
    SENTENCES,
    GuardLimits,
    PlannedEffect,
    StopReason,
    reasons_to_stop,
)
from cpro_siecle_import.domain.lines import parse_day, read_pupil
from cpro_siecle_import.domain.plan import name_key
from cpro_siecle_import.domain.presence import Presence, presence
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_siecle_import.entrypoints import rejections_csv
from cpro_siecle_import.ports import StoredFinding

UAI, OTHER = "0752387M", "0750680G"
RECEIVED = datetime(2026, 9, 16, 9, 0)  # noqa: DTZ001 - the school's local time, as files have it
TODAY = RECEIVED.date()
WHOLE = {"siecle_id": "1", "family_name": "A", "first_name": "B", "birth_date": "31/12/2009"}


@pytest.mark.parametrize(
    ("changed", "code", "found"),
    [
        ({"siecle_id": None}, "siecle_id_missing", None),
        ({"siecle_id": "12a"}, "siecle_id_invalid", "12a"),
        ({"siecle_id": "²"}, "siecle_id_invalid", "²"),
        ({"family_name": None}, "family_name_missing", None),
        ({"first_name": None}, "first_name_missing", None),
        ({"first_name": "x" * 101}, "name_too_long", None),
        ({"birth_date": None}, "birth_date_missing", None),
        ({"birth_date": "2009-12-31"}, "birth_date_invalid", "2009-12-31"),
        ({"birth_date": "1/1/2009"}, "birth_date_invalid", "1/1/2009"),
        ({"birth_date": "29/02/2009"}, "birth_date_invalid", "29/02/2009"),
        ({"birth_date": "01/01/0209"}, "birth_date_invalid", "01/01/0209"),
        ({"leaving_date": "bientôt"}, "leaving_date_invalid", "bientôt"),
        ({"entry_date": "02/09/2026", "leaving_date": "01/09/2026"}, "leaving_before_entry", "01/09/2026"),
        ({"entry_date": "01/09/2026", "leaving_date": "01/09/2026"}, None, None),
    ],
)
def test_a_line_that_does_not_say_who_or_when_is_rejected(
    changed: dict[str, str | None], code: str | None, found: str | None
) -> None:
    fields = {name: value for name, value in {**WHOLE, **changed}.items() if value is not None}

    line = read_pupil(1, fields, ())

    assert (line.rejection, line.rejected_value) == (code, found)


@pytest.mark.parametrize(
    ("numbers", "ine", "status", "warnings"),
    [
        ((), None, "absent", ("ine_absent",)),
        (("123456789fj",), "123456789FJ", "trusted", ()),
        (("abc", "123456789FJ"), "123456789FJ", "trusted", ()),
        (("123456789FA",), "123456789FA", "not_trusted", ("ine_key_wrong",)),
        (("abc",), None, "not_trusted", ("ine_malformed",)),
    ],
)
def test_the_ine_is_the_first_well_formed_number_and_a_doubtful_one_is_only_warned_of(
    numbers: tuple[str, ...], ine: str | None, status: str, warnings: tuple[str, ...]
) -> None:
    line = read_pupil(1, WHOLE, numbers)

    assert (line.ine, line.ine_status, line.warnings, line.rejection) == (ine, status, warnings, None)


def test_every_well_formed_number_is_kept_as_an_alias() -> None:
    assert read_pupil(1, WHOLE, ("123456789FJ", "x", "1234567890V")).all_ine == ("123456789FJ", "1234567890V")


def test_a_question_mark_in_a_name_is_damage() -> None:
    line = read_pupil(1, WHOLE | {"family_name": "B?UF"}, ("123456789FJ",))

    assert (line.warnings, line.warned_values) == (("damaged_name",), ("B?UF",))


@pytest.mark.parametrize("text", ["31/12/09", "31-12-2009", " 31/12/2009", "31/12/2009 ", "٣١/١٢/٢٠٠٩", "", None])
def test_only_strict_french_dates_are_dates(text: str | None) -> None:
    assert parse_day(text) is None
    assert parse_day("31/12/2009") == date(2009, 12, 31)


@pytest.mark.parametrize(
    ("divisions", "leaving", "expected"),
    [
        (["4 D"], None, Presence.PRESENT),
        (["4 D"], 1, Presence.PRESENT),
        (["4 D"], 0, Presence.LEFT),
        ([], -1, Presence.LEFT),
        ([], None, Presence.NOT_ARRIVED),
        ([], 1, Presence.NOT_ARRIVED),
        (["4 D", "5 D"], None, Presence.PRESENT),
    ],
)
def test_presence_is_a_class_and_no_leaving_date_that_has_come(
    divisions: list[str], leaving: int | None, expected: Presence
) -> None:
    leaving_date = None if leaving is None else TODAY + timedelta(days=leaving)

    assert presence(divisions, leaving_date, TODAY) is expected


def test_the_reference_date_is_the_exports_else_its_timestamps_else_the_uploads() -> None:
    def reference(export_date: str | None, timestamp: str | None) -> date:
        header = ExportHeader(UAI, "2026", export_date, timestamp)
        return accept(header, expected_uai=UAI, received_on=RECEIVED).reference_date

    assert reference("14/09/2026", "15/09/2026 18:30:00") == date(2026, 9, 14)
    assert reference(None, "15/09/2026 18:30:00") == date(2026, 9, 15)
    assert reference(None, None) == TODAY


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (ExportHeader(), "uai_missing"),
        (ExportHeader("0752387X"), "uai_missing"),
        (ExportHeader(OTHER), "uai_of_another_school"),
        (ExportHeader(UAI, "2026", None, "17/09/2026 18:30:00"), "export_in_future"),
        (ExportHeader(UAI, "2026", "18/09/2026"), "export_in_future"),
        (ExportHeader(UAI, "2026", "hier"), "export_date_unreadable"),
        (ExportHeader(UAI, "2026", None, "15/09/2026"), "export_date_unreadable"),
        (ExportHeader(UAI, "2026", None, "15/09/2026 25:00:00"), "export_date_unreadable"),
    ],
)
def test_a_file_of_another_school_or_from_the_future_is_refused(header: ExportHeader, code: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        accept(header, expected_uai=UAI, received_on=RECEIVED)

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (ExportHeader(UAI, "2026", "18/09/2026"), "le 18/09/2026, après son dépôt (16/09/2026 à 09:00:00)"),
        (ExportHeader(UAI, "2026", None, "17/09/2026 18:30:00"), "le 17/09/2026 à 18:30:00, après son dépôt"),
    ],
)
def test_the_date_of_a_file_from_the_future_is_told_as_the_file_says_it(header: ExportHeader, words: str) -> None:
    with pytest.raises(FileRefusedError) as refused:
        accept(header, expected_uai=UAI, received_on=RECEIVED)

    assert words in refused.value.detail


def test_an_export_of_an_overseas_school_may_read_a_few_hours_later_than_paris() -> None:
    accept(ExportHeader(UAI, "2026", None, "16/09/2026 20:00:00"), expected_uai=UAI, received_on=RECEIVED)


def test_only_an_older_export_than_the_last_applied_is_outdated() -> None:
    last = AppliedExport(RECEIVED, TODAY)

    refuse_if_outdated(Export(UAI, 2026, RECEIVED, TODAY), last)
    refuse_if_outdated(Export(UAI, 2026, None, TODAY), last)
    refuse_if_outdated(Export(UAI, 2026, RECEIVED - timedelta(days=9), TODAY), None)
    for older in (
        Export(UAI, 2026, RECEIVED - timedelta(seconds=1), TODAY),
        Export(UAI, 2026, None, TODAY - timedelta(days=1)),
    ):
        with pytest.raises(FileRefusedError):
            refuse_if_outdated(older, last)


def test_a_school_year_begins_in_august() -> None:
    assert [school_year_of(date(2026, month, 1)) for month in (7, 8, 12)] == [2025, 2026, 2026]


@pytest.mark.parametrize(
    ("before", "present", "deactivated", "first", "expected"),
    [
        (100, 80, 20, False, ()),
        (100, 79, 21, False, (StopReason.MASS_DEACTIVATION,)),
        (100, 60, 60, True, ()),
        (100, 60, 61, True, (StopReason.MASS_DEACTIVATION,)),
        (4, 0, 4, False, ()),
        (5, 5, 5, False, (StopReason.MASS_DEACTIVATION,)),
        (100, 50, 0, False, ()),
        (100, 49, 0, False, (StopReason.FEW_PRESENT,)),
        (0, 500, 0, True, ()),
    ],
)
def test_the_guard_stops_where_the_limits_say(
    before: int, present: int, deactivated: int, first: bool, expected: tuple[StopReason, ...]
) -> None:
    effect = PlannedEffect(before, present, deactivated)

    found = reasons_to_stop(effect, GuardLimits(), first_of_school_year=first, other_school_year=False, preview=False)

    assert found == expected


def test_two_spellings_of_a_name_share_its_letters_and_another_script_shares_nothing() -> None:
    assert name_key("Bœuf-Ÿves d'Été") == name_key("BOEUF YVES DETE") == "BOEUFYVESDETE"
    assert name_key("李") == ""


def test_every_code_is_unique_and_has_a_sentence() -> None:
    assert len(refusals.BY_CODE) == len(refusals.ALL)
    assert len(findings.BY_CODE) == len(findings.ALL)
    assert set(SENTENCES) == set(StopReason)
    assert all(refusal.detail.endswith((".", ").")) for refusal in refusals.ALL)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1"])
def test_no_cell_of_the_table_is_a_formula(name: str) -> None:
    finding = StoredFinding(1, "warning", "ine_absent", 7, "1", name, "B", None, None)

    row = rejections_csv.rows([finding])

    assert f"'{name}" in row


def test_a_cell_with_a_semicolon_stays_one_cell() -> None:
    finding = StoredFinding(1, "rejection", "ine_repeated", 7, "1", 'A;"B', "C", None, "X")

    assert '"A;""B"' in rejections_csv.rows([finding])
