"""Rows as the text format of COPY, so that a thread prepares them and the event loop only hands them on."""

from collections.abc import Iterable, Sequence
from datetime import date

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"
Value = str | int | bool | date | Sequence[str] | None


def copy_text(rows: Iterable[Sequence[Value]]) -> bytes:
    """The rows in UTF-8, one a line."""
    lines = ["\t".join([_field(value) for value in row]) for row in rows]
    lines.append("")
    return "\n".join(lines).encode()


def _field(value: Value) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return value.translate(_ESCAPES) if _needs_escape(value) else value
    if value is True or value is False:
        return "t" if value else "f"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return _array(value)


def _needs_escape(text: str) -> bool:
    return "\\" in text or "\t" in text or "\n" in text or "\r" in text


def _array(values: Sequence[str]) -> str:
    if not values:
        return "{}"
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return ("{" + ",".join(quoted) + "}").translate(_ESCAPES)
