"""What schools and support are shown: situations, pupils, receipts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from cpro_contracts.pupils import EnrolmentSource
from cpro_transfer.domain.explanation import Door, Known
from cpro_transfer.domain.transfers import Transfer


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known around one pupil of an establishment."""

    match_key: str
    enrolments: tuple[Known, ...]
    doors: Mapping[str, Door]
    names: Mapping[str, str]
    transfers: tuple[Transfer, ...]

    def revision_at(self, uai: str) -> int:
        """The newest change of the pupil at this establishment that the join has heard of."""
        return max(known.enrolment.revision for known in self.enrolments if known.enrolment.uai == uai)


@dataclass(frozen=True, slots=True)
class PupilName:
    """A pupil's name, for the eyes of their own establishment."""

    pupil_id: UUID
    family_name: str
    first_name: str


class PupilOrder(StrEnum):
    """How a list of former pupils is ordered; within that by name."""

    NAME = "name"
    LEAVING_DATE = "leaving_date"
    """The latest first; who left on an unknown day comes last."""
    DIVISION = "division"
    """Who has none comes last."""


@dataclass(frozen=True, slots=True)
class FormerPupil:
    """A deactivated pupil whose records are still here."""

    pupil_id: UUID
    family_name: str
    first_name: str
    birth_date: date
    division: str | None
    leaving_date: date | None
    source: EnrolmentSource
    records: Mapping[str, int]
    leading: str = ""
    """What the list is ordered by before the name, as it compares."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one establishment can prove of a transfer."""

    transfer_id: UUID
    direction: str
    pupil_id: UUID
    other_uai: str
    tables: Mapping[str, Any]
    origin_opt_in: Mapping[str, Any]
    destination_opt_in: Mapping[str, Any]
    origin_import_id: UUID | None
    destination_import_id: UUID | None
    written_at: datetime
    sequence: int | None
    """Its place among the establishment's receipts. None, as are the hashes, until its database is migrated."""
    previous_hash: str | None
    hash: str | None


@dataclass(frozen=True, slots=True)
class Receipts:
    """Both receipts of a transfer, where they are written."""

    outgoing: Receipt | None
    incoming: Receipt | None
    unread: bool
    """The other establishment's database could not be asked."""
