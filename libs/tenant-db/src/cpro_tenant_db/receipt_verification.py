"""Verify the receipts in the establishments' databases: each chain by itself, then both ends of every transfer.

The origin's receipt is written after the destination's, so one that has no counterpart tells which database has gone
back in time:

| seen                                                            | what it means                                     |
|-----------------------------------------------------------------|---------------------------------------------------|
| outgoing at the origin, nothing at the destination              | the destination was restored to before a landing  |
| incoming at the destination, nothing and no hold at the origin  | the origin was restored to before the hold        |
| incoming at the destination, a hold at the origin               | the transfer is under way, or its mover has died  |
| both, and they differ                                           | one of them was altered                           |

One connection a tenant at a time, `concurrency` of them; a chain is read as a stream.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from cpro_platform.database import Connection
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError
from cpro_tenant_db.receipts import INCOMING, OUTGOING, ChainBreak, Newest, Receipt, canonical_json, chain_breaks

APPLICATION = "cpro-tenants"
_COLUMNS = """
sequence, previous_hash, hash, transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,
    destination_opt_in, origin_import_id, destination_import_id, written_at
"""
_RECEIPTS = f"SELECT {_COLUMNS} FROM transfer_receipt ORDER BY sequence"  # noqa: S608
_SOME = f"SELECT {_COLUMNS} FROM transfer_receipt WHERE transfer_id = ANY (%s)"  # noqa: S608
_WITH_OTHERS = f"SELECT {_COLUMNS} FROM transfer_receipt WHERE other_uai = ANY (%s) ORDER BY sequence"  # noqa: S608
_NEWEST = """
SELECT sequence, hash, forgotten_sequence, forgotten_hash, forgotten_at, forgotten_written_at
FROM transfer_receipt_chain
"""
_HOLDS = "SELECT transfer_id FROM transfer_hold WHERE transfer_id = ANY (%s)"
_ROWS_AT_A_TIME = 500
_NOTHING: Mapping[str, Any] = {"count": 0}
_OTHER_END = {OUTGOING: INCOMING, INCOMING: OUTGOING}


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What is kept of a receipt to compare it with the other establishment's."""

    transfer_id: UUID
    direction: str
    other_uai: str
    fingerprint: bytes
    written_at: datetime

    @property
    def key(self) -> tuple[UUID, str]:
        """Which receipt of its establishment it is."""
        return self.transfer_id, self.direction


@dataclass(frozen=True, slots=True)
class LostCounterpart:
    """The other establishment has no receipt of a transfer that this one has: its database went back in time."""

    uai: str
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Difference:
    """The two receipts of one transfer do not say the same."""

    outgoing: Receipt
    incoming: Receipt

    @property
    def about(self) -> list[str]:
        """What they differ in: tables by name with both counts, other content by its column."""
        left, arrived = self.outgoing.said_at_both_ends, self.incoming.said_at_both_ends
        found = [name for name in left if name != "tables" and left[name] != arrived[name]]
        tables, others = left["tables"], arrived["tables"]
        for table in sorted({*tables, *others}):
            here, there = tables.get(table, _NOTHING), others.get(table, _NOTHING)
            if here["count"] != there["count"]:
                found.append(f"{table}: {here['count']} left, {there['count']} arrived")
            elif here != there:
                found.append(f"{table}: the same number, other content")
        return found


@dataclass(slots=True)
class Verified:
    """What was found about the receipts in one establishment's database."""

    uai: str
    receipts: int = 0
    breaks: list[ChainBreak] = field(default_factory=list)
    lost: list[LostCounterpart] = field(default_factory=list)
    differing: list[Difference] = field(default_factory=list)
    under_way: int = 0
    """Landed here, and still held at the origin."""
    unread: list[str] = field(default_factory=list)
    """Why something could not be verified."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong in what could be read."""
        return not (self.breaks or self.lost or self.differing)


async def verify_receipts(
    directory: Directory,
    clusters: Mapping[str, str],
    uais: Collection[str] = (),
    *,
    against: bool = True,
    concurrency: int = 8,
) -> AsyncIterator[Verified]:
    """Verify these establishments' receipts, all establishments' without any; yields each as it is done.

    Args:
        directory: Where the tenants are.
        clusters: Connection strings by name.
        uais: The establishments. Their counterparts are looked for in every other one: an establishment whose
            database was restored does not know itself what it has lost.
        against: Compare with the other establishments' receipts too, not only the chains.
        concurrency: Databases read at a time.
    """
    chosen = frozenset(uais)
    tenants = [tenant.uai for tenant in await directory.all_tenants()]
    read = [uai for uai in tenants if not chosen or against or uai in chosen]
    turns = asyncio.Semaphore(concurrency)
    connections = TenantConnections(
        directory, clusters, application_name=APPLICATION, max_open=concurrency, idle_seconds=5
    )

    async def one(uai: str) -> Verified:
        async with turns:
            return await _verify_one(connections, uai, chosen, against=against)

    try:
        for done in asyncio.as_completed([one(uai) for uai in [*read, *sorted(chosen - set(tenants))]]):
            verified = await done
            if not chosen or verified.uai in chosen or not verified.clean or verified.unread:
                yield verified
    finally:
        await connections.close()


