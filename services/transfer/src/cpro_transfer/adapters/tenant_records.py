"""The tenants' databases, as a mover uses them. Each method is one transaction in one database.

Who could write behind our back, and what stops them:

| who                                     | stopped by                                                                |
|-----------------------------------------|---------------------------------------------------------------------------|
| the core application, at the origin     | the hold, and the guard trigger on every record table                      |
| a writer under way when the hold is set | the pupil's row: the mover waits for it, then copies what it wrote         |
| an earlier mover, landing late          | the fence at the destination, checked under lock in the landing            |
| an earlier mover, finishing late        | the hold, which carries the later epoch, or is gone                        |
| an import that changes the pupil        | the pupil's row at both ends, checked under lock in hold and landing       |
| an opt-in withdrawn meanwhile           | the opt-in's row at both ends, read under lock in hold and landing         |
| a table that nobody declared            | the catalogue, compared with the live foreign keys before each hold        |
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.transfers import Reason
from cpro_platform import crash_points
from cpro_platform.database import Connection
from cpro_tenant_db import catalogue
from cpro_tenant_db.catalogue import CATALOGUE
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.errors import TenantUnknownError
from cpro_tenant_db.provisioning import live_schema_version
from cpro_transfer.adapters import receipts, record_sql
from cpro_transfer.adapters.record_sql import Columns
from cpro_transfer.domain.identity import Identity, are_one_person
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.errors import (
    LandingRefusedError,
    PreflightError,
    RecordsBusyError,
    RecordsChangedError,
    SupersededError,
    TenantInTroubleError,
)
from cpro_transfer.ports import Attachment, HoldOutcome, Landed, Prepared, PupilSheet, TableReceipt, Tables

_RAISE_FENCE = """
INSERT INTO transfer_fence AS known (transfer_id, epoch) SELECT * FROM unnest(%s::uuid[], %s::bigint[])
ON CONFLICT (transfer_id) DO UPDATE SET epoch = EXCLUDED.epoch, raised_at = now() WHERE known.epoch <= EXCLUDED.epoch
RETURNING transfer_id
"""
_CHECK_FENCE = """
SELECT transfer_id, epoch FROM transfer_fence WHERE transfer_id = ANY (%s) ORDER BY transfer_id FOR UPDATE
"""
_SHEETS = """
SELECT id, active, CASE WHEN ine_status = 'trusted' THEN ine END AS ine, birth_date, family_name, usage_name,
    first_name, last_import_id
FROM pupil WHERE id = ANY (%s) ORDER BY id
"""
_OPT_IN = """
SELECT jsonb_build_object('enabled', enabled, 'revision', revision, 'changed_at', changed_at) AS said, enabled
FROM transfer_opt_in FOR SHARE
"""
_TAKE_HOLDS = """
INSERT INTO transfer_hold AS known (pupil_id, transfer_id, epoch, claim, opt_in)
SELECT pupil_id, transfer_id, epoch, %(claim_id)s, %(opt_in)s
FROM unnest(%(pupils)s::uuid[], %(ids)s::uuid[], %(epochs)s::bigint[]) AS wanted (pupil_id, transfer_id, epoch)
ON CONFLICT (pupil_id) DO UPDATE SET epoch = EXCLUDED.epoch, claim = EXCLUDED.claim
WHERE known.transfer_id = EXCLUDED.transfer_id AND known.epoch <= EXCLUDED.epoch
RETURNING transfer_id
"""
# The update is for writers in REPEATABLE READ: their snapshot can't show them the hold, but their lock on a row that
# was updated since fails with a serialization error.
_TOUCH_PUPILS = "UPDATE pupil SET updated_at = now() WHERE id = ANY (%s)"
_MY_HOLDS = """
SELECT h.transfer_id, h.opt_in FROM transfer_hold h
JOIN unnest(%(ids)s::uuid[], %(epochs)s::bigint[]) AS mine (transfer_id, epoch) USING (transfer_id, epoch)
ORDER BY h.transfer_id
"""
_TAKE_OVER = """
UPDATE transfer_hold SET claim = %(claim_id)s WHERE transfer_id = ANY (%(ids)s)
"""
_RELEASE = """
DELETE FROM transfer_hold h USING unnest(%(ids)s::uuid[], %(epochs)s::bigint[]) AS mine (transfer_id, epoch)
WHERE h.transfer_id = mine.transfer_id AND h.epoch <= mine.epoch
"""
_ATTACHMENTS = """
SELECT id, pupil_id, object_key, sha256, size_bytes FROM attachment WHERE pupil_id = ANY (%s) ORDER BY id
"""
_NOTE_OBJECTS = """
INSERT INTO transfer_object_removal (object_key, transfer_id)
SELECT a.object_key, mine.transfer_id FROM attachment a
JOIN unnest(%(pupils)s::uuid[], %(ids)s::uuid[]) AS mine (pupil_id, transfer_id) USING (pupil_id)
ON CONFLICT DO NOTHING
"""
_NOTE_MOVED = """
UPDATE pupil p SET updated_at = now(), records_moved_at = CASE WHEN p.active THEN NULL ELSE now() END,
    records_moved_to = CASE WHEN p.active THEN NULL ELSE mine.uai END
