r"""The receipts of one establishment, chained: each holds the hash of the one before it. Pure: reads no database.

**The form that is hashed** (`canonical_form`, form 1) is a JSON object in UTF-8 of the receipt's columns, but for its
own hash:

- the keys of every object in the order of their length in bytes, then of their bytes;
- `, ` between members, `: ` after a key, no other white space;
- text as it is; only `"`, `\` and control characters are escaped (`\b \f \n \r \t`, else `\u00xx`);
- numbers are whole, written in digits;
- `written_at` is in UTC to the microsecond, `20260901T080000.000000Z`; UUID in lower case with hyphens;
- what is absent is `null`: an import that there was not, the `previous_hash` of receipt 1.

Nothing in it depends on a session's settings or on a server's version: it is how PostgreSQL has written `jsonb` since
there is `jsonb`, whose keys are stored in that order. The database writes it in `hash_of_receipt` (migration 0003), so
that the chain is right whoever inserts; this module is the specification, and reads the chain again without asking the
database for a hash.

**What the chain shows.** A receipt that was changed, taken away or given another place after it was written. Who can
change the whole database can also write the whole chain anew: that shows in the other establishments' receipts, which
`receipt_verification` compares.
"""

import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

OUTGOING, INCOMING = "outgoing", "incoming"
KEPT_AT_LEAST = timedelta(days=365)
"""No setting lets go of a receipt sooner, so what is missing of the last year was taken away."""
_APART = timedelta(days=30)
"""The two receipts of a transfer are seconds apart; days, where a school was away in between."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A row of `transfer_receipt`."""

    sequence: int
    previous_hash: str | None
    hash: str
    transfer_id: UUID
    direction: str
    pupil_id: UUID
    other_uai: str
    epoch: int
    tables: Mapping[str, Any]
    origin_opt_in: Mapping[str, Any]
    destination_opt_in: Mapping[str, Any]
    origin_import_id: UUID | None
    destination_import_id: UUID | None
    written_at: datetime

    @property
    def said_at_both_ends(self) -> dict[str, Any]:
        """What the other establishment's receipt of the same transfer must say too."""
        return {
            "tables": self.tables,
            "origin_opt_in": self.origin_opt_in,
            "destination_opt_in": self.destination_opt_in,
            "origin_import_id": _text(self.origin_import_id),
            "destination_import_id": _text(self.destination_import_id),
        }


def canonical_form(receipt: Receipt, *, sequence: int | None = None) -> bytes:
    """What is hashed. With another `sequence`: as if the receipt had that place."""
    content = receipt.said_at_both_ends | {
        "form": 1,
        "sequence": receipt.sequence if sequence is None else sequence,
        "previous_hash": receipt.previous_hash,
        "transfer_id": str(receipt.transfer_id),
        "direction": receipt.direction,
        "pupil_id": str(receipt.pupil_id),
        "other_uai": receipt.other_uai,
        "epoch": receipt.epoch,
        "written_at": receipt.written_at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ"),
    }
    return canonical_json(content)


def canonical_json(value: object) -> bytes:
    """A JSON value in the one form that it has here."""
    return json.dumps(_ordered(value), ensure_ascii=False, separators=(", ", ": ")).encode()


def _ordered(value: object) -> object:
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _ordered(value[key]) for key in keys}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def hash_of(receipt: Receipt, *, sequence: int | None = None) -> str:
    """SHA-256 over the canonical form, in hexadecimal."""
    return sha256(canonical_form(receipt, sequence=sequence)).hexdigest()


class Break(StrEnum):
    """How a chain can be broken."""

    ALTERED = "altered"
    """The receipt does not say what it said when it was written."""
    MISSING = "missing"
    """There is no receipt with this number any more."""
    OUT_OF_ORDER = "out of order"
    """The receipt says what it said, and has another number than when it was written."""
    REPLACED = "replaced"
    """The receipt agrees with its own hash, which is not the one that the next receipt was written after."""
    FORGOTTEN_EARLY = "forgotten early"
    """The anchor says that receipts went before their time: nobody lets go of them so soon."""


@dataclass(frozen=True, slots=True)
class ChainBreak:
    """Where a chain breaks. `transfer_id` and `direction` are those of the receipt, where there is one."""

    kind: Break
    sequence: int
    transfer_id: UUID | None = None
    direction: str | None = None
    place: int | None = None
    """Out of order: the number that it was written with."""


