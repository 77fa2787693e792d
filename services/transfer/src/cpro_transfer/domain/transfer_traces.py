"""Compare what the establishments' databases say of transfers with the transfer database. Pure: no clock, no I/O.

A transfer leaves three kinds of traces: the receipts (where both are, it is completed), the hold at the origin, and the
fences, whose epochs say which movers may still act. From these it can be written down again under the id that it had.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from cpro_transfer.domain.transfers import IN_HAND, TransferState
from cpro_transfer.domain.undoing import MATCH_KEY_PREFIX, undo_id_of


@dataclass(frozen=True, slots=True)
class Trace:
    """What one establishment's database holds of a transfer."""

    transfer_id: UUID
    outgoing: bool = False
    incoming: bool = False
    held_pupil_id: UUID | None = None
    other_uai: str | None = None
    """As the receipt says. A hold does not say where to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer as the transfer database has it."""

    id: UUID
    state: TransferState
    epoch: int
    origin_uai: str
    destination_uai: str | None
    origin_pupil_id: UUID
    state_changed_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", TransferState(self.state))


class Verdict(StrEnum):
    """What there is to do about a transfer."""

    AGREES = "agrees"
    UNDER_WAY = "under_way"
    """A mover has it, or will: it goes by the databases."""
    ENTER = "enter"
    """It is not in the transfer database."""
    CARRY_ON = "carry_on"
    """The databases are further than the transfer database says: let a mover look."""
    CARRY_ON_IF_LANDED = "carry_on_if_landed"
    """Held, though the origin has its receipt; or completed, though it still holds: right only if it has landed."""
    RECEIPT_MISSING = "receipt_missing"


_ENDED = frozenset({TransferState.COMPLETED, TransferState.UNDONE})
_AT_REST = frozenset({TransferState.HELD, TransferState.CANCELLED})


def judge(uai: str, trace: Trace | None, entry: Entry | None) -> Verdict:
    """What one establishment's traces, and the entry that was read before them, come to."""
    if entry is None:
        return Verdict.AGREES if trace is None else Verdict.ENTER
    if entry.state in IN_HAND or entry.state is TransferState.PLANNED:
        return Verdict.UNDER_WAY if trace else Verdict.AGREES
    if trace is None:
        return Verdict.RECEIPT_MISSING if entry.state is TransferState.COMPLETED else Verdict.AGREES
    if entry.state in _AT_REST:
        return Verdict.CARRY_ON_IF_LANDED if trace.outgoing else Verdict.CARRY_ON
    has_receipt = trace.outgoing if entry.origin_uai == uai else trace.incoming
    return Verdict.AGREES if has_receipt or entry.state is TransferState.UNDONE else Verdict.CARRY_ON_IF_LANDED


@dataclass(frozen=True, slots=True)
class ReceiptSaid:
    """What a receipt says of a transfer, without the ids of the rows."""

    pupil_id: UUID
    epoch: int
    counts: Mapping[str, int]
    origin_opt_in: Mapping[str, Any]
    destination_opt_in: Mapping[str, Any]
    written_at: datetime
    number: int
    """Its place among the establishment's receipts."""

    @property
    def records(self) -> int:
        """How many rows."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class HoldSaid:
    """A hold at the origin."""

    pupil_id: UUID
    epoch: int
    opt_in: Mapping[str, Any]
    held_at: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """An event of a pupil in the establishment's event log."""

    match_key: str
    revision: int
    departure: bool
    time: datetime


@dataclass(frozen=True, slots=True)
class TracedPupil:
    """A pupil as their establishment has them, with what it has said of them; nothing, where the log is gone."""

    pupil_id: UUID
    match_key: str
    revision: int
    records_moved: bool
    state_changed_at: datetime
    last_outgoing: UUID | None
    """The last transfer that took their records away."""
    log: Sequence[Said] = ()


@dataclass(frozen=True, slots=True)
class End:
    """All that one establishment's database holds of one transfer."""

    outgoing: ReceiptSaid | None = None
    incoming: ReceiptSaid | None = None
    hold: HoldSaid | None = None
    fence_epoch: int | None = None
    pupil: TracedPupil | None = None

    @property
    def epoch(self) -> int:
        """The highest epoch that any mover has shown here."""
        said = [one.epoch for one in (self.outgoing, self.incoming, self.hold) if one]
        return max([self.fence_epoch or 0, *said])


@dataclass(frozen=True, slots=True)
class RestoredTransfer:
    """A transfer as it is entered again."""

    id: UUID
    state: TransferState
    match_key: str
    origin_uai: str
    origin_pupil_id: UUID
    origin_revision: int
    destination_uai: str
    destination_pupil_id: UUID
    destination_revision: int | None
    origin_opt_in_revision: int
    destination_opt_in_revision: int | None
    epoch: int
    records: int | None
    called_for_at: datetime
    landed_at: datetime | None
    finished_at: datetime | None
    spare_revision: int
    """Should another transfer have the business key already: negative, and no other transfer's of this origin."""
    undoes: UUID | None = None


