"""How an establishment's pupils would stand if its doors were open, or closed: what an administrator sees beforehand.

Pure. A verdict is what `matching.decide` says under the opt-in that is asked about; the transfer is the one of the same
facts as they are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.explanation import Direction
from cpro_transfer.domain.transfers import TransferState

MOVE = "move"
_STARTED = frozenset({TransferState.HOLDING, TransferState.COPYING, TransferState.LANDED})


class _Fate(Enum):
    STARTS = auto()
    UNDER_WAY = auto()
    STOPS = auto()


@dataclass(frozen=True, slots=True)
class Standing:
    """So many pupils of one direction, of whom the same is so."""

    direction: Direction
    verdict: str
    state: TransferState | None
    reason: Reason | None
    number: int


@dataclass(frozen=True, slots=True)
class Side:
    """The pupils of one direction. `done`: transfers ended since a time; None where none was asked for."""

    starts: int
    under_way: int
    stops: int
    done: int | None
    others: Mapping[Reason, int]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Both directions, and the newest opt-in of the establishment that is known here."""

    taken_at: datetime
    opt_in_revision: int
    outgoing: Side
    incoming: Side


def side_of(standings: Iterable[Standing], *, changes: bool, done: int | None) -> Side:
    """What these pupils come to. `changes`: the opt-in that is asked about is another than the known one."""
    counted: Counter[_Fate | Reason] = Counter()
    for standing in standings:
        counted[_fate(standing, changes=changes)] += standing.number
    others = {reason: number for reason, number in counted.items() if isinstance(reason, Reason)}
    return Side(counted[_Fate.STARTS], counted[_Fate.UNDER_WAY], counted[_Fate.STOPS], done, others)


def _fate(standing: Standing, *, changes: bool) -> _Fate | Reason:
    called_for = standing.verdict == MOVE
    if standing.state in _STARTED:
        return _Fate.UNDER_WAY
    if standing.state is TransferState.PLANNED:
        return _Fate.UNDER_WAY if called_for else _Fate.STOPS
    if not called_for:
        return Reason(standing.verdict)
    if standing.state is TransferState.UNDONE:
        return Reason.UNDONE
    if standing.state is TransferState.HELD or (standing.reason is Reason.CANCELLED_BY_SUPPORT and not changes):
        return standing.reason or Reason.IN_PROGRESS
    # Another choice is another fact: the join plans again what was cancelled under the one before.
    return _Fate.STARTS if changes else Reason.IN_PROGRESS
