"""What the mover needs of the world, named by role."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import EnrolmentSource, PupilEvent
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.explanation import Door, Known
from cpro_transfer.domain.identity import Identity
from cpro_transfer.domain.reconciliation import Differences, KnownState, PupilTruth, Truth
from cpro_transfer.domain.sweeping import RecordFile, Standing, Testimony
from cpro_transfer.domain.transfer_traces import End, Entry, RestoredTransfer, Trace
from cpro_transfer.domain.transfers import Claim, Transfer, TransferState


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


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of a pupil or an establishment, with the time at which it was committed where it happened."""

    event: PupilEvent | EstablishmentUpdated | TransferOptInChanged
    time: datetime


PreparedFact = TypeVar("PreparedFact")


class Facts(Protocol[PreparedFact]):
    """What the join knows."""

    def prepare(self, fact: Fact) -> PreparedFact:
        """What `take_in` needs of a fact. Done ahead: it asks nothing of the database."""

    async def take_in(self, facts: Sequence[PreparedFact], partitions: Iterable[str]) -> None:
        """Note the facts of one batch, read from these Kafka partitions, and what follows from them."""


class Ledger(Protocol):
    """The transfer database, as a mover uses it. Every write is fenced by the claim's epoch."""

    async def claim(self, limit: int) -> list[Claim]:
        """Lease up to `limit` due transfers of one pair of establishments, raising their epoch."""

    async def renew(self, claims: Sequence[Claim]) -> None:
        """Make the leases last of those that are still ours."""

    async def advance(self, claims: Sequence[Claim], state: TransferState, *, finished: bool = False) -> set[UUID]:
        """Note how far the claims have come. Returns those that were asked to stop meanwhile."""

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


class StoredFiles(Protocol):
    """The files of records in the object store, as a sweep uses them."""

    def pages(self) -> AsyncIterator[Sequence[RecordFile]]:
        """All of them, a page at a time."""

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files. Absent ones are fine."""

    async def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that have no file."""


class TenantFiles(Protocol):
    """What an establishment's database says of its files, as a sweep asks it.

    Raises:
        TenantInTroubleError: it can't be asked now.
    """

    async def truth(
        self, uai: str, files: Sequence[RecordFile], standings: Mapping[UUID, Standing], *, dry_run: bool
    ) -> Testimony:
        """Shut the fences of copies that no mover has in hand, then read what is named. A dry run shuts nothing."""

    async def noted_before(self, uai: str, limit: datetime) -> list[str]:
        """Some keys that finishes noted for removal before this time."""

    async def forget(self, uai: str, keys: Sequence[str]) -> None:
        """The files of these noted keys are gone."""


class Standings(Protocol):
    """What the transfer database says of transfers."""

    async def of(self, transfer_ids: Collection[UUID]) -> Mapping[UUID, Standing]:
        """Those it knows."""


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


class KnownFacts(Protocol):
    """The transfer database, as it is compared with the establishments' and brought to their word."""

    async def known(self, uai: str) -> KnownState:
        """What the join knows of this establishment."""

    async def entries(self, uai: str) -> dict[UUID, Entry]:
        """The transfers into and out of this establishment that are not cancelled without a trace, by id."""

    async def candidates(self, uai: str, match_keys: Collection[str]) -> dict[str, list[str]]:
        """By match key: the other establishments that are known to have this pupil."""

    async def enter(self, transfers: Sequence[RestoredTransfer]) -> int:
        """Write transfers down again, with what has moved. Those that are there by now are left alone."""

    async def carry_on(self, entries: Sequence[Entry]) -> int:
        """Let a mover look at these, unless they have changed since they were read."""

    async def note_moved(self, uai: str, pupils: Sequence[PupilTruth]) -> None:
        """The records of these pupils have left at their revision: nothing is to be planned from it."""


class TenantTruth(Protocol):
    """An establishment's own database in one snapshot."""

    async def truth(self) -> Truth:
        """Its pupils, its opt-in and what it has not said yet."""

    async def traces(self) -> dict[UUID, Trace]:
        """Its receipts and holds, by transfer."""

    async def ends(self, transfer_ids: Collection[UUID], *, match_keys: Mapping[UUID, str]) -> dict[UUID, End]:
        """All that is there of these transfers; where only the pupil's key tells who it was, that is given."""


class TenantWriting(TenantTruth, Protocol):
    """The same, while nobody else changes a pupil or the opt-in there; what is said is published at the commit."""

    async def renumber(self, differences: Differences) -> None:
        """Let the revisions go on after what is known, and give new ones to what would be ignored."""

    async def say(self, differences: Differences) -> None:
        """Publish the current states, and withdraw what nobody has any more."""


class TenantTruths(Protocol):
    """All establishments' databases."""

    def reading(self, uai: str) -> AbstractAsyncContextManager[TenantTruth]:
        """One snapshot."""

    def writing(self, uai: str) -> AbstractAsyncContextManager[TenantWriting]:
        """A transaction whose events are on Kafka soon after it commits."""
