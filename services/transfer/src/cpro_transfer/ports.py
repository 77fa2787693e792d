"""What the mover needs of the world, named by role."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilEvent
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.authorisations import Authorisation, Doors, Terms
from cpro_transfer.domain.candidates import Sheet
from cpro_transfer.domain.dead_letters import Letter, LetterCount, LetterState, Settling
from cpro_transfer.domain.event_replays import EventReplay, ReplayState, Selection
from cpro_transfer.domain.explanation import Door, Known
from cpro_transfer.domain.identity import Identity
from cpro_transfer.domain.reconciliation import Differences, KnownState, PupilTruth, Truth
from cpro_transfer.domain.support import Order
from cpro_transfer.domain.sweeping import RecordFile, Standing, Testimony
from cpro_transfer.domain.transfer_traces import End, Entry, RestoredTransfer, Trace
from cpro_transfer.domain.transfers import Claim, Transfer, TransferState
from cpro_transfer.domain.undoing import Finding


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


class Facts(Protocol):
    """What the join knows."""

    async def take_in(self, facts: Sequence[Fact], partitions: Iterable[str]) -> None:
        """Note the facts of one batch, read from these Kafka partitions, and what follows from them."""


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
class Recorded:
    """What came of recording an authorisation."""

    authorisation: Authorisation
    anew: bool
    """Not: the same was recorded before."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What support has chosen for an authorisation."""

    ticket: str
    pupil_id: UUID
    """At the destination; of a pupil who is to be created, the id to give."""
    creates: bool


class Authorisations(Protocol):
    """The authorisations in the transfer database. Raises what `errors` says of them."""

    async def record(self, uai: str, pupil_id: UUID, terms: Terms, *, by: str) -> Recorded:
        """Let these terms hold for the pupil, in place of any others."""

    async def revoke(self, uai: str, pupil_id: UUID, *, by: str) -> Authorisation | None:
        """Take back what holds for the pupil; None if nothing does."""

    async def find(self, authorisation_id: UUID) -> Authorisation | None:
        """One of them."""

    async def choose(self, authorisation_id: UUID, choice: Choice, *, by: str) -> Authorisation:
        """Note what support chose. Of several at once the first one's stands; the same again changes nothing."""

    async def give_up(self, authorisation: Authorisation) -> None:
        """Forget what was chosen, for it could not be carried out."""

    async def note_replayed(self, authorisation: Authorisation) -> Authorisation:
        """Both events are in the establishments' outboxes."""


@dataclass(frozen=True, slots=True)
class PupilHere:
    """A pupil as their own establishment has them, with that establishment's word on transfers."""

    sheet: Sheet
    source: EnrolmentSource
    ine_status: IneStatus
    records_moved: bool
    """Inactive, and the records have left."""
    doors: Doors


class AuthorisedPupils(Protocol):
    """The establishments' databases, as authorisations and replays need them.

    Raises, besides what is said below:
        TenantUnknownError: no such establishment.
        RetryableError: its database does not answer.
    """

    async def doors(self, uai: str) -> Doors:
        """The establishment's word on transfers."""

    async def pupil(self, uai: str, pupil_id: UUID) -> PupilHere | None:
        """The pupil; None if it has no such pupil."""

    async def like(self, uai: str, leaver: Sheet) -> list[Sheet]:
        """Pupils who share an INE, a birth date or a family name with the leaver."""

    async def records(self, uai: str, pupil_id: UUID) -> Mapping[str, int]:
        """How many records of each kind the pupil has."""

    async def say_left(self, authorisation: Authorisation) -> None:
        """Publish again, under the authorisation's key, that the pupil has left the origin.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed.
        """

    async def say_arrived(self, authorisation: Authorisation) -> None:
        """Publish again, under the same key, that the chosen pupil is at the destination; create them first if asked.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed.
        """


class Situations(Protocol):
    """What the join knows around pupils."""

    async def situations(self, uai: str, pupil_ids: Sequence[UUID]) -> "Mapping[UUID, Situation]":
        """By pupil; those never heard of are left out."""


