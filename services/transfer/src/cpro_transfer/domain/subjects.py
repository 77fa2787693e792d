"""A pupil as a data subject: where the system knows them, what it holds, and what an erasure takes. Pure: no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

KEPT = {
    "receipts": "an id that nothing has any more, counts and digests: the other receipts of the school chain to them",
    "audit": "ids, codes and counts, append-only; gone with the rows that are kept long enough",
    "transfers": "ids, states and times, without the match key",
    "topics": "messages hold a pseudonym and ids, and go when the topic's retention is over: 400 days at most",
    "uploads": "the files of imports name every pupil of a school, and go after 30 days at most",
    "backups": "what was erased comes back with a restored backup, and is erased again after it: see the runbook",
    "source": "a school whose next national file names the pupil creates them anew, under another id",
}
"""What an erasure can't reach or leaves on purpose, and why. Told with every answer."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A pupil in one establishment."""

    uai: str
    pupil_id: UUID

    def __str__(self) -> str:
        return f"{self.uai}/{self.pupil_id}"


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure takes: rows by table, at each place and in the transfer database."""

    places: Mapping[Place, Mapping[str, int]]
    transfer_database: Mapping[str, int]
    kept: Mapping[str, int] = field(default_factory=dict)
    """Rows that stay, by kind."""

    def counts(self) -> dict[str, dict[str, int]]:
        """The same in words: by place, and `transfer_database`."""
        found = {str(place): dict(sorted(rows.items())) for place, rows in sorted(self.places.items())}
        return found | {"transfer_database": dict(sorted(self.transfer_database.items()))}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not any(count for rows in self.counts().values() for count in rows.values())

    @property
    def digest(self) -> str:
        """What a person confirms: it changes with whatever the plan lists."""
        return sha256(json.dumps(self.counts(), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure that was ordered."""

    id: UUID
    places: tuple[Place, ...]
    erased: Mapping[str, Mapping[str, int]]
    finished: bool
