"""The remarks on a file's lines as a table that a secretary opens in a spreadsheet.

UTF-8 with its mark and semicolons, as a French spreadsheet expects. A cell that a spreadsheet would take for a formula
begins with an apostrophe: names come from a file, and a file can come from anyone.
"""

import csv
import io
from collections.abc import Iterable

from cpro_siecle_import.domain import findings
from cpro_siecle_import.domain.english import sentence_of
from cpro_siecle_import.ports import StoredFinding

HEADERS = {
    "fr": ("Ligne", "Gravité", "Identifiant SIECLE", "Nom", "Prénom", "INE", "Explication", "Code"),
    "en": ("Line", "Severity", "SIECLE id", "Family name", "First name", "INE", "Explanation", "Code"),
}
BYTE_ORDER_MARK = "\ufeff"
_SEVERITIES = {
    "fr": {"rejection": "Élève rejeté", "warning": "Avertissement"},
    "en": {"rejection": "Pupil rejected", "warning": "Warning"},
}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def header(language: str = "fr") -> str:
    """The first line, with the byte order mark before it."""
    return BYTE_ORDER_MARK + _lines([HEADERS[language]])


def rows(found: Iterable[StoredFinding], language: str = "fr") -> str:
    """A line for each remark."""
    return _lines(_row(finding, language) for finding in found)


def _row(finding: StoredFinding, language: str) -> tuple[str, ...]:
    return (
        "" if finding.line is None else str(finding.line),
        _SEVERITIES[language][finding.severity],
        finding.siecle_id or "",
        finding.family_name or "",
        finding.first_name or "",
        finding.ine or "",
        sentence_of(findings.BY_CODE[finding.code], finding.found, language),
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
