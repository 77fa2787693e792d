"""The opt-in to transfers: whether an establishment's doors are open, and how it keeps its list of pupils."""

from dataclasses import dataclass
from datetime import datetime

from cpro_contracts.establishments import RosterSource


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
