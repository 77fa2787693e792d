"""The remarks on a file's lines as a table that a secretary opens in a spreadsheet.

UTF-8 with its mark and semicolons, as a French spreadsheet expects. A cell that a spreadsheet would take for a formula
begins with an apostrophe: names come from a file, and a file can come from anyone.
"""

import csv
import io
from collections.abc import Iterable

from cpro_siecle_import.domain import findings
from cpro_siecle_import.ports import StoredFinding

HEADERS = ("Ligne", "Gravité", "Identifiant SIECLE", "Nom", "Prénom", "INE", "Explication", "Code")
BYTE_ORDER_MARK = "\ufeff"
_SEVERITIES = {"rejection": "Élève rejeté", "warning": "Avertissement"}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def header() -> str:
    """The first line, with the byte order mark before it."""
    return BYTE_ORDER_MARK + _lines([HEADERS])


def rows(found: Iterable[StoredFinding]) -> str:
    """A line for each remark."""
    return _lines(_row(finding) for finding in found)


def _row(finding: StoredFinding) -> tuple[str, ...]:
    return (
        "" if finding.line is None else str(finding.line),
        _SEVERITIES[finding.severity],
        finding.siecle_id or "",
        finding.family_name or "",
        finding.first_name or "",
        finding.ine or "",
        findings.BY_CODE[finding.code].sentence_for(finding.found),
        finding.code,
    )


def _lines(cells: Iterable[tuple[str, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    for row in cells:
        writer.writerow([_harmless(cell) for cell in row])
    return out.getvalue()


def _harmless(cell: str) -> str:
    return "'" + cell if cell.lstrip().startswith(_FORMULA_STARTS) or cell.startswith(_FORMULA_STARTS) else cell