@dataclass(frozen=True, slots=True)
class Newest:
    """What `transfer_receipt_chain` says: the number and the hash of the newest receipt; 0 where there is none.

    And of the last receipt that was kept long enough and has gone: the chain begins after it.
    """

    sequence: int
    hash: str | None
    forgotten_sequence: int = 0
    forgotten_hash: str | None = None
    forgotten_at: datetime | None = None
    forgotten_written_at: datetime | None = None

    @property
    def is_forgotten_early(self) -> bool:
        """Whether receipts have gone before anybody may let go of them."""
        if not self.forgotten_sequence:
            return False
        if self.forgotten_at is None or self.forgotten_written_at is None:
            return True
        return self.forgotten_at - self.forgotten_written_at < KEPT_AT_LEAST

    def may_have_forgotten(self, written_at: datetime) -> bool:
        """Whether the receipt of a transfer, whose other end was written at this time, may have been let go of."""
        last = self.forgotten_written_at
        return bool(self.forgotten_sequence and last and not self.is_forgotten_early and written_at < last + _APART)


@dataclass(frozen=True, slots=True)
class _Link:
    """What is kept of a receipt: a chain is read as a stream."""

    sequence: int
    previous_hash: str | None
    hash: str
    transfer_id: UUID | None
    direction: str | None
    intact: bool
    """Whether the row still has its own hash."""


async def chain_breaks(receipts: AsyncIterable[Receipt], newest: Newest) -> list[ChainBreak]:
    """Every place where the chain breaks, in order of the numbers.

    Args:
        receipts: All receipts of one establishment in the order of their numbers.
        newest: What the database says of the last.
    """
    breaks: list[ChainBreak] = []
    doubtful: list[Receipt] = []
    places = _Places(newest)
    before = _anchor(newest)
    expected = newest.forgotten_sequence + 1
    if newest.is_forgotten_early:
        breaks.append(ChainBreak(Break.FORGOTTEN_EARLY, newest.forgotten_sequence))
    async for receipt in receipts:
        link = _link(receipt)
        places.note(link)
        breaks += [ChainBreak(Break.MISSING, number) for number in range(expected, link.sequence)]
        if not link.intact:
            doubtful.append(receipt)
        elif link.sequence == expected:
            breaks += _not_followed(before, link.previous_hash)
        expected, before = link.sequence + 1, link
    breaks += [ChainBreak(Break.MISSING, number) for number in range(expected, newest.sequence + 1)]
    if before and before.sequence >= newest.sequence:
        breaks += _not_followed(before, newest.hash)
    breaks += [_explained(receipt, places.of(receipt)) for receipt in doubtful]
    return sorted(breaks, key=lambda found: (found.sequence, found.kind))


class _Places:
    """Where receipts belong by the hashes that link them, whatever numbers they have."""

    def __init__(self, newest: Newest) -> None:
        self._start = newest.forgotten_hash, newest.forgotten_sequence + 1
        self._next: dict[str | None, str] = {}
        self._places: dict[str, int] | None = None

    def note(self, link: _Link) -> None:
        self._next[link.previous_hash] = link.hash

    def of(self, receipt: Receipt) -> int | None:
        if self._places is None:
            self._places = {}
            before, place = self._start
            at = self._next.get(before)
            while at is not None and at not in self._places:
                self._places[at] = place
                at, place = self._next.get(at), place + 1
        return self._places.get(receipt.hash)


def _anchor(newest: Newest) -> _Link | None:
    if newest.forgotten_hash is None:
        return None
    return _Link(newest.forgotten_sequence, None, newest.forgotten_hash, None, None, True)


def _link(receipt: Receipt) -> _Link:
    return _Link(
        receipt.sequence, receipt.previous_hash, receipt.hash, receipt.transfer_id, receipt.direction,
        hash_of(receipt) == receipt.hash,
    )  # fmt: skip


def _not_followed(link: _Link | None, by: str | None) -> list[ChainBreak]:
    """Whether what comes next names another hash than this receipt's. One that is altered is told of anyway."""
    if link is None or not link.intact or link.hash == by:
        return []
    return [ChainBreak(Break.REPLACED, link.sequence, link.transfer_id, link.direction)]


def _explained(receipt: Receipt, place: int | None) -> ChainBreak:
    """A receipt that does not agree with its own hash: only its number has changed, or what it says."""
    moved = place is not None and hash_of(receipt, sequence=place) == receipt.hash
    kind = Break.OUT_OF_ORDER if moved else Break.ALTERED
    return ChainBreak(kind, receipt.sequence, receipt.transfer_id, receipt.direction, place if moved else None)


def _text(identifier: UUID | None) -> str | None:
    return str(identifier) if identifier else None
