"""Bring the transfer database to the word of the establishments' own databases, one establishment at a time.

The order is what makes it safe to kill at any point, to repeat, and to run beside the join and the movers:

1. The transfer database is read, then the establishment's, then, where a transfer differs, its other end.
2. **Transfers first.** What the databases have traces of is entered before any event can plan it a second time: what is
   completed with what has moved, what is under way with an epoch that fences every mover of before.
3. **Then what has moved**, and only then is the establishment told to speak: in one transaction, with nobody else
   changing a pupil there, everything is compared once more, and what is still missing goes into its outbox. The
   ordinary join does the rest.

Nothing is published of a pupil who is held for a transfer that is not known yet: a second one would be planned beside
it. Where to the first one was going is found once the other establishments have spoken, so the caller comes back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from cpro_platform import crash_points
from cpro_platform.errors import RetryableError
from cpro_platform.transience import is_transient
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.domain.reconciliation import Differences, Kind, KnownState, Truth, compare
from cpro_transfer.domain.transfer_traces import (
    End,
    Entry,
    RestoredTransfer,
    Trace,
    TransferFindings,
    Verdict,
    judge,
    restore,
    with_undos,
)
from cpro_transfer.ports.reconciling import KnownFacts, TenantTruths

_log = structlog.get_logger()
_NO_END = End()


@dataclass(slots=True)
class Reconciliation:
    """What was found about one establishment, and what was done about it."""

    uai: str
    dry_run: bool
    pupils: int = 0
    transfers: int = 0
    """Traced in the establishment's database."""
    found: dict[Kind, list[UUID]] = field(default_factory=dict)
    """By kind: the pupils or the transfers. An opt-in and the revisions have no id."""
    repaired: dict[Kind, int] = field(default_factory=dict)
    missing_receipts: dict[UUID, Mapping[str, int]] = field(default_factory=dict)
    on_their_way: int = 0
    """Facts that the join has not taken in yet, and may still."""
    under_way: int = 0
    """Transfers that a mover has, or will have."""
    come_back: bool = False
    """Something can only be decided once the other establishments have been reconciled."""
    continue_after: int | None = None
    """The establishment's revisions were behind, and go on after this one."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares and mends."""

    known_facts: KnownFacts
    tenants: TenantTruths

    async def reconcile(self, uai: str, *, dry_run: bool) -> Reconciliation:
        """Compare one establishment's database with the transfer database; repair, unless it is a dry run.

        Safe to repeat, and to run beside everything else: a dry run writes nothing anywhere.

        Raises:
            TenantUnknownError: no such establishment.
            RetryableError: a database is away, or an import keeps the establishment's busy.
        """
        try:
            return await self._reconcile(uai, dry_run=dry_run)
        except Exception as error:
            if is_transient(error) and not isinstance(error, RetryableError):
                raise RetryableError(type(error).__name__) from error
            raise

    async def _reconcile(self, uai: str, *, dry_run: bool) -> Reconciliation:
        result = Reconciliation(uai, dry_run)
        known, entries = await self.known_facts.known(uai), await self.known_facts.entries(uai)
        async with self.tenants.reading(uai) as tenant:
            truth, traces = await tenant.truth(), await tenant.traces()
        result.pupils, result.transfers = len(truth.pupils), len(traces)

        transfers = await self._transfers(uai, traces, entries)
        _note_transfers(result, transfers)
        if not dry_run:
            await self._repair_transfers(result, transfers)
            known = await self.known_facts.known(uai)
        differences = compare(known, truth, deferred=set(transfers.untraced.values()))
        if dry_run:
            _note_facts(result, differences, truth)
        else:
            await self._repair_facts(result, known, truth, differences, set(transfers.untraced.values()))
        _report(result)
        return result

    async def _transfers(
        self, uai: str, traces: Mapping[UUID, Trace], entries: Mapping[UUID, Entry]
    ) -> TransferFindings:
        findings = TransferFindings()
        unknown: list[Trace] = []
        doubtful: list[Entry] = []
        for transfer_id in sorted({*traces, *entries}):
            trace, entry = traces.get(transfer_id), entries.get(transfer_id)
            verdict = judge(uai, trace, entry)
            if verdict is Verdict.ENTER and trace:
                unknown.append(trace)
            elif entry and verdict in {Verdict.CARRY_ON_IF_LANDED, Verdict.RECEIPT_MISSING}:
                doubtful.append(entry)
            elif entry and verdict is Verdict.CARRY_ON:
                findings.carry_on.append(entry)
            findings.under_way += verdict is Verdict.UNDER_WAY
        await self._look_for(uai, unknown, findings)
        findings.enter = with_undos(findings.enter, entries)
        await self._doubt(uai, doubtful, traces, findings)
        if findings.untraced:
            # Those that were planned and held between the two readings are no riddle.
            by_now = await self.known_facts.entries(uai)
            findings.untraced = {key: pupil for key, pupil in findings.untraced.items() if key not in by_now}
        return findings

    async def _look_for(self, uai: str, unknown: Sequence[Trace], findings: TransferFindings) -> None:
        """Find the other ends of transfers that are not in the transfer database, and what they come to."""
        if not unknown:
            return
        own = await self._ends(uai, [trace.transfer_id for trace in unknown])
        by_other: dict[str, list[Trace]] = {}
        for trace in unknown:
            if trace.other_uai:
                by_other.setdefault(trace.other_uai, []).append(trace)
        for other_uai, found in sorted(by_other.items()):
            ids = [trace.transfer_id for trace in found]
            theirs = await self._ends(other_uai, ids, _match_keys({one: own[one] for one in ids}))
            for trace in found:
                origin, destination = (theirs, own) if trace.incoming else (own, theirs)
                places = (other_uai, uai) if trace.incoming else (uai, other_uai)
                restored = restore(
                    trace.transfer_id, *places, origin[trace.transfer_id], destination[trace.transfer_id]
                )
                _sort_in(trace, restored, origin[trace.transfer_id], findings)
        await self._look_for_destinations(uai, [trace for trace in unknown if not trace.other_uai], own, findings)

    async def _look_for_destinations(
        self, uai: str, holds: Sequence[Trace], own: Mapping[UUID, End], findings: TransferFindings
    ) -> None:
        """A hold does not say where to: of the establishments that have the pupil too, the one with the fence."""
        keys = {hold.transfer_id: _keys_of(own[hold.transfer_id]) for hold in holds}
        candidates = await self.known_facts.candidates(uai, {key for some in keys.values() for key in some})
        for hold in holds:
            places = [(key, other) for key in keys[hold.transfer_id] for other in candidates.get(key, ())]
            restored = await self._fenced_at(hold.transfer_id, uai, own[hold.transfer_id], places)
            if restored:
                findings.enter.append(restored)
            else:
                findings.untraced[hold.transfer_id] = hold.held_pupil_id or hold.transfer_id

    async def _fenced_at(
        self, transfer_id: UUID, uai: str, own: End, places: Sequence[tuple[str, str]]
    ) -> RestoredTransfer | None:
        for key, other_uai in places:
            theirs = (await self._ends(other_uai, [transfer_id], {transfer_id: key}))[transfer_id]
            if theirs.fence_epoch is not None:
                return restore(transfer_id, uai, other_uai, own, theirs)
        return None

    async def _doubt(
        self, uai: str, entries: Sequence[Entry], traces: Mapping[UUID, Trace], findings: TransferFindings
    ) -> None:
        """What the other end says of transfers that lack something at this one."""
        by_other: dict[str, list[Entry]] = {}
        for entry in entries:
            other_uai = entry.destination_uai if entry.origin_uai == uai else entry.origin_uai
            by_other.setdefault(other_uai or uai, []).append(entry)
        for other_uai, ours in sorted(by_other.items()):
            theirs = await self._ends(other_uai, [entry.id for entry in ours])
            for entry in ours:
                there = theirs[entry.id]
                if entry.id in traces and there.incoming:
                    findings.carry_on.append(entry)
                else:
                    receipt = there.incoming or there.outgoing
                    findings.missing[entry.id] = receipt.counts if receipt else {}

    async def _ends(
        self, uai: str, transfer_ids: Collection[UUID], match_keys: Mapping[UUID, str] | None = None
    ) -> dict[UUID, End]:
        try:
            async with self.tenants.reading(uai) as tenant:
                return await tenant.ends(transfer_ids, match_keys=match_keys or {})
        except TenantUnknownError:
            return dict.fromkeys(transfer_ids, _NO_END)

    async def _repair_transfers(self, result: Reconciliation, findings: TransferFindings) -> None:
        if findings.enter:
            entered = await self.known_facts.enter(findings.enter)
            result.repaired[Kind.TRANSFER_UNKNOWN] = entered
            # What was there by now was entered by the other establishment's reconciliation, or is the same at last.
            _note(result, Kind.TRANSFER_UNKNOWN, result.found.pop(Kind.TRANSFER_UNKNOWN)[:entered])
            crash_points.reach("reconcile.entered")
        if findings.carry_on:
            result.repaired[Kind.TRANSFER_BEHIND] = await self.known_facts.carry_on(findings.carry_on)

    async def _repair_facts(
        self,
        result: Reconciliation,
        known: KnownState,
        truth: Truth,
        differences: Differences,
        deferred: Collection[UUID],
    ) -> None:
        uai = result.uai
        if differences.is_to_be_told() or truth.unpublished:
            async with self.tenants.writing(uai) as tenant:
                truth = await tenant.truth()
                differences = compare(known, truth, deferred=deferred)
                await tenant.renumber(differences)
                # Before the commit: once it is published, the join may plan at once.
                await self._note_moved(uai, differences)
                crash_points.reach("reconcile.noted")
                await tenant.say(differences)
        else:
            await self._note_moved(uai, differences)
        _note_facts(result, differences, truth)
        for kind, ids in differences.ids().items():
            result.repaired[kind] = len(ids)
        if differences.opt_in:
            result.repaired[differences.opt_in] = 1
        if differences.continue_after:
            result.repaired[Kind.REVISIONS_BEHIND] = 1

    async def _note_moved(self, uai: str, differences: Differences) -> None:
        if differences.not_noted:
            await self.known_facts.note_moved(uai, differences.not_noted)


