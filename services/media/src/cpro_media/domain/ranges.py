"""Which bytes of a picture a `Range` header asks for (RFC 9110, chapter 14). Pure."""

import re
from dataclasses import dataclass
from itertools import pairwise

MAX_RANGES = 8
"""More in one request than any reader of pictures asks for: then the whole is sent, as the RFC allows."""
_UNIT = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
_SPEC = re.compile(r"[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From `first` to `last`, both included."""

    first: int
    last: int

    def of(self, data: bytes) -> bytes:
        """These bytes of the whole."""
        return data[self.first : self.last + 1]

    def content_range(self, size: int) -> str:
        """As the answer says it."""
        return f"bytes {self.first}-{self.last}/{size}"


class UnsatisfiableRangeError(ValueError):
    """Well asked, but none of it exists."""


def requested(header: str, size: int) -> tuple[ByteRange, ...]:
    """The bytes asked for, in the order asked; nothing where the header is to be ignored and the whole sent.

    Ignored is what is no valid list of byte ranges, and what is no sensible one: too many, or ranges that overlap, by
    which a small request would have a large answer.

    Raises:
        UnsatisfiableRangeError: no range has a byte that exists.
    """
    unit = _UNIT.fullmatch(header)
    specs = [_SPEC.fullmatch(spec) for spec in unit[1].split(",") if spec.strip(" \t")] if unit else []
    if not specs or len(specs) > MAX_RANGES:
        return ()
    found = []
    for spec in specs:
        if spec is None or not any(spec.groups()) or (all(spec.groups()) and int(spec[1]) > int(spec[2])):
            return ()
        if (satisfied := _satisfied(spec[1], spec[2], size)) is not None:
            found.append(satisfied)
    if not found:
        raise UnsatisfiableRangeError
    return () if _overlap(found) else tuple(found)


def _satisfied(first: str, last: str, size: int) -> ByteRange | None:
    if not first:  # so many bytes at the end
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
    return ByteRange(start, end) if start <= end else None


def _overlap(ranges: list[ByteRange]) -> bool:
    ordered = sorted(ranges, key=lambda found: found.first)
    return any(before.last >= after.first for before, after in pairwise(ordered))