@dataclass(slots=True)
class TransferFindings:
    """What was found of transfers, for one establishment."""

    enter: list[RestoredTransfer] = field(default_factory=list)
    carry_on: list[Entry] = field(default_factory=list)
    untraced: dict[UUID, UUID] = field(default_factory=dict)
    """Holds for a transfer that is nowhere else: transfer to pupil."""
    missing: dict[UUID, Mapping[str, int]] = field(default_factory=dict)
    """Completed, without a receipt here: what the other establishment's receipt says, by table."""
    under_way: int = 0


def restore(
    transfer_id: UUID, origin_uai: str, destination_uai: str, origin: End, destination: End
) -> RestoredTransfer | None:
    """The transfer, from what its two ends say. None where they do not say enough: a person must look.

    Completed, where the origin has its receipt: it is written last. Landed, where the destination has: it goes forward,
    and only if the origin's rows are still those that landed. Else held at the origin: a mover carries on or lets go.
    """
    leaver, arrival = origin.pupil, destination.pupil
    if leaver is None or arrival is None or not (origin.outgoing or destination.incoming or origin.hold):
        return None
    happened = _when(origin, destination)
    departure = _last(leaver.log, happened, departures=True)
    arrived = _last(arrival.log, happened, departures=False)
    receipt = origin.outgoing or destination.incoming
    spare = -(origin.outgoing.number if origin.outgoing else 1_000_000_000 + origin.epoch)
    origin_opt_in, destination_opt_in = _opt_ins(origin, destination)
    return RestoredTransfer(
        id=transfer_id,
        state=_state(origin, destination),
        match_key=departure.match_key if departure else leaver.match_key,
        origin_uai=origin_uai,
        origin_pupil_id=leaver.pupil_id,
        origin_revision=departure.revision if departure else _revision_without_log(transfer_id, origin, leaver, spare),
        destination_uai=destination_uai,
        destination_pupil_id=arrival.pupil_id,
        destination_revision=arrived.revision if arrived else None,
        origin_opt_in_revision=origin_opt_in.get("revision", 0),
        destination_opt_in_revision=destination_opt_in.get("revision"),
        epoch=max(origin.epoch, destination.epoch),
        records=receipt.records if receipt else None,
        called_for_at=_called_for(
            happened,
            departure.time if departure else leaver.state_changed_at,
            arrived.time if arrived else arrival.state_changed_at,
            _time(origin_opt_in),
            _time(destination_opt_in),
        ),
        landed_at=destination.incoming.written_at if destination.incoming else None,
        finished_at=origin.outgoing.written_at if origin.outgoing else None,
        spare_revision=spare,
    )


def with_undos(restored: Iterable[RestoredTransfer], known: Collection[UUID]) -> list[RestoredTransfer]:
    """The same, where those that undo one of these, or of the `known`, say so: their ids tell. They come last."""
    there = list(restored)
    undone = {undo_id_of(transfer_id): transfer_id for transfer_id in {*known, *(one.id for one in there)}}
    marked = [_as_undo(one, undone[one.id]) if one.id in undone else one for one in there]
    return sorted(marked, key=lambda one: one.undoes is not None)


def _as_undo(restored: RestoredTransfer, undone: UUID) -> RestoredTransfer:
    return replace(restored, undoes=undone, match_key=f"{MATCH_KEY_PREFIX}{undone}", origin_revision=0)


def _state(origin: End, destination: End) -> TransferState:
    if origin.outgoing:
        return TransferState.COMPLETED
    return TransferState.LANDED if destination.incoming else TransferState.HOLDING


def _when(origin: End, destination: End) -> datetime:
    """The departure and the arrival were before this."""
    said = [one.written_at for one in (destination.incoming, origin.outgoing) if one]
    return min(said) if said else origin.hold.held_at  # type: ignore[union-attr]  # one of the three is there


def _last(log: Iterable[Said], before: datetime, *, departures: bool) -> Said | None:
    fitting = [said for said in log if said.departure is departures and said.time <= before]
    return max(fitting, key=lambda said: said.revision, default=None)


def _revision_without_log(transfer_id: UUID, origin: End, leaver: TracedPupil, spare: int) -> int:
    """The current revision is that of the last departure, as long as the pupil has not changed since."""
    if origin.outgoing is None:
        return leaver.revision
    return leaver.revision if leaver.records_moved and leaver.last_outgoing == transfer_id else spare


def _opt_ins(origin: End, destination: End) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    receipt = origin.outgoing or destination.incoming
    if receipt:
        return receipt.origin_opt_in, receipt.destination_opt_in
    return (origin.hold.opt_in if origin.hold else {}), {}


def _time(opt_in: Mapping[str, Any]) -> datetime | None:
    changed_at = opt_in.get("changed_at")
    return datetime.fromisoformat(changed_at) if changed_at else None


def _called_for(happened: datetime, *times: datetime | None) -> datetime:
    """The last of the facts; none of them can be later than the landing, or the hold."""
    return max((time for time in times if time and time <= happened), default=happened)