async def _verify_one(connections: TenantConnections, uai: str, chosen: frozenset[str], *, against: bool) -> Verified:
    verified = Verified(uai)
    try:
        if not chosen or uai in chosen:
            counterparts = await _verify_chain(connections, verified)
        else:
            counterparts = await _dealings_with(connections, uai, chosen)
    except (TenantUnavailableError, TenantUnknownError, psycopg.Error) as error:
        verified.unread.append(_why(uai, error))
        return verified
    if against:
        await _compare(connections, verified, counterparts)
    return verified


async def _verify_chain(connections: TenantConnections, verified: Verified) -> list[Counterpart]:
    """The chain and its newest receipt, in one snapshot."""
    counterparts: list[Counterpart] = []
    async with connections.begin(verified.uai) as tx:
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        newest = await _newest(tx)

        async def noted() -> AsyncIterator[Receipt]:
            async with tx.cursor("receipts", row_factory=class_row(Receipt)) as rows:
                rows.itersize = _ROWS_AT_A_TIME
                await rows.execute(_RECEIPTS)
                async for receipt in rows:
                    counterparts.append(_counterpart(receipt))
                    yield receipt

        verified.breaks = await chain_breaks(noted(), newest)
    verified.receipts = len(counterparts)
    return counterparts


async def _dealings_with(connections: TenantConnections, uai: str, chosen: frozenset[str]) -> list[Counterpart]:
    async with connections.begin(uai) as tx:
        return [_counterpart(receipt) for receipt in await _fetch(tx, _WITH_OTHERS, sorted(chosen))]


async def _compare(connections: TenantConnections, verified: Verified, counterparts: Sequence[Counterpart]) -> None:
    """Each outgoing receipt with the destination's; of the incoming ones, whether the origin's is there."""
    by_other: dict[str, list[Counterpart]] = {}
    for counterpart in counterparts:
        by_other.setdefault(counterpart.other_uai, []).append(counterpart)
    for other_uai, ours in sorted(by_other.items()):
        try:
            for start in range(0, len(ours), _ROWS_AT_A_TIME):
                await _compare_with(connections, verified, other_uai, ours[start : start + _ROWS_AT_A_TIME])
        except (TenantUnavailableError, TenantUnknownError, psycopg.Error) as error:
            verified.unread.append(_why(other_uai, error))


async def _compare_with(
    connections: TenantConnections, verified: Verified, other_uai: str, ours: Sequence[Counterpart]
) -> None:
    ids = [our.transfer_id for our in ours]
    async with connections.begin(other_uai) as tx:
        # A finish writes the receipt and takes the hold away at once: one snapshot shows one of them.
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        theirs = await _receipts_of(tx, ids, with_uai=verified.uai)
        held = {row[0] for row in await (await tx.execute(_HOLDS, (ids,))).fetchall()}
        anchor = await _newest(tx)
    lost: list[Counterpart] = []
    differing: list[tuple[Counterpart, Receipt]] = []
    for our in ours:
        their = theirs.get((our.transfer_id, _OTHER_END[our.direction]))
        if their is None and our.direction == INCOMING and our.transfer_id in held:
            verified.under_way += 1
        elif their is None and not anchor.may_have_forgotten(our.written_at):
            lost.append(our)
        elif their is not None and our.direction == OUTGOING and _fingerprint(their) != our.fingerprint:
            differing.append((our, their))
    if not lost and not differing:
        return
    async with connections.begin(verified.uai) as tx:
        mine = await _receipts_of(tx, ids, with_uai=other_uai)
    verified.lost += [LostCounterpart(other_uai, mine[our.key]) for our in lost if our.key in mine]
    verified.differing += [Difference(mine[our.key], their) for our, their in differing if our.key in mine]


async def _receipts_of(
    tx: Connection, transfer_ids: Sequence[UUID], *, with_uai: str
) -> dict[tuple[UUID, str], Receipt]:
    found = await _fetch(tx, _SOME, transfer_ids)
    return {(r.transfer_id, r.direction): r for r in found if r.other_uai == with_uai}


def _counterpart(receipt: Receipt) -> Counterpart:
    return Counterpart(
        receipt.transfer_id, receipt.direction, receipt.other_uai, _fingerprint(receipt), receipt.written_at
    )


async def _newest(tx: Connection) -> Newest:
    async with tx.cursor(row_factory=class_row(Newest)) as cursor:
        await cursor.execute(_NEWEST)
        return await cursor.fetchone() or Newest(0, None)


def _fingerprint(receipt: Receipt) -> bytes:
    return sha256(canonical_json(receipt.said_at_both_ends)).digest()


async def _fetch(tx: Connection, query: str, argument: Sequence[Any]) -> list[Receipt]:
    async with tx.cursor(row_factory=class_row(Receipt)) as cursor:
        await cursor.execute(query, (argument,))
        return await cursor.fetchall()


def _why(uai: str, error: Exception) -> str:
    if isinstance(error, TenantUnknownError):
        return f"{uai} is not in the directory, or not ready"
    if isinstance(error, psycopg.errors.UndefinedColumn | psycopg.errors.UndefinedTable):
        return f"{uai} has no chain yet: cpro-tenants migrate"
    return f"{uai} could not be read ({type(error).__name__})"
