"""Move the records of pupils who changed school: the only copy of years of their work.

Read this before you change anything here.

**What is promised.** At every instant each record is in at least one tenant database; at rest in exactly one. Nothing
leaves a database whose opt-in is off when it is held, nothing enters one whose opt-in is off when it lands. Nothing
moves on the word of an event: the claim that starts a move is a proposal, and the two databases decide, under lock.
Kill any process at any point, or take any server away for a while: the end is the same.

**How it is kept.** There is no distributed transaction. There are a few local ones, in an order in which every prefix
is safe, each of which can be run again and finds what was done:

| step    | where       | what commits                                 | if we die right after, the next mover       |
|---------|-------------|----------------------------------------------|---------------------------------------------|
| claim   | transfer DB | lease, epoch + 1                             | waits for the lease, then raises the epoch  |
| prepare | destination | the fence is at our epoch                    | raises it further                           |
| gate    | transfer DB | an authorisation can't be taken back now     | passes again, or sets the transfer aside    |
| hold    | origin      | hold row; from here nobody else writes there | takes the hold over                         |
| land    | destination | rows and incoming receipt, verified          | finds the receipt: goes forward, never back |
| finish  | origin      | rows gone, outgoing receipt, hold gone       | finds the receipt: only notes it            |
| tidy    | store       | old objects removed                          | finds the list in the origin, goes on       |

Before `land` commits, the records are at the origin alone, and stopping means taking the hold away. After it they are
at both, and the only way is forward: no error after a landing may take a hold away or remove a copy (`_Batch` keeps the
two sides apart). The origin's rows are deleted only when their digest, computed again by the origin under lock, is the
one in the destination's receipt.

**Who could do harm.** A mover that was paused and wakes up after its lease. It holds an epoch, and every write that
matters compares it under lock: landing needs the fence at its epoch, finishing needs a hold at its epoch. Whoever takes
over raises the fence *before* anything else, so that the old mover can't land after we have decided to cancel. Its open
transaction is ended by the server (idle-in-transaction time-out shorter than the lease). Copies of files have keys
that hold the epoch and are never used twice, so its late removals hit nothing that anybody else uses. Once it learns
that its time is over it removes its own copies; what it can't, the sweep does (`handlers/sweeping.py`).

**What makes it quick.** A batch of one pair is one hold, one COPY for each table, one landing, one finish; nobody waits
for a batch to fill. Statements go to a database together and rows are read ahead while others are written; what does
not decide anything (the ledger's states) is written beside what does. Digests are taken by the databases, and only
their words are compared here. `make bench-move` says what it comes to.

**What stops, and how.** One pupil of a batch that the databases refuse is held with the reason, and the others go on.
An error that nobody foresaw is not guessed at: the batch is halved until the culprit is alone, and held
(`landing_refused`). What is only away is waited for, with the hold in place.

**Undoing.** A transfer that undoes another goes the same way with the same promises, from the destination back to the
origin. What differs is which rows (those that the receipt names, as they came), who the pupils are (as the receipts
say), and that the landing must be what once left. All of that is asked of the databases, under the same locks
(`adapters/undo_truth.py`); nothing here knows of it.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import structlog

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.transfers import Reason
from cpro_platform import crash_points, tracing
from cpro_platform.concurrency import both, end
from cpro_platform.transience import is_transient
from cpro_transfer.domain.transfers import Claim, TransferState
from cpro_transfer.errors import (
    LandingRefusedError,
    PreflightError,
    RecordsBusyError,
    RecordsChangedError,
    SupersededError,
)
from cpro_transfer.ports.moving import Attachment, Landed, Ledger, Objects, Records

_log = structlog.get_logger()


@dataclass(slots=True)
class _Batch:
    """Claims of one pair of establishments, on either side of the point of no return."""

    waiting: list[Claim]
    """Not landed, not ended: the records are at the origin alone, and the transfer may still stop."""
    landed: dict[Claim, Landed] = field(default_factory=dict)
    """At the destination: forward only."""
    claim_id: UUID = field(default_factory=uuid4)

    def leave(self, transfer_ids: Collection[UUID]) -> list[Claim]:
        """Take these out of the waiting ones; returns them."""
        leaving = [claim for claim in self.waiting if claim.id in transfer_ids]
        self.waiting = [claim for claim in self.waiting if claim.id not in transfer_ids]
        return leaving

    def note_landed(self, landed: Mapping[UUID, Landed]) -> None:
        """These have passed the point of no return."""
        for claim in self.leave(landed.keys()):
            self.landed[claim] = landed[claim.id]


@dataclass(frozen=True, slots=True)
class Mover:
    """Carries claimed transfers to their end. `renew_seconds` is a fraction of the lease."""

    ledger: Ledger
    records: Records
    objects: Objects
    batch_size: int
    renew_seconds: float

    async def move_next(self) -> int:
        """Claim a batch of one pair of establishments and carry it as far as it goes. Returns how many were claimed.

        Raises:
            Exception: transient, from the transfer database. What was claimed is claimed again after its lease.
        """
        claims = await self.ledger.claim(self.batch_size)
        if not claims:
            return 0
        crash_points.reach("move.claimed")
        route = {"origin": claims[0].origin_uai, "destination": claims[0].destination_uai}
        imports = [traceparent for claim in claims for traceparent in claim.imports]
        about = route | {"pupils": len(claims)}
        with tracing.batch("transfer.move", (claim.traceparent for claim in claims), about, links=imports):
            async with self._lease_kept(claims):
                await self._carry(claims)
        return len(claims)

    async def _carry(self, claims: Sequence[Claim]) -> None:
        batch = _Batch(list(claims))
        try:
            await self._bring_over_or_back(batch)
        except Exception as error:  # noqa: BLE001 - not even giving back was possible: the next mover will try
            everyone = [*batch.waiting, *batch.landed]
            foreseen = is_transient(error) or isinstance(error, PreflightError)
            _log.warning(
                "transfer.postponed",
                transfers=_names(everyone),
                error=type(error).__name__,
                exc_info=None if foreseen else error,
            )
            busy = isinstance(error, RecordsBusyError)
            await self.ledger.postpone(everyone, Reason.IN_PROGRESS if busy else Reason.TENANT_UNAVAILABLE)
            return
        if batch.landed:
            await self._bring_home(batch.landed)

    async def _bring_over_or_back(self, batch: _Batch) -> None:
        """Land the batch; what can't be landed stays at the origin, and its transfer ends or waits.

        Raises:
            Exception: something is away. Holds and fences stay for the next mover to find.
        """
        try:
            await self._bring_over(batch)
        except SupersededError:
            _log.warning("transfer.superseded", transfers=_names(batch.waiting))
            # Neither we nor anybody before us can land these any more: our copies of files are nobody's.
            for claim in batch.waiting:
                await self.objects.discard_copies(claim)
        except PreflightError as refusal:
            await self._set_aside(batch, _ids(batch.waiting), refusal.reason, refusal.detail)
        except Exception as error:
            if is_transient(error) or not batch.waiting:
                raise
            await self._find_culprit(batch, error)

    async def _bring_over(self, batch: _Batch) -> None:
        """Up to the point of no return: fence, gate, hold, copy, land."""
        origin_uai, destination_uai = batch.waiting[0].origin_uai, batch.waiting[0].destination_uai
        prepared = await self.records.prepare(destination_uai, batch.waiting, to_land=True)
        crash_points.reach("move.prepared")
        batch.leave(prepared.superseded)
        batch.note_landed(prepared.landed)
        await self._cancel(batch, {claim.id for claim in batch.waiting if claim.cancel_requested})
        await self._pass_gate(batch)

        outcome = await self.records.hold(
            origin_uai, batch.waiting, prepared.sheets, batch.claim_id, landed=list(batch.landed)
        )
        crash_points.reach("move.held")
        await self._refuse(batch, outcome.refused)
        await self._report_lost_landings(batch, outcome.finished)
        busy = batch.leave(_ids(batch.waiting) - outcome.held)
        if busy:
            await self.ledger.postpone(busy, Reason.IN_PROGRESS)
        if batch.waiting:
            await self._copy_files(batch, outcome.attachments)
        while batch.waiting:
            await self._land(batch)

    async def _pass_gate(self, batch: _Batch) -> None:
        """Support chose these pupils, and no INE is compared: what was allowed must still be, and stays so."""
        authorised = [claim for claim in batch.waiting if claim.match_key.startswith(AUTHORISATION_KEY_PREFIX)]
        if authorised:
            await self._refuse(batch, await self.ledger.pass_gate(authorised))
            crash_points.reach("move.authorised")

    async def _copy_files(self, batch: _Batch, attachments: Sequence[Attachment]) -> None:
        """Copy the attachments' objects; a pupil with one that can't be read stays where the records are whole.

        Meanwhile the ledger is told, and says who was asked to stop.
        """
        cancelled, problems = await both(
            self.ledger.advance(batch.waiting, TransferState.COPYING), self.objects.copy(batch.waiting, attachments)
        )
        crash_points.reach("move.files_copied")
        await self._cancel(batch, cancelled)
        for transfer_id, problem in problems.items():
            await self._set_aside(batch, {transfer_id}, Reason.ATTACHMENT_UNREADABLE, problem)

    async def _land(self, batch: _Batch) -> None:
        """Land the whole batch, or learn who can't."""
        origin_uai, destination_uai = batch.waiting[0].origin_uai, batch.waiting[0].destination_uai
        try:
            landed = await self.records.land(origin_uai, destination_uai, batch.waiting, batch.claim_id)
        except LandingRefusedError as refusal:
            await self._refuse(batch, refusal.reasons)
            return
        crash_points.reach("move.landed")
        batch.note_landed(landed)

    async def _bring_home(self, landed: Mapping[Claim, Landed]) -> None:
        """After the point of no return: empty the origin, tidy the store, say so. An error only postpones."""
        claims = list(landed)
        try:
            _, object_keys = await both(
                self.ledger.advance(claims, TransferState.LANDED),
                self.records.finish(claims[0].origin_uai, landed, uuid4()),
            )
            crash_points.reach("move.finished")
            await self._tidy(landed, object_keys)
            crash_points.reach("move.tidied")
            await self.ledger.complete({claim: arrival.contents.records for claim, arrival in landed.items()})
            crash_points.reach("move.completed")
        except SupersededError:
            _log.warning("transfer.superseded", transfers=_names(claims))
        except RecordsChangedError:
            _log.error("transfer.records_changed", transfers=_names(claims))
            await self._finish_one_by_one(landed, Reason.DIGEST_MISMATCH)
        except Exception as error:  # noqa: BLE001 - whatever it is, what has landed stays on its way
            if is_transient(error):
                _log.warning("transfer.postponed", transfers=_names(claims), error=type(error).__name__)
                await self.ledger.postpone(claims, Reason.TENANT_UNAVAILABLE)
            else:
                _log.exception("transfer.finish_failed", transfers=_names(claims))
                await self._finish_one_by_one(landed, Reason.LANDING_REFUSED)
        else:
            records = sum(arrival.contents.records for arrival in landed.values())
            _log.info("transfer.completed", transfers=_names(claims), records=records)

    async def _finish_one_by_one(self, landed: Mapping[Claim, Landed], reason: Reason) -> None:
        if len(landed) == 1:
            await self.ledger.postpone(list(landed), reason)
            return
        for claim, arrival in landed.items():
            await self._bring_home({claim: arrival})

    async def _tidy(self, landed: Mapping[Claim, Landed], object_keys: Sequence[str]) -> None:
        claims = list(landed)
        if object_keys:
            _, _ = await both(
                self.ledger.advance(claims, TransferState.LANDED, finished=True), self.objects.remove(object_keys)
            )
            await self.records.forget_objects(claims[0].origin_uai, object_keys)
        for claim, arrival in landed.items():
            if claim.epoch > 1:
                await self.objects.discard_copies(claim, but_of_epoch=arrival.epoch)

    async def _find_culprit(self, batch: _Batch, error: Exception) -> None:
        """Nobody foresaw this error: halve the batch until the culprit is alone, and hold it."""
        waiting = batch.waiting
        if len(waiting) > 1:
            batch.leave(_ids(waiting))
            middle = len(waiting) // 2
            await self._carry(waiting[:middle])
            await self._carry(waiting[middle:])
            return
        _log.error("transfer.failed", transfers=_names(waiting), exc_info=error)
        await self._set_aside(batch, _ids(waiting), Reason.LANDING_REFUSED, type(error).__name__)

    async def _refuse(self, batch: _Batch, reasons: Mapping[UUID, Reason]) -> None:
        for reason in sorted(set(reasons.values())):
            await self._set_aside(batch, {key for key, value in reasons.items() if value is reason}, reason, "")

    async def _set_aside(self, batch: _Batch, transfer_ids: Collection[UUID], reason: Reason, detail: str) -> None:
        """Give the records back to the origin and hold the transfers, until a fact changes or a person looks."""
        claims = await self._let_go(batch, transfer_ids)
        if claims:
            await self.ledger.hold(claims, reason, detail)
            _log.warning("transfer.held", transfers=_names(claims), reason=str(reason))

    async def _cancel(self, batch: _Batch, transfer_ids: Collection[UUID]) -> None:
        claims = await self._let_go(batch, transfer_ids)
        if claims:
            await self.ledger.cancel(claims)
            _log.info("transfer.cancelled", transfers=_names(claims))

    async def _let_go(self, batch: _Batch, transfer_ids: Collection[UUID]) -> list[Claim]:
        """Take copies and holds of waiting transfers away. Asks the destination once more that nothing has landed."""
        leaving = [claim for claim in batch.waiting if claim.id in transfer_ids]
        if not leaving:
            return []
        prepared = await self.records.prepare(leaving[0].destination_uai, leaving, to_land=False)
        for claim in batch.leave(prepared.superseded):
            await self.objects.discard_copies(claim)
        batch.note_landed({key: value for key, value in prepared.landed.items() if key in transfer_ids})
        claims = [claim for claim in batch.waiting if claim.id in transfer_ids]
        for claim in claims:
            await self.objects.discard_copies(claim)
        if claims:
            await self.records.release(claims[0].origin_uai, claims)
        return batch.leave(transfer_ids)

    async def _report_lost_landings(self, batch: _Batch, finished: Collection[UUID]) -> None:
        """The origin has finished what the destination has no receipt of: it was restored from an older backup."""
        lost = batch.leave(finished)
        if lost:
            _log.error("transfer.landing_lost", transfers=_names(lost))
            await self.ledger.hold(lost, Reason.LANDING_LOST, "the destination has lost the receipt of its landing")

    @asynccontextmanager
    async def _lease_kept(self, claims: Sequence[Claim]) -> AsyncIterator[None]:
        async def keep() -> None:
            while True:
                await asyncio.sleep(self.renew_seconds)
                try:
                    await self.ledger.renew(claims)
                except Exception as error:  # noqa: BLE001 - a lease that can't be renewed ends; the fences hold
                    _log.warning("transfer.lease_not_renewed", error=type(error).__name__)

        keeper = asyncio.create_task(keep())
        try:
            yield
        finally:
            await end({keeper})


def _ids(claims: Sequence[Claim]) -> set[UUID]:
    return {claim.id for claim in claims}


def _names(claims: Sequence[Claim]) -> list[str]:
    return [str(claim.id) for claim in claims]