def _sort_in(trace: Trace, restored: RestoredTransfer | None, origin: End, findings: TransferFindings) -> None:
    if restored:
        findings.enter.append(restored)
    elif origin.pupil is None:
        findings.untraced[trace.transfer_id] = trace.transfer_id
    else:
        receipt = origin.outgoing
        findings.missing[trace.transfer_id] = receipt.counts if receipt else {}


def _keys_of(end: End) -> list[str]:
    """Under which keys another establishment may have this pupil, the newest first."""
    if end.pupil is None:
        return []
    log = sorted(end.pupil.log, key=lambda said: said.revision, reverse=True)
    return list(dict.fromkeys([end.pupil.match_key, *(said.match_key for said in log)]))


def _match_keys(ends: Mapping[UUID, End]) -> dict[UUID, str]:
    return {transfer_id: end.pupil.match_key for transfer_id, end in ends.items() if end.pupil}


def _note_transfers(result: Reconciliation, findings: TransferFindings) -> None:
    _note(result, Kind.TRANSFER_UNKNOWN, (transfer.id for transfer in findings.enter))
    _note(result, Kind.TRANSFER_BEHIND, (entry.id for entry in findings.carry_on))
    _note(result, Kind.TRANSFER_UNTRACED, findings.untraced)
    _note(result, Kind.RECEIPT_MISSING, findings.missing)
    result.missing_receipts = dict(findings.missing)
    result.under_way = findings.under_way
    result.come_back = bool(findings.untraced)


def _note_facts(result: Reconciliation, differences: Differences, truth: Truth) -> None:
    for kind, ids in differences.ids().items():
        _note(result, kind, ids)
    if differences.opt_in:
        result.found[differences.opt_in] = []
    if differences.continue_after:
        result.found[Kind.REVISIONS_BEHIND] = []
    result.on_their_way = differences.on_their_way
    result.continue_after = differences.continue_after
    result.pupils = len(truth.pupils)


def _note(result: Reconciliation, kind: Kind, ids: Iterable[UUID]) -> None:
    found = list(ids)
    if found:
        result.found[kind] = found


def _report(result: Reconciliation) -> None:
    if not result.found:
        return
    counts = {str(kind): len(ids) or 1 for kind, ids in result.found.items()}
    went_back = {Kind.PUPIL_AHEAD, Kind.OPT_IN_AHEAD, Kind.REVISIONS_BEHIND, Kind.RECEIPT_MISSING} & result.found.keys()
    log = _log.error if went_back else _log.warning
    log("establishment.differed", uai=result.uai, dry_run=result.dry_run, went_back_in_time=bool(went_back), **counts)