FROM unnest(%(pupils)s::uuid[], %(destinations)s::text[]) AS mine (pupil_id, uai) WHERE p.id = mine.pupil_id
"""


_HELD_BY_ANOTHER = "CP001"  # raised by the guard trigger


@dataclass(frozen=True, slots=True)
class _Pupil:
    id: UUID
    active: bool
    ine: str | None
    birth_date: Any
    family_name: str
    usage_name: str | None
    first_name: str
    last_import_id: UUID | None

    def sheet(self) -> PupilSheet:
        identity = Identity(self.birth_date, self.family_name, self.usage_name, self.first_name)
        return PupilSheet(self.id, self.active, self.ine, identity)


class TenantRecords:
    """Moves rows between tenants' databases. Stateless: any mover may take over at any point."""

    def __init__(
        self,
        tenants: TenantConnections,
        *,
        schema_version: str,
        idle_in_transaction_seconds: float,
        lock_timeout_seconds: float = 5,
    ) -> None:
        self._tenants = tenants
        self._schema_version = schema_version
        self._idle_ms = str(int(idle_in_transaction_seconds * 1000))
        self._lock_ms = str(int(lock_timeout_seconds * 1000))

    async def prepare(self, destination_uai: str, claims: Sequence[Claim]) -> Prepared:
        """Raise the fence at the destination, so that no earlier epoch can land; read what it knows of the pupils."""
        ids = [claim.id for claim in claims]
        async with self._transaction(destination_uai) as tx:
            mine = await _raise_fence(tx, claims)
            landed = await receipts.landed(tx, ids, "incoming")
            pupils = await _pupils(tx, [claim.destination_pupil_id for claim in claims])
        return Prepared({pupil.id: pupil.sheet() for pupil in pupils}, landed, frozenset(set(ids) - mine))

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

        What has landed is held whatever has changed since: it only goes forward.
        """
        async with self._transaction(origin_uai, claim_id) as tx:
            # First of all: a hold that comes after a later epoch has let go would outlive its transfer.
            mine = await _raise_fence(tx, [*claims, *landed])
            claims = [claim for claim in claims if claim.id in mine]
            everyone = [*claims, *(claim for claim in landed if claim.id in mine)]
            opt_in = await _one(tx, _OPT_IN)
            pupil_ids = [claim.origin_pupil_id for claim in everyone]
            pupils = {pupil.id: pupil for pupil in await _pupils(tx, pupil_ids, lock="FOR UPDATE")}
            # Only now: a finish that was under way has kept us waiting at its pupils.
            finished = frozenset(await receipts.landed(tx, _ids(everyone), "outgoing"))
            refused: dict[UUID, Reason] = {}
            for claim in claims:
                leaver, arrival = pupils.get(claim.origin_pupil_id), sheets.get(claim.destination_pupil_id)
                reason = _refusal_at_hold(claim, leaver, arrival) if opt_in["enabled"] else Reason.ORIGIN_NOT_OPTED_IN
                if reason and claim.id not in finished:
                    refused[claim.id] = reason
            wanted = [claim for claim in everyone if claim.id not in refused and claim.id not in finished]
            if wanted:
                await self._preflight(tx)
            arguments = _arguments(wanted) | {"claim_id": claim_id, "opt_in": Jsonb(opt_in["said"])}
            held = frozenset(row["transfer_id"] for row in await _fetch(tx, _TAKE_HOLDS, arguments))
            await tx.execute(_TOUCH_PUPILS, ([claim.origin_pupil_id for claim in wanted if claim.id in held],))
            crash_points.reach("move.holding")
        return HoldOutcome(held, refused, finished - set(_ids(landed)))

    async def land(
        self, origin_uai: str, destination_uai: str, claims: Sequence[Claim], claim_id: UUID
    ) -> Mapping[UUID, Landed]:
        """Copy the rows, verify them at the destination and commit them there with their receipts. By transfer."""
        async with (
            self._transaction(origin_uai, claim_id, "REPEATABLE READ, READ ONLY") as origin,
            self._transaction(destination_uai, claim_id) as destination,
        ):
            await self._preflight(destination)
            await _check_not_leaving(destination, claims)
            holds = await _check_holds(origin, claims)
            columns = await self._common_columns(origin, destination)
            left = await _digests(origin, columns, {c.origin_pupil_id: c for c in claims})
            leavers = {pupil.id: pupil for pupil in await _pupils(origin, [c.origin_pupil_id for c in claims])}
            await _copy(origin, destination, columns, claims)
            crash_points.reach("move.copied")

            # The locks come last: a mover that sleeps in a COPY keeps nobody waiting.
            opt_in, arrivals = await _check_landing(destination, claims, leavers)
            ids = [row_id for tables in left.values() for table in tables.values() for row_id in table.ids]
            arrived = await _digests(destination, columns, {c.destination_pupil_id: c for c in claims}, only_ids=ids)
            differing = {claim.id: Reason.DIGEST_MISMATCH for claim in claims if left[claim.id] != arrived[claim.id]}
            if differing:
                raise LandingRefusedError(differing)
            written = [
                receipts.NewReceipt(
                    claim.id, "incoming", claim.destination_pupil_id, claim.origin_uai, claim.epoch,
                    receipts.as_json(arrived[claim.id]), holds[claim.id]["opt_in"], opt_in,
                    leavers[claim.origin_pupil_id].last_import_id,
                    arrivals[claim.destination_pupil_id].last_import_id,
                )
                for claim in claims
            ]  # fmt: skip
            await receipts.write(destination, written)
            crash_points.reach("move.landing")
        return {claim.id: Landed(claim.epoch, arrived[claim.id]) for claim in claims}

    async def finish(self, origin_uai: str, landed: Mapping[Claim, Landed], claim_id: UUID) -> None:
        """Delete the rows at the origin, write the outgoing receipts and release the holds.

        What is finished already is left alone: the outgoing receipt says so.

        Raises:
            SupersededError: a hold is a later epoch's; nothing was done.
            RecordsChangedError: the rows here are not those that landed; nothing was deleted.
        """
        incoming = await self._incoming_receipts(list(landed))
        async with self._transaction(origin_uai, claim_id) as tx:
            finished = await receipts.landed(tx, _ids(list(landed)), "outgoing")
            claims = [claim for claim in landed if claim.id not in finished]
            if not claims:
                return
            pupils = {claim.origin_pupil_id: claim for claim in claims}
            await _pupils(tx, list(pupils), lock="FOR UPDATE")
            await _check_holds(tx, claims, lock=True)
            await tx.execute(_TAKE_OVER, _arguments(claims) | {"claim_id": claim_id})
            here = await _digests(tx, await _columns(tx), pupils)
            if any(here[claim.id] != landed[claim].tables for claim in claims):
                raise RecordsChangedError
            await tx.execute(_NOTE_OBJECTS, _arguments(claims))
            for table in reversed(CATALOGUE):
                await tx.execute(record_sql.delete_rows(table), {"pupil_ids": list(pupils)})
            destinations = [claim.destination_uai for claim in claims]
            await tx.execute(_NOTE_MOVED, {"pupils": list(pupils), "destinations": destinations})
            await tx.execute(_RELEASE, _arguments(claims))
            written = [receipts.outgoing(claim, here[claim.id], incoming[claim.id]) for claim in claims]
            await receipts.write(tx, written)
            crash_points.reach("move.finishing")

    async def release(self, origin_uai: str, claims: Sequence[Claim]) -> None:
        """Take the holds away: nothing has moved. Does nothing where there is none, or a later epoch's.

        The fence keeps a hold of an earlier epoch from coming afterwards, and waits for one that is under way.
        """
        async with self._transaction(origin_uai) as tx:
            await _raise_fence(tx, claims)
            await tx.execute(_RELEASE, _arguments(claims))

    async def attachments(self, origin_uai: str, claims: Sequence[Claim]) -> list[Attachment]:
        """The files of the held pupils."""
        async with self._transaction(origin_uai) as tx, tx.cursor(row_factory=class_row(Attachment)) as cursor:
            await cursor.execute(_ATTACHMENTS, ([claim.origin_pupil_id for claim in claims],))
            return await cursor.fetchall()

    async def objects_to_remove(self, origin_uai: str, claims: Sequence[Claim]) -> list[str]:
        """The keys of objects whose rows have left."""
        async with self._transaction(origin_uai) as tx:
            rows = await _fetch(
                tx, "SELECT object_key FROM transfer_object_removal WHERE transfer_id = ANY (%s)", (_ids(claims),)
            )
        return [row["object_key"] for row in rows]

    async def forget_objects(self, origin_uai: str, object_keys: Sequence[str]) -> None:
        """These objects are gone from the store."""
        async with self._transaction(origin_uai) as tx:
            await tx.execute("DELETE FROM transfer_object_removal WHERE object_key = ANY (%s)", (list(object_keys),))

    @asynccontextmanager
    async def _transaction(
        self, uai: str, claim_id: UUID | None = None, mode: str = "READ COMMITTED"
    ) -> AsyncIterator[Connection]:
        try:
            async with self._tenants.begin(uai) as tx:
                await tx.execute(f"SET TRANSACTION ISOLATION LEVEL {mode}")
                settings = {"claim_id": str(claim_id or ""), "idle_ms": self._idle_ms, "lock_ms": self._lock_ms}
                await tx.execute(record_sql.PIN_SESSION, settings)
                yield tx
        except TenantUnknownError as unknown:
            raise TenantInTroubleError(f"{unknown.uai} is not in the directory") from unknown
        except psycopg.errors.DiskFull as full:
            raise TenantInTroubleError(f"the disk of {uai} is full") from full
        except psycopg.Error as error:
            if error.sqlstate == _HELD_BY_ANOTHER:
                raise RecordsBusyError(uai) from error
            raise

    async def _preflight(self, tx: Connection) -> None:
        version = await live_schema_version(tx)
        if version != self._schema_version:
            raise PreflightError(Reason.SCHEMA_BEHIND, f"at {version}, expected {self._schema_version}")
        gaps = await catalogue.gaps(tx)
        if gaps:
            raise PreflightError(Reason.CATALOGUE_INCOMPLETE, "; ".join(map(str, gaps)))

    async def _common_columns(self, origin: Connection, destination: Connection) -> Columns:
        columns = await _columns(origin)
        if columns != await _columns(destination):
            raise PreflightError(Reason.SCHEMA_BEHIND, "the record tables of the two databases differ")
        return columns

    async def _incoming_receipts(self, claims: Sequence[Claim]) -> dict[UUID, dict[str, Any]]:
        async with self._transaction(claims[0].destination_uai) as tx:
            rows = await _fetch(
                tx,
                "SELECT * FROM transfer_receipt WHERE transfer_id = ANY (%s) AND direction = 'incoming'",
                (_ids(claims),),
            )
        return {row["transfer_id"]: row for row in rows}


def _refusal_at_hold(claim: Claim, leaver: _Pupil | None, arrival: PupilSheet | None) -> Reason | None:
    if leaver is None or leaver.active:
        return Reason.NOT_LEFT
    return _refusal_of_pair(claim, leaver, arrival)


def _refusal_of_pair(claim: Claim, leaver: _Pupil, arrival: PupilSheet | None) -> Reason | None:
    """Whether the two databases, not the events, agree that this is one pupil who is now at the destination."""
    if arrival is None or not arrival.active:
        return Reason.NOT_ARRIVED
    if claim.match_key.startswith(AUTHORISATION_KEY_PREFIX):
        return None  # support chose the pupil, under a ticket; the authorisation is what counts
    if leaver.ine is None or leaver.ine != arrival.ine:
        return Reason.INE_NOT_TRUSTED
    return None if are_one_person(leaver.sheet().identity, arrival.identity) else Reason.IDENTITY_MISMATCH


async def _check_not_leaving(destination: Connection, claims: Sequence[Claim]) -> None:
    """A pupil may have come back, or gone on, before an earlier transfer out of the destination has ended.

    Raises:
        RecordsBusyError: that one first.
    """
    pupil_ids = [claim.destination_pupil_id for claim in claims]
    if await _fetch(destination, "SELECT 1 FROM transfer_hold WHERE pupil_id = ANY (%s) LIMIT 1", (pupil_ids,)):
        raise RecordsBusyError


async def _check_landing(
    destination: Connection, claims: Sequence[Claim], leavers: Mapping[UUID, _Pupil]
) -> tuple[Any, Mapping[UUID, _Pupil]]:
    """The destination's own word, under lock: its opt-in, its pupils, its fence.

    Raises:
        LandingRefusedError: the establishment's doors are closed, or a pupil is not, or no longer, who was expected.
        SupersededError: a later epoch has raised the fence.
    """
    opt_in = await _one(destination, _OPT_IN)
    if not opt_in["enabled"]:
        raise LandingRefusedError({claim.id: Reason.DESTINATION_NOT_OPTED_IN for claim in claims})
    pupil_ids = [claim.destination_pupil_id for claim in claims]
    arrivals = {pupil.id: pupil for pupil in await _pupils(destination, pupil_ids, lock="FOR NO KEY UPDATE")}
    refused: dict[UUID, Reason] = {}
    for claim in claims:
        arrival = arrivals.get(claim.destination_pupil_id)
        reason = _refusal_of_pair(claim, leavers[claim.origin_pupil_id], arrival.sheet() if arrival else None)
        if reason:
            refused[claim.id] = reason
    if refused:
        raise LandingRefusedError(refused)
    fences = await _fetch(destination, _CHECK_FENCE, (_ids(claims),))
    if {row["transfer_id"]: row["epoch"] for row in fences} != {claim.id: claim.epoch for claim in claims}:
        raise SupersededError
    return opt_in["said"], arrivals


async def _check_holds(tx: Connection, claims: Sequence[Claim], *, lock: bool = False) -> dict[UUID, dict[str, Any]]:
    query = _MY_HOLDS + (" FOR UPDATE OF h" if lock else "")
    holds = {row["transfer_id"]: row for row in await _fetch(tx, query, _arguments(claims))}
    if len(holds) != len(claims):
        raise SupersededError
    return holds


async def _columns(tx: Connection) -> Columns:
    columns: dict[str, list[tuple[str, str]]] = {}
    cursor = await tx.execute(record_sql.LIVE_COLUMNS, ([table.name for table in CATALOGUE],))
    for table, name, kind in await cursor.fetchall():
        columns.setdefault(table, []).append((name, kind))
    return columns


async def _copy(origin: Connection, destination: Connection, columns: Columns, claims: Sequence[Claim]) -> None:
    for table in CATALOGUE:
        async with (
            origin.cursor().copy(record_sql.copy_out(table, columns, claims)) as rows,
            destination.cursor().copy(record_sql.copy_in(table, columns)) as sink,
        ):
            async for block in rows:
                await sink.write(block)


async def _digests(
    tx: Connection, columns: Columns, claims: Mapping[UUID, Claim], *, only_ids: Sequence[UUID] | None = None
) -> dict[UUID, Tables]:
    """By transfer, for every claim: the claims are given by the pupil's id in this database."""
    tables: dict[UUID, dict[str, TableReceipt]] = {claim.id: {} for claim in claims.values()}
    query = record_sql.digests(columns, only_ids=only_ids is not None)
    for row in await _fetch(tx, query, {"pupil_ids": list(claims), "ids": only_ids}):
        transfer_id = claims[row["pupil_id"]].id
        tables[transfer_id][row["table_name"]] = TableReceipt(row["rows"], row["digest"], tuple(row["ids"]))
    return dict(tables)


