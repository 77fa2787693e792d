"""Decide which files of records nobody can want any more. Pure: no clock, no I/O.

The rule and the argument why it can't hit a file that somebody needs are in `handlers/sweeping.py`.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cpro_transfer.domain.transfers import IN_HAND, TransferState

_FILE = re.compile(r"tenants/(?P<uai>\d{7}[A-Z])/attachments/(?P<rest>.+)")
_COPY = re.compile(r"(?P<transfer>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<epoch>\d{1,18})/[^/]+")


class Fate(StrEnum):
    """What becomes of a file, and why. The first three go."""

    COPY = "copy"
    """Made for a transfer that can't land it any more."""
    LEFT = "left"
    """Its row has left for another establishment."""
    UNCLAIMED = "unclaimed"
    """No row names it, and it was put long ago."""

    REFERENCED = "referenced"
    YOUNG = "young"
    IN_HAND = "in_hand"
    """A mover may be about to land it."""
    LANDING_LOST = "landing_lost"
    """The transfer database says that it landed, and the establishment's own does not: it went back in time."""
    NEVER_FENCED = "never_fenced"
    """The establishment's database has never heard of the transfer: it went back in time, or the file is no copy."""
    TOO_MANY = "too_many"
    """So large a share has no row that the database is suspected, not the files."""
    UNREAD = "unread"
    """The establishment's database could not be asked."""


GOING = frozenset({Fate.COPY, Fate.LEFT, Fate.UNCLAIMED})
SUSPECT = frozenset({Fate.LANDING_LOST, Fate.NEVER_FENCED, Fate.TOO_MANY, Fate.UNREAD})
"""Kept, and worth a person's look."""


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file in the store, below an establishment's attachments."""

    uai: str
    key: str
    size_bytes: int
    modified_at: datetime | None
    transfer_id: UUID | None = None
    """Of a copy that a mover has made: for which transfer, and under which epoch."""
    epoch: int = 0


def record_file(key: str, size_bytes: int, modified_at: datetime | None) -> RecordFile | None:
    """The file of this key; None for what is not an attachment."""
    found = _FILE.fullmatch(key)
    if found is None:
        return None
    copy = _COPY.fullmatch(found["rest"])
    if copy is None:
        return RecordFile(found["uai"], key, size_bytes, modified_at)
    return RecordFile(found["uai"], key, size_bytes, modified_at, UUID(copy["transfer"]), int(copy["epoch"]))


@dataclass(frozen=True, slots=True)
class Ages:
    """From what age on a file may go: `copies` of movers, `unclaimed` files of the core application.

    What is younger than `copies` is not looked at.
    """

    copies: timedelta
    unclaimed: timedelta
    max_unclaimed_percent: float = 50
    """Of the files looked at together: more without a row, and the establishment's database is suspected."""
    few: int = 10
    """So many may go whatever share they are."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the transfer database says of a transfer."""

    state: TransferState
    epoch: int
    has_landed: bool
    """Now or once: its landing was noted."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What an establishment's database says of some files, in one transaction that has shut the fences before."""

    referenced: Collection[str] = frozenset()
    left: Collection[str] = frozenset()
    """Keys that a finish has noted for removal."""
    landed: Mapping[UUID, int] = field(default_factory=dict)
    """By transfer, the epoch of its incoming receipt."""
    fences: Mapping[UUID, int] = field(default_factory=dict)


def may_be_shut_out(file: RecordFile, standing: Standing | None) -> bool:
    """Whether the fence may be raised past this copy's epoch: that keeps no mover which is at work from landing it."""
    if file.transfer_id is None or (standing and standing.has_landed):
        return False
    return standing is None or standing.state not in IN_HAND or file.epoch < standing.epoch


def fate(file: RecordFile, standing: Standing | None, truth: Testimony, ages: Ages, now: datetime) -> Fate:
    """What becomes of one file."""
    if file.key in truth.referenced:
        return Fate.REFERENCED
    had_a_row = file.transfer_id is None or truth.landed.get(file.transfer_id) == file.epoch
    if file.key in truth.left:
        return _old(file, now - ages.copies, Fate.LEFT)
    if had_a_row:
        return _old(file, now - ages.unclaimed, Fate.UNCLAIMED)
    return _old(file, now - ages.copies, _fate_of_copy(file, standing, truth))


def _fate_of_copy(file: RecordFile, standing: Standing | None, truth: Testimony) -> Fate:
    """Of a copy without a row, that is not of the epoch that landed."""
    assert file.transfer_id is not None
    if file.transfer_id in truth.landed:
        return Fate.COPY  # the receipt's key keeps it from landing again
    if standing and standing.has_landed:
        return Fate.LANDING_LOST
    if not may_be_shut_out(file, standing):
        return Fate.IN_HAND
    fence = truth.fences.get(file.transfer_id)
    if fence is None:
        return Fate.NEVER_FENCED
    return Fate.COPY if fence > file.epoch else Fate.IN_HAND


def _old(file: RecordFile, limit: datetime, then: Fate) -> Fate:
    return then if file.modified_at is not None and file.modified_at < limit else Fate.YOUNG


def suspected(fates: Mapping[RecordFile, Fate], ages: Ages) -> dict[RecordFile, Fate]:
    """The same, unless too large a share of these files has no row: those are kept then."""
    unclaimed = [file for file, one in fates.items() if one is Fate.UNCLAIMED]
    if len(unclaimed) <= max(ages.few, len(fates) * ages.max_unclaimed_percent / 100):
        return dict(fates)
    return {file: Fate.TOO_MANY if one is Fate.UNCLAIMED else one for file, one in fates.items()}