class Tenants(Protocol):
    """Which establishments have a database."""

    async def knows(self, uai: str) -> bool:
        """Whether this one has, ready for use."""


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


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A dead letter, with its place on its topic of dead letters."""

    topic: str
    partition: int
    offset: int
    letter: Letter


class LockedLetters(Protocol):
    """Letters that nobody else can settle meanwhile."""

    letters: Sequence[Letter]

    async def settle(self, ids: Collection[UUID], state: LetterState, settling: Settling) -> None:
        """Note what became of these."""


class Letters(Protocol):
    """The dead letters, as they are kept."""

    async def enter(self, found: Sequence[FoundLetter]) -> None:
        """Write down what was read. Safe to repeat, and beside others who read the same."""

    async def read_up_to(self) -> dict[tuple[str, int], int]:
        """By topic of dead letters and partition: the offset to go on from."""

    async def forget(self, kept: timedelta) -> None:
        """Delete what is older than its topic keeps it."""

    async def counts(self, choice: LetterChoice) -> list[LetterCount]:
        """How many there are, by topic, cause and state."""

    async def find(self, ids: Sequence[UUID]) -> list[Letter]:
        """Those of these that there are."""

    def locked(self, choice: LetterChoice, limit: int) -> AbstractAsyncContextManager[LockedLetters]:
        """The chosen letters, `limit` at most of a topic and cause. Committed on leaving the block."""


class SourceTopics(Protocol):
    """Where dead letters came from."""

    async def give_back(self, letters: Sequence[Letter]) -> None:
        """Publish the messages as they were, marked as replayed."""

    async def superseded(self, letters: Sequence[Letter]) -> set[UUID]:
        """Those whose topic keeps only the last message of each key, and has a newer one of theirs."""


@dataclass(frozen=True, slots=True)
class LogCount:
    """How many events of an establishment's log are chosen, by type, and the last position among them."""

    by_type: Mapping[str, int]
    last_position: int


class EventLogs(Protocol):
    """What the establishments have published, in their own databases."""

    async def count(self, uai: str, selection: Selection) -> LogCount:
        """How much is chosen there."""

    async def publish_again(
        self, uai: str, selection: Selection, *, replay_id: UUID, after: int, up_to: int, limit: int
    ) -> tuple[int, int]:
        """Publish the next `limit` chosen events after a position; returns how many, and the last's position."""


@dataclass(frozen=True, slots=True)
class ReplayTurn:
    """What is to be done next of a replay: the part of one establishment."""

    replay_id: UUID
    state: ReplayState
    selection: Selection
    events_per_second: int
    uai: str
    position: int
    last_position: int


class ReplayInHand(Protocol):
    """A replay that nobody else works on meanwhile."""

    turn: ReplayTurn

    async def note_count(self, count: LogCount) -> None:
        """This establishment is counted."""

    async def note_published(self, number: int, position: int, *, done: bool) -> None:
        """So many more events are on Kafka, up to this position."""

    async def put_off(self, trouble: str) -> None:
        """This establishment can't be asked now; the others go on."""


class ReplayJobs(Protocol):
    """The replays, as they are kept."""

    async def enter(
        self, replay_id: UUID, selection: Selection, uais: Sequence[str], *, rate: int, ticket: str, by: str
    ) -> None:
        """Write a replay down, to be counted. One that is there already is left as it is."""

    async def find(self, replay_id: UUID) -> EventReplay | None:
        """One replay, with what it comes to."""

    async def start(self, replay_id: UUID, by: str) -> bool:
        """Let one that is counted run. False: it is not counted, or has been started."""

    async def cancel(self, replay_id: UUID, by: str) -> bool:
        """End one that has not ended. False: it has."""

    def next(self) -> AbstractAsyncContextManager[ReplayInHand | None]:
        """What is due, if anything is. Committed on leaving the block; nobody else has the replay meanwhile."""


class SupportDesk(Protocol):
    """The transfer database, as support acts on it. Each act commits together with its line in the audit trail.

    Raises:
        NotNowError: in this state the act means nothing; nothing was changed.
    """

    async def find(self, transfer_id: UUID) -> Transfer | None:
        """One transfer, whoever's."""

    async def undo_of(self, transfer_id: UUID) -> Transfer | None:
        """The transfer that undoes this one, if support has asked for that."""

    async def retry(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Let a mover look at it at once."""

    async def cancel(self, transfer_id: UUID, order: Order, *, dry_run: bool) -> Transfer:
        """Stop it, for good as long as no fact changes."""

    async def plan_undo(self, transfer_id: UUID, order: Order, *, within: timedelta, dry_run: bool) -> Transfer:
        """Plan the transfer that takes this one back.

        Raises:
            UndoRefusedError: what the transfer database says forbids it.
        """


class UndoTruth(Protocol):
    """What an establishment's database says of records that are to go back."""

    async def look(self, uai: str, transfer_id: UUID, pupil_id: UUID, other_uai: str) -> Finding:
        """Whether the rows that came to `uai` by this transfer could go back now."""
