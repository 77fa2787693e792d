"""The lines of a file as the rows that `roster_sql` takes in."""

from collections.abc import Iterable, Sequence

from cpro_contracts.identifiers import IneStatus, MatchSecret, match_key_of_ine
from cpro_siecle_import.adapters.copy_text import copy_text
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine

_TRUSTED = IneStatus.TRUSTED.value


def pupil_rows(lines: Iterable[PupilLine], secret: MatchSecret) -> bytes:
    """For `roster_sql.COPY_PUPILS`: each line and the match key of its INE, where that can be trusted.

    Keys are pseudonyms made with a secret that no database holds, so they are made here.
    """
    return copy_text(
        [
            (*line, match_key_of_ine(line.ine, secret) if line.ine_status == _TRUSTED and line.ine else None)
            for line in lines
        ]
    )


def division_rows(lines: Iterable[DivisionLine]) -> bytes:
    """For `roster_sql.COPY_DIVISIONS`: a row for each division of a line, or one without a division."""
    return copy_text([row for line in lines for row in _rows_of(line)])


def _rows_of(line: DivisionLine) -> Sequence[tuple[int, str | None, str | None]]:
    return [(line.line, line.siecle_id, division) for division in line.divisions or (None,)]
