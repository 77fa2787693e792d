"""The table of rejections is one that a spreadsheet opens, whatever a file has put into its cells."""

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_siecle_import.entrypoints import rejections_csv
from cpro_siecle_import.ports import StoredFinding

PLAIN = StoredFinding(1, "rejection", "leaving_date_invalid", 7, "1", "A", "B", "1234567890V", "bientôt")
FROM_THE_FILE = ("siecle_id", "family_name", "first_name", "ine", "found")
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"


def table(*found: StoredFinding) -> list[list[str]]:
    text = rejections_csv.header() + rejections_csv.rows(found)
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=";"))


@pytest.mark.parametrize("cell", FROM_THE_FILE)
@pytest.mark.parametrize("start", [*FORMULA_STARTS, " =", "\u00a0=", "\t ="])
def test_no_cell_that_comes_from_a_file_begins_a_formula(cell: str, start: str) -> None:
    hostile: dict[str, Any] = {cell: f'{start}cmd|"/c calc"!A1'}

    (row,) = table(replace(PLAIN, **hostile))[1:]

    assert not any(shown.lstrip().startswith(tuple(FORMULA_STARTS)) for shown in row)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=4, max_size=4))
def test_whatever_a_cell_holds_it_stays_one_cell_and_loses_nothing(texts: list[str]) -> None:
    siecle_id, family_name, first_name, ine = texts
    hostile = replace(PLAIN, siecle_id=siecle_id, family_name=family_name, first_name=first_name, ine=ine)

    header, row, after = table(hostile, PLAIN)

    assert len(header) == len(row) == len(after) == 8
    assert [shown.removeprefix("'") for shown in row[2:6]] == [text.removeprefix("'") for text in texts]
    assert after[2:6] == ["1", "A", "B", "1234567890V"]


def test_it_begins_with_the_mark_and_french_headers_and_ends_its_lines_as_spreadsheets_do() -> None:
    text = rejections_csv.header() + rejections_csv.rows([PLAIN])

    assert text.startswith("\ufeffLigne;Gravité;Identifiant SIECLE;Nom;Prénom;INE;Explication;Code\r\n")
    assert text.endswith(";leaving_date_invalid\r\n")