async def _raise_fence(tx: Connection, claims: Sequence[Claim]) -> frozenset[UUID]:
    """Bring the fences of these transfers to the claims' epochs; returns those that no later epoch has taken over."""
    in_order = sorted(claims, key=lambda claim: claim.id)
    raised = await _fetch(tx, _RAISE_FENCE, (_ids(in_order), [claim.epoch for claim in in_order]))
    return frozenset(row["transfer_id"] for row in raised)


async def _pupils(tx: Connection, pupil_ids: Sequence[UUID], *, lock: str = "") -> list[_Pupil]:
    async with tx.cursor(row_factory=class_row(_Pupil)) as cursor:
        await cursor.execute(f"{_SHEETS} {lock}", (list(pupil_ids),))
        return await cursor.fetchall()


async def _fetch(tx: Connection, query: Any, arguments: Any = None) -> list[dict[str, Any]]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()


async def _one(tx: Connection, query: str) -> dict[str, Any]:
    (row,) = await _fetch(tx, query)
    return row


def _ids(claims: Sequence[Claim]) -> list[UUID]:
    return [claim.id for claim in claims]


def _arguments(claims: Sequence[Claim]) -> dict[str, Any]:
    return {
        "ids": _ids(claims),
        "epochs": [claim.epoch for claim in claims],
        "pupils": [claim.origin_pupil_id for claim in claims],
    }
