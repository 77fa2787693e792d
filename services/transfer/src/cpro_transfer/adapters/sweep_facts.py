"""What a sweep reads and writes: the store, the transfer database, the establishments' databases."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import psycopg

from cpro_platform.database import Connection, Database
from cpro_platform.object_store import ObjectMissingError, ObjectStore
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError
from cpro_transfer.domain.sweeping import RecordFile, Standing, Testimony, may_be_shut_out, record_file
from cpro_transfer.domain.transfers import TransferState
from cpro_transfer.errors import TenantInTroubleError

_PREFIX = "tenants/"
_NOTES = 1_000
_STANDINGS = """
SELECT id, state, epoch, state IN ('landed', 'completed', 'undone') OR landed_at IS NOT NULL OR finished_at IS NOT NULL
FROM transfer WHERE id = ANY (%s)
"""
_REFERENCED = "SELECT object_key FROM attachment WHERE object_key = ANY (%s)"
_LEFT = "SELECT object_key FROM transfer_object_removal WHERE object_key = ANY (%s)"
_NOTED = "SELECT object_key FROM transfer_object_removal WHERE noted_at < %s ORDER BY noted_at LIMIT %s"
_FORGET = "DELETE FROM transfer_object_removal WHERE object_key = ANY (%s)"
_LANDED = "SELECT transfer_id, epoch FROM transfer_receipt WHERE transfer_id = ANY (%s) AND direction = 'incoming'"
_FENCES = "SELECT transfer_id, epoch FROM transfer_fence WHERE transfer_id = ANY (%s) ORDER BY transfer_id"
# Never inserted: a fence that is not there was lost with the landing that it guarded.
_SHUT = """
UPDATE transfer_fence f SET epoch = past.epoch + 1, raised_at = now()
FROM unnest(%s::uuid[], %s::bigint[]) AS past (transfer_id, epoch)
WHERE f.transfer_id = past.transfer_id AND f.epoch <= past.epoch
"""
_LIMITS = "SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '60s', true)"


class StoredRecordFiles:
    """The attachments of all establishments in the object store."""

    def __init__(self, store: ObjectStore, *, files_a_page: int = 1_000) -> None:
        self._store = store
        self._files_a_page = files_a_page

    async def pages(self) -> AsyncIterator[Sequence[RecordFile]]:
        """All of them, a page at a time."""
        async for page in self._store.pages(_PREFIX, objects_a_page=self._files_a_page):
            found = (record_file(stored.key, stored.size, stored.modified_at) for stored in page)
            yield [file for file in found if file is not None]

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove files. Absent ones are fine."""
        await self._store.remove_many(keys)

    async def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of the keys that have no file."""
        gone = []
        for key in keys:
            try:
                await self._store.stat(key)
            except ObjectMissingError:
                gone.append(key)
        return gone


class TransferStandings:
    """What the transfer database says of transfers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, transfer_ids: Collection[UUID]) -> Mapping[UUID, Standing]:
        """Those it knows."""
        async with self._database.begin() as tx:
            rows = await (await tx.execute(_STANDINGS, (list(transfer_ids),))).fetchall()
        return {row[0]: Standing(TransferState(row[1]), row[2], row[3]) for row in rows}


class TenantFileFacts:
    """What an establishment's database says of its files."""

    def __init__(self, tenants: TenantConnections) -> None:
        self._tenants = tenants

    async def truth(
        self, uai: str, files: Sequence[RecordFile], standings: Mapping[UUID, Standing], *, dry_run: bool
    ) -> Testimony:
        """Shut the fences of copies that no mover has in hand, then read what is named: in this order, see the handler.

        Most files have a row: the first statement lets go of them, so that no lock is taken on their account.
        """
        async with self._transaction(uai) as tx:
            known = await _keys(tx, _REFERENCED, [file.key for file in files])
            rest = [file for file in files if file.key not in known]
            if not rest:
                return Testimony(referenced=known)
            transfers = sorted({file.transfer_id for file in rest if file.transfer_id})
            if transfers and not dry_run:
                await _epochs(tx, f"{_FENCES} FOR UPDATE", transfers)  # waits for a landing that is under way
                await _shut(tx, rest, await _epochs(tx, _LANDED, transfers), standings)
            fences, landed = await _epochs(tx, _FENCES, transfers), await _epochs(tx, _LANDED, transfers)
            if dry_run:
                fences = _as_if_shut(rest, fences, standings)
            keys = [file.key for file in rest]
            named = await _keys(tx, _REFERENCED, keys)
            return Testimony(known | named, await _keys(tx, _LEFT, keys), landed, fences)

    async def noted_before(self, uai: str, limit: datetime) -> list[str]:
        """Some keys that finishes noted for removal before this time, oldest first."""
        async with self._transaction(uai) as tx:
            rows = await (await tx.execute(_NOTED, (limit, _NOTES))).fetchall()
        return [row[0] for row in rows]

    async def forget(self, uai: str, keys: Sequence[str]) -> None:
        """The files of these noted keys are gone."""
        async with self._transaction(uai) as tx:
            await tx.execute(_FORGET, (list(keys),))

    @asynccontextmanager
    async def _transaction(self, uai: str) -> AsyncIterator[Connection]:
        try:
            async with self._tenants.begin(uai) as tx:
                await tx.execute(_LIMITS)
                yield tx
        except (TenantUnknownError, TenantUnavailableError, psycopg.Error) as error:
            raise TenantInTroubleError(type(error).__name__) from error


async def _shut(
    tx: Connection, files: Sequence[RecordFile], landed: Mapping[UUID, int], standings: Mapping[UUID, Standing]
) -> None:
    past = _epochs_to_pass([file for file in files if file.transfer_id not in landed], standings)
    if past:
        await tx.execute(_SHUT, (list(past), list(past.values())))


def _as_if_shut(
    files: Sequence[RecordFile], fences: Mapping[UUID, int], standings: Mapping[UUID, Standing]
) -> dict[UUID, int]:
    past = _epochs_to_pass(files, standings)
    return {transfer: max(epoch, past.get(transfer, -1) + 1) for transfer, epoch in fences.items()}


def _epochs_to_pass(files: Sequence[RecordFile], standings: Mapping[UUID, Standing]) -> dict[UUID, int]:
    """By transfer, the highest epoch that has copies which nobody may land any more."""
    past: dict[UUID, int] = {}
    for file in files:
        if file.transfer_id and may_be_shut_out(file, standings.get(file.transfer_id)):
            past[file.transfer_id] = max(file.epoch, past.get(file.transfer_id, 0))
    return past


async def _keys(tx: Connection, query: str, keys: Sequence[str]) -> frozenset[str]:
    return frozenset(row[0] for row in await (await tx.execute(query, (list(keys),))).fetchall())


async def _epochs(tx: Connection, query: str, transfers: Sequence[UUID]) -> dict[UUID, int]:
    if not transfers:
        return {}
    return {row[0]: row[1] for row in await (await tx.execute(query, (list(transfers),))).fetchall()}
