"""Rows as the text format of COPY, so that a thread prepares them and the event loop only hands them on."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import Any

Value = str | int | bool | date | tuple[str, ...] | None
_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(rows: Iterable[Sequence[Value]]) -> bytes:
    """The rows in UTF-8, one a line."""
    lines = [_line(row) for row in rows]
    lines.append("")
    return "\n".join(lines).encode()


def _line(row: Sequence[Value]) -> str:
    written = [value if value.__class__ is str else _FORMS[value.__class__](value) for value in row]
    line = "\t".join(written)
    # Looked for in the whole line, not value by value: is there a character that the format did not put there itself?
    as_expected = line.count("\t") == len(row) - 1 and line.count("\\") == row.count(None)
    if as_expected and "\n" not in line and "\r" not in line:
        return line
    return "\t".join([text if text is _NULL else text.translate(_ESCAPES) for text in written])


def _null(_: None) -> str:
    return _NULL


def _bool(value: bool) -> str:
    return "t" if value else "f"


@lru_cache(maxsize=16_384)
def _day(value: date) -> str:
    return value.isoformat()


def _array(values: tuple[str, ...]) -> str:
    if not values:
        return "{}"
    return "{" + ",".join([_item(value) for value in values]) + "}"


def _item(value: str) -> str:
    # Without quotes an item is read as it stands, but for NULL, blanks at its ends and what has a meaning in arrays.
    if value.isalnum() and value.upper() != "NULL":
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_FORMS: dict[type, Callable[[Any], str]] = {
    type(None): _null, bool: _bool, int: str, date: _day, tuple: _array,
}  # fmt: skip
