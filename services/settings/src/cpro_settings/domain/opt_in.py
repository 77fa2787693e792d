"""The opt-in to transfers: whether an establishment's doors are open, and how it keeps its list of pupils."""

from dataclasses import dataclass
from datetime import datetime

from cpro_contracts.establishments import RosterSource
from cpro_settings.domain.conditions import Conditions


@dataclass(frozen=True, slots=True)
class Choice:
    """What an administrator decides."""

    enabled: bool
    roster_source: RosterSource


@dataclass(frozen=True, slots=True)
class OptIn:
    """The choice in force, who made it and when. `revision` is the tenant's; 0 when nobody ever chose."""

    choice: Choice
    revision: int
    changed_at: datetime | None
    changed_by: str | None
    accepted_conditions: int | None = None
    """The version that was accepted; None while the doors are closed, or when they were opened before there was one."""
    open_since: datetime | None = None
    """Since when the doors have been open, whatever else was chosen anew meanwhile. None while they are closed."""


@dataclass(frozen=True, slots=True)
class OptInEntry:
    """An entry of the history: who chose when, from what to what, and the text that was accepted with it."""

    revision: int
    changed_at: datetime
    changed_by: str
    before: Choice
    after: Choice
    conditions: Conditions | None
