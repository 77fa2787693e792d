"""What is shown while it happens: one line a step, with a spinner where there is a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 150


class Narrator:
    """Tells the story on standard output, each line with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._console = Console(highlight=False, soft_wrap=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._began

    def chapter(self, title: str) -> Self:
        """Begin a part of the story."""
        self._console.print(Text(f"\n{title}", style="bold"))
        return self

    def say(self, text: str) -> None:
        """One thing that has happened."""
        self._console.print(Text.assemble((f"  {self.seconds:6.1f} s  ", "dim"), text))

    def quote(self, text: str) -> None:
        """What the system tells a user, in their language."""
        self._console.print(Padding(Text(f"« {text} »", style="italic"), (0, 0, 0, 12), expand=False))

    def ran(self, command: str, output: str) -> None:
        """A command of a terminal, and what it printed."""
        self._console.print(Text(f"\n            $ {command}", style="bold"), soft_wrap=True)
        for line in output.splitlines():
            self._console.print(Text(f"            {line}"), soft_wrap=True)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Something that takes a moment; said when it is done."""
        with self._console.status(what):
            yield
        self.say(what)

    def table(self, table: Table) -> None:
        """A table, as wide as it needs to be."""
        self._console.print()
        self._console.print(table)

    def line(self, text: str, *, good: bool = True) -> None:
        """A line on its own that is never wrapped, for a program to read."""
        self._console.print(Text(text, style="bold green" if good else "bold red"), soft_wrap=True)
