"""How fast a file is being read, and how long the rest will take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the reading was at an instant: seconds of a clock that never goes back, bytes of the XML, pupils."""

    at_seconds: float
    bytes_read: int
    pupils_read: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Pupils a second up to now, and seconds until the end at the same pace."""

    pupils_per_second: float
    seconds_left: float


def pace(first: Reading, last: Reading, bytes_expected: int) -> Pace | None:
    """The pace between two instants of one reading; None while they say nothing.

    What came before the first (the wait for the school, the way of the file to the worker) does not count.
    """
    seconds = last.at_seconds - first.at_seconds
    read = last.bytes_read - first.bytes_read
    if seconds <= 0 or read <= 0:
        return None
    left = max(bytes_expected - last.bytes_read, 0)
    return Pace((last.pupils_read - first.pupils_read) / seconds, left * seconds / read)
