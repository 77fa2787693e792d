"""Who is present according to the file, at its reference date."""

from collections.abc import Sequence
from datetime import date
from enum import StrEnum


class Presence(StrEnum):
    """What a line says of a pupil's presence."""

    PRESENT = "present"
    LEFT = "left"
    NOT_ARRIVED = "not_arrived"
    """No class, and no leaving date that has come: nothing changes for this pupil."""


def presence(divisions: Sequence[str], leaving_date: date | None, reference_date: date) -> Presence:
    """The presence that a line states. A leaver keeps the last division: a class alone does not mean present."""
    if leaving_date is not None and leaving_date <= reference_date:
        return Presence.LEFT
    return Presence.PRESENT if divisions else Presence.NOT_ARRIVED
