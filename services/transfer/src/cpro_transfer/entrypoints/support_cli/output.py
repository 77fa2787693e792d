"""What a command shows: results on standard output, as a table or as JSON; progress and remarks on standard error."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class Output:
    """One command's output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console()
        self._err = Console(stderr=True)

    def progress(self) -> Progress:
        """A bar while something goes on; nothing where nobody watches."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        return Progress(*columns, console=self._err, transient=True, disable=not self._err.is_terminal)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows under their headings; all but the first column are numbers."""
        table = Table()
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        for row in rows:
            table.add_row(*map(str, row))
        self._out.print(table)

    def lines(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows under their headings, of words: nothing is cut off, whoever reads it."""
        cells = [list(columns), *(["" if cell is None else str(cell) for cell in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def line(self, text: str) -> None:
        """A line of the result."""
        self._out.print(text, soft_wrap=True, markup=False, highlight=False)

    def json(self, value: Any) -> None:
        """The result, for programs."""
        self._out.file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def remark(self, text: str, *, loud: bool = False) -> None:
        """Something to know, beside the result."""
        self._err.print(text, soft_wrap=True, markup=False, highlight=False, style="bold red" if loud else None)
