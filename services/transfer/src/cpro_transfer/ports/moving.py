"""What carries out a move: the ledger of transfers, the records at both ends, and their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.identity import Identity
from cpro_transfer.domain.transfers import Claim, TransferState


@dataclass(frozen=True, slots=True)
class Contents:
    """What one pupil's records are: of each table how many rows, which, and the digest over their content.

    `tables` is that JSON as PostgreSQL writes it: two are equal exactly when they mean the same rows with the same
    content. It can be long, and nobody here reads into it.
    """

    tables: str = "{}"
    records: int = 0


@dataclass(frozen=True, slots=True)
class PupilSheet:
    """The pupil as one establishment's database has it."""

    pupil_id: UUID
    active: bool
    ine: str | None
    identity: Identity


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a record: where its bytes are, and what they must be."""

    id: UUID
    pupil_id: UUID
    object_key: str
    sha256: str
    size_bytes: int


class Ledger(Protocol):
    """The transfer database, as a mover uses it. Every write is fenced by the claim's epoch."""

    async def claim(self, limit: int) -> list[Claim]:
        """Lease up to `limit` due transfers of one pair of establishments, raising their epoch."""

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Make the leases last of those that are still ours."""

    async def advance(self, claims: Sequence[Claim], state: TransferState, *, finished: bool = False) -> set[UUID]:
        """Note how far the claims have come. Returns those that were asked to stop meanwhile."""

    async def pass_gate(self, claims: Sequence[Claim]) -> Mapping[UUID, Reason]:
        """Ask once more whether the authorisations that these act under hold, and let nobody take them back from here.

        Returns those that don't hold, with why. Raises SupersededError where a claim is another's by now.
        """

    async def complete(self, claims: Mapping[Claim, int]) -> None:
        """Both receipts are there: note the number of records, publish, and plan what may follow."""

    async def hold(self, claims: Sequence[Claim], reason: Reason, detail: str = "") -> None:
        """Set the claims aside for this reason, until a fact changes or the reason's time to try again has come."""

    async def cancel(self, claims: Sequence[Claim]) -> None:
        """End the claims whose cancellation was asked for; nothing of them is anywhere but at the origin."""

    async def postpone(self, claims: Sequence[Claim], reason: Reason) -> None:
        """Give the claims back, to be tried again later with growing delays."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What the destination's receipt says of one transfer."""

    epoch: int
    """Under which it landed: the keys of its files hold it."""
    contents: Contents
    origin_opt_in: str
    """JSON, as read under lock when the pupil was held."""
    destination_opt_in: str
    """JSON, as read under lock at the landing."""
    origin_import_id: UUID | None
    destination_import_id: UUID | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the destination says once the fence is raised."""

    sheets: Mapping[UUID, PupilSheet]
    landed: Mapping[UUID, Landed]
    """By transfer: what an earlier mover has landed already."""
    superseded: frozenset[UUID]
    """Transfers that a later epoch has taken over: not ours any more."""


@dataclass(frozen=True, slots=True)
class HoldOutcome:
    """What the origin says to the hold."""

    held: frozenset[UUID]
    refused: Mapping[UUID, Reason]
    finished: frozenset[UUID]
    """Transfers whose outgoing receipt is there: an earlier mover has finished them."""
    attachments: tuple[Attachment, ...]
    """The files of the held pupils, of those that have not landed."""


class Records(Protocol):
    """The tenants' databases, as a mover uses them. Each call is one transaction in one database, and can be repeated.

    Raises, besides what is said below:
        RetryableError: the database does not answer.
        PreflightError: nothing of this database may move now.
    """

    async def prepare(self, destination_uai: str, claims: Sequence[Claim], *, to_land: bool) -> Prepared:
        """Raise the fence at the destination, so that no earlier epoch can land.

        `to_land`: it must be fit for a landing as well, so that nobody is held in vain.
        """

    async def hold(
        self,
        origin_uai: str,
        claims: Sequence[Claim],
        sheets: Mapping[UUID, PupilSheet],
        claim_id: UUID,
        *,
        landed: Sequence[Claim],
    ) -> HoldOutcome:
        """Refuse every other writer of these pupils' records from now on.

        What has landed is held whatever has changed since; the outcome speaks of `claims` only.
        """

    async def land(
        self, origin_uai: str, destination_uai: str, claims: Sequence[Claim], claim_id: UUID
    ) -> Mapping[UUID, Landed]:
        """Copy the rows, verify them at the destination and commit them with their receipts. By transfer.

        Raises:
            LandingRefusedError: for some of the claims the destination's truth forbids it; nothing was written.
            SupersededError: a later epoch has raised the fence or taken a hold; nothing was written.
        """

    async def finish(self, origin_uai: str, landed: Mapping[Claim, Landed], claim_id: UUID) -> Sequence[str]:
        """Delete the rows at the origin, write the outgoing receipts and release the holds.

        What is finished already is left alone. Returns the keys of objects whose rows have left, by now or before, and
        that nobody has removed yet.

        Raises:
            SupersededError: a hold is a later epoch's; nothing was done.
            RecordsChangedError: the rows here are not those that landed; nothing was deleted.
        """

    async def release(self, origin_uai: str, claims: Sequence[Claim]) -> None:
        """Take the holds away: nothing has moved."""

    async def forget_objects(self, origin_uai: str, object_keys: Sequence[str]) -> None:
        """These objects are gone from the store."""


class Objects(Protocol):
    """The object store, as a mover uses it."""

    async def copy(self, claims: Sequence[Claim], attachments: Sequence[Attachment]) -> Mapping[UUID, str]:
        """Copy the files to the destination and verify each. Returns the transfers that can't, with why."""

    async def discard_copies(self, claim: Claim, *, but_of_epoch: int | None = None) -> None:
        """Remove the copies of this epoch and earlier ones, but for those of the epoch that landed."""

    async def remove(self, object_keys: Sequence[str]) -> None:
        """Remove objects. Absent ones are fine."""
