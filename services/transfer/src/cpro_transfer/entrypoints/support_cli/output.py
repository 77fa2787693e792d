"""What a command shows: results on standard output, as a table or as JSON; progress and remarks on standard error."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
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
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, no_wrap=True)
        for row in rows:
            table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
        width = max(self._out.width, self._out.measure(table).maximum if table.row_count else 0)
        self._out.print(table, width=width, crop=False, no_wrap=True, highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        """A line of the result."""
        self._out.print(text, soft_wrap=True, markup=False, highlight=False)

    def json(self, value: Any) -> None:
        """The result, for programs."""
        self._out.file.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def remark(self, text: str, *, loud: bool = False) -> None:
        """Something to know, beside the result."""
        self._err.print(text, soft_wrap=True, markup=False, highlight=False, style="bold red" if loud else None)
