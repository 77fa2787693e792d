"""The tenants' databases, as a mover uses them. Each method is one transaction in one database.

Who could write behind our back, and what stops them:

| who                                     | stopped by                                                                |
|-----------------------------------------|---------------------------------------------------------------------------|
| the core application, at the origin     | the hold, and the guard trigger on every record table                      |
| a writer under way when the hold is set | the pupil's row: the mover waits for it, then copies what it wrote         |
| an earlier mover, landing late          | the fence at the destination, checked under lock in the landing            |
| an earlier mover, finishing late        | the hold, which carries the later epoch, or is gone                        |
| an import that changes the pupil        | the pupil's row at both ends, checked under lock in hold and landing (the  |
|                                         | origin's in the landing's snapshot: who came back by then does not land)   |
| an opt-in withdrawn meanwhile           | the opt-in's row at both ends, read under lock in hold and landing         |
| a table that nobody declared            | the catalogue, compared with the live foreign keys before each hold        |
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import psycopg

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.transfers import Reason
from cpro_platform import crash_points, tracing
from cpro_platform.concurrency import both, read_ahead
from cpro_platform.database import Connection
from cpro_tenant_db import catalogue
from cpro_tenant_db.catalogue import CATALOGUE
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.adapters import receipts, record_sql, undo_truth
from cpro_transfer.adapters.record_sql import Columns
from cpro_transfer.adapters.statements import LIVE, Row, columns_of, together
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
from cpro_transfer.ports.moving import Attachment, Contents, HoldOutcome, Landed, Prepared, PupilSheet

# In order of their id, as everybody locks them.
_RAISE_FENCE = """
INSERT INTO transfer_fence AS known (transfer_id, epoch)
SELECT * FROM unnest(%(ids)s::uuid[], %(epochs)s::bigint[]) AS mine (id, epoch) ORDER BY id
ON CONFLICT (transfer_id) DO UPDATE SET epoch = EXCLUDED.epoch, raised_at = now() WHERE known.epoch <= EXCLUDED.epoch
RETURNING transfer_id
"""
_CHECK_FENCE = """
SELECT transfer_id, epoch FROM transfer_fence WHERE transfer_id = ANY (%(ids)s) ORDER BY transfer_id FOR UPDATE
"""
_SHEETS = """
SELECT id, active, CASE WHEN ine_status = 'trusted' THEN ine END AS ine, birth_date, family_name, usage_name,
    first_name, last_import_id
FROM pupil WHERE id = ANY (%(pupils)s) ORDER BY id
"""
_OPT_IN = """
SELECT jsonb_build_object('enabled', enabled, 'revision', revision, 'changed_at', changed_at)::text AS said, enabled
FROM transfer_opt_in FOR SHARE
"""
_TAKE_HOLDS = """
INSERT INTO transfer_hold AS known (pupil_id, transfer_id, epoch, claim, opt_in)
SELECT pupil_id, transfer_id, epoch, %(claim_id)s, %(opt_in)s::jsonb
FROM unnest(%(pupils)s::uuid[], %(ids)s::uuid[], %(epochs)s::bigint[]) AS wanted (pupil_id, transfer_id, epoch)
ON CONFLICT (pupil_id) DO UPDATE SET epoch = EXCLUDED.epoch, claim = EXCLUDED.claim
WHERE known.transfer_id = EXCLUDED.transfer_id AND known.epoch <= EXCLUDED.epoch
RETURNING transfer_id
"""
# The update is for writers in REPEATABLE READ: their snapshot can't show them the hold, but their lock on a row that
# was updated since fails with a serialization error. Of those only whose hold this transaction has just taken.
_TOUCH_PUPILS = """
UPDATE pupil p SET updated_at = now() FROM transfer_hold h
WHERE p.id = ANY (%(pupils)s) AND h.pupil_id = p.id AND h.claim = %(claim_id)s
"""
_LEAVING = "SELECT 1 FROM transfer_hold WHERE pupil_id = ANY (%(arrivals)s) LIMIT 1"
_MY_HOLDS = """
SELECT h.transfer_id, h.opt_in::text AS opt_in FROM transfer_hold h
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
_IF_UNDOING = f"(%(undone)s::uuid[] = '{{}}' OR {record_sql.received('attachment', 'a.id').as_string()})"
_ATTACHMENTS = f"""
SELECT a.id, a.pupil_id, a.object_key, a.sha256, a.size_bytes FROM attachment a
WHERE a.pupil_id = ANY (%(pupils)s) AND {_IF_UNDOING} ORDER BY a.id
"""
_NOTE_OBJECTS = f"""
INSERT INTO transfer_object_removal (object_key, transfer_id)
SELECT a.object_key, mine.transfer_id FROM attachment a
JOIN unnest(%(pupils)s::uuid[], %(ids)s::uuid[]) AS mine (pupil_id, transfer_id) USING (pupil_id)
WHERE {_IF_UNDOING}
ON CONFLICT DO NOTHING
"""
_OBJECTS_TO_REMOVE = "SELECT object_key FROM transfer_object_removal WHERE transfer_id = ANY (%(ids)s) ORDER BY 1"
_NOTE_MOVED = """
UPDATE pupil p SET updated_at = now(), records_moved_at = CASE WHEN p.active THEN NULL ELSE now() END,
    records_moved_to = CASE WHEN p.active THEN NULL ELSE mine.uai END
FROM unnest(%(pupils)s::uuid[], %(destinations)s::text[]) AS mine (pupil_id, uai) WHERE p.id = mine.pupil_id
"""


READ_WRITE = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
READ_ONLY_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_VERSION = "SELECT version_num FROM public.alembic_version"
# Sessions of ours whose mover has slept for longer than a transaction may be idle. The server's own timer ends most,
# but not one that sleeps in a COPY, or between two exchanges of a pipeline: the Flush after it disarms the timer.
_END_SLEEPERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
    AND application_name = current_setting('application_name')
    AND (state LIKE 'idle in transaction%%' OR state = 'active' AND query LIKE 'COPY %%')
    AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - make_interval(secs => %s / 1000.0)
"""
_PREFLIGHT = ((_VERSION, None), (catalogue.LINKS, None), (catalogue.GUARDED, None))
_HELD_BY_ANOTHER = "CP001"  # raised by the guard trigger
_MISSING = frozenset({"42P01", "42703"})  # a table, a column
_PIECE_BYTES, _PIECES_AHEAD = 1 << 16, 8


@dataclass(frozen=True, slots=True)
class _Pupil:
    id: UUID
    active: bool
    ine: str | None
    birth_date: date
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

    @tracing.traced("destination.prepare", tracing.DATABASE)
    async def prepare(self, destination_uai: str, claims: Sequence[Claim], *, to_land: bool) -> Prepared:
        """Raise the fence at the destination, so that no earlier epoch can land; read what it knows of the pupils.

        `to_land`: raises PreflightError where it is not fit for a landing.
        """
        ids = _ids(claims)
        async with self._transaction(destination_uai) as tx:
            raised, landed, pupils, *found = await together(
                tx,
                (_RAISE_FENCE, {"ids": ids, "epochs": [claim.epoch for claim in claims]}),
                (receipts.LANDED, {"ids": ids}),
                (_SHEETS, {"pupils": [claim.destination_pupil_id for claim in claims]}),
                *(_PREFLIGHT if to_land else ()),
            )
            if to_land:
                self._pass_preflight(found)
        return Prepared(
            {pupil.id: pupil.sheet() for pupil in _pupils(pupils)},
            {row["transfer_id"]: receipts.landed_of(row) for row in landed},
            frozenset(set(ids) - _of_transfers(raised)),
        )

    @tracing.traced("origin.hold", tracing.DATABASE)
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
        asked = _arguments([*claims, *landed])
        async with self._transaction(origin_uai, claim_id) as tx:
            raised, opt_ins, locked, ended, *found = await together(
                tx,
                # First of all: a hold that comes after a later epoch has let go would outlive its transfer.
                (_RAISE_FENCE, asked),
                (_OPT_IN, None),
                (_SHEETS + "FOR UPDATE", asked),
                # Only now: a finish that was under way has kept us waiting at its pupils.
                (receipts.FINISHED, asked),
                *_PREFLIGHT,
            )
            mine, finished, (opt_in,) = _of_transfers(raised), frozenset(_of_transfers(ended)), opt_ins
            everyone = [claim for claim in (*claims, *landed) if claim.id in mine]
            leavers = {pupil.id: pupil for pupil in _pupils(locked)}
            # A writer that was under way has ended by now, and a later one waits for us: what is seen here stands.
            touched = await undo_truth.unfit(tx, [claim for claim in claims if claim.id not in finished])
            refused: dict[UUID, Reason] = {}
            for claim in claims:
                leaver, arrival = leavers.get(claim.origin_pupil_id), sheets.get(claim.destination_pupil_id)
                reason = touched.get(claim.id) or _refusal(claim, leaver, arrival)
                if not opt_in["enabled"]:
                    reason = Reason.ORIGIN_NOT_OPTED_IN
                if reason and claim.id in mine and claim.id not in finished:
                    refused[claim.id] = reason
            wanted = [claim for claim in everyone if claim.id not in refused and claim.id not in finished]
            held, attachments = await self._take_holds(tx, wanted, claim_id, opt_in["said"], found)
            crash_points.reach("move.holding")
        before_landing = {claim.origin_pupil_id for claim in claims if claim.id in held}
        return HoldOutcome(
            held,
            refused,
            finished & mine - set(_ids(landed)),
            tuple(one for one in attachments if one.pupil_id in before_landing),
        )

    async def _take_holds(
        self, tx: Connection, claims: Sequence[Claim], claim_id: UUID, opt_in: str, preflight: Sequence[list[Row]]
    ) -> tuple[frozenset[UUID], list[Attachment]]:
        if not claims:
            return frozenset(), []
        self._pass_preflight(preflight)
        arguments = _arguments(claims) | {"claim_id": claim_id, "opt_in": opt_in}
        held, _, attachments = await together(
            tx, (_TAKE_HOLDS, arguments), (_TOUCH_PUPILS, arguments), (_ATTACHMENTS, arguments)
        )
        return frozenset(_of_transfers(held)), [Attachment(**row) for row in attachments]

    @tracing.traced("destination.land", tracing.DATABASE)
    async def land(
        self, origin_uai: str, destination_uai: str, claims: Sequence[Claim], claim_id: UUID
    ) -> Mapping[UUID, Landed]:
        """Copy the rows, verify them at the destination and commit them there with their receipts. By transfer."""
        ours = _arguments(claims)
        async with (
            self._transaction(origin_uai, claim_id, READ_ONLY_SNAPSHOT) as origin,
            self._transaction(destination_uai, claim_id) as destination,
        ):
            (holds, leavers, live), (leaving, there, *found) = await both(
                together(origin, (_MY_HOLDS, ours), (_SHEETS, ours), LIVE),
                together(destination, (_LEAVING, ours), LIVE, *_PREFLIGHT),
            )
            self._pass_preflight(found)
            if leaving:
                # A pupil may have come back, or gone on, before an earlier transfer out of here has ended. That first.
                raise RecordsBusyError(destination_uai)
            held = _all_held(holds, claims)
            columns = _same_columns(live, there)
            leaving_rows = record_sql.contents(columns, only_received=_undoing(claims))
            left, names = await _contents(origin, leaving_rows, claims, _at_origin(claims))
            await undo_truth.make_room(destination, claims)
            await _copy(origin, destination, columns, claims, names)
            crash_points.reach("move.copied")

            # The locks come last: a mover that sleeps in a COPY keeps nobody waiting but its successor.
            opt_in, arrivals = await _check_landing(destination, claims, {one.id: one for one in _pupils(leavers)})
            just_arrived = record_sql.contents(columns, just_arrived=True)
            arrived, _ = await _contents(destination, just_arrived, claims, _at_destination(claims))
            promised = left | await undo_truth.departed(destination, claims)
            differing = {
                claim.id: Reason.DIGEST_MISMATCH
                for claim in claims
                if not left[claim.id] == arrived[claim.id] == promised[claim.id]
            }
            if differing:
                raise LandingRefusedError(differing)
            imports = {one.id: one.last_import_id for one in (*_pupils(leavers), *arrivals)}
            landed = {
                claim: Landed(
                    claim.epoch, arrived[claim.id], held[claim.id], opt_in,
                    imports[claim.origin_pupil_id], imports[claim.destination_pupil_id],
                )
                for claim in claims
            }  # fmt: skip
            await destination.execute(receipts.WRITE, receipts.incoming(landed))
            crash_points.reach("move.landing")
        return {claim.id: arrival for claim, arrival in landed.items()}

    @tracing.traced("origin.finish", tracing.DATABASE)
    async def finish(self, origin_uai: str, landed: Mapping[Claim, Landed], claim_id: UUID) -> Sequence[str]:
        """Delete the rows at the origin, write the outgoing receipts and release the holds.

        What is finished already is left alone: the outgoing receipt says so. Returns the keys of objects whose rows
        have left, by now or before, and that nobody has removed yet.

        Raises:
            SupersededError: a hold is a later epoch's; nothing was done.
            RecordsChangedError: the rows here are not those that landed; nothing was deleted.
        """
        everyone = _arguments(list(landed))
        async with self._transaction(origin_uai, claim_id) as tx:
            ended, _, holds, live = await together(
                tx,
                (receipts.FINISHED, everyone),
                (_SHEETS + "FOR UPDATE", everyone),
                (_MY_HOLDS + " FOR UPDATE OF h", everyone),
                LIVE,
            )
            finished = _of_transfers(ended)
            claims = [claim for claim in landed if claim.id not in finished]
            if claims:
                _all_held(holds, claims)
                await _delete(tx, {claim: landed[claim] for claim in claims}, claim_id, columns_of(live))
                crash_points.reach("move.finishing")
            (keys,) = await together(tx, (_OBJECTS_TO_REMOVE, everyone))
        return [row["object_key"] for row in keys]

    @tracing.traced("origin.release", tracing.DATABASE)
    async def release(self, origin_uai: str, claims: Sequence[Claim]) -> None:
        """Take the holds away: nothing has moved. Does nothing where there is none, or a later epoch's.

        The fence keeps a hold of an earlier epoch from coming afterwards, and waits for one that is under way.
        """
        async with self._transaction(origin_uai) as tx:
            await together(tx, (_RAISE_FENCE, _arguments(claims)), (_RELEASE, _arguments(claims)))

    @tracing.traced("origin.forget_files", tracing.DATABASE)
    async def forget_objects(self, origin_uai: str, object_keys: Sequence[str]) -> None:
        """These objects are gone from the store."""
        async with self._transaction(origin_uai) as tx:
            await tx.execute("DELETE FROM transfer_object_removal WHERE object_key = ANY (%s)", (list(object_keys),))

    @asynccontextmanager
    async def _transaction(
        self, uai: str, claim_id: UUID | None = None, mode: str = READ_WRITE
    ) -> AsyncIterator[Connection]:
        try:
            async with self._tenants.begin(uai) as tx:
                settings = {"claim_id": str(claim_id or ""), "idle_ms": self._idle_ms, "lock_ms": self._lock_ms}
                async with tx.pipeline():
                    await tx.execute(mode)
                    await tx.execute(record_sql.PIN_SESSION, settings)
                yield tx
        except TenantUnknownError as unknown:
            raise TenantInTroubleError(f"{unknown.uai} is not in the directory") from unknown
        except psycopg.errors.LockNotAvailable:
            # By rows or by primary keys a mover that sleeps is in our way. What it has written goes with its session.
            async with self._tenants.begin(uai) as tx:
                await tx.execute(_END_SLEEPERS, (int(self._idle_ms),))
            raise
        except psycopg.errors.DiskFull as full:
            raise TenantInTroubleError(f"the disk of {uai} is full") from full
        except psycopg.Error as error:
            if error.sqlstate == _HELD_BY_ANOTHER:
                raise RecordsBusyError(uai) from error
            if error.sqlstate in _MISSING:
                raise PreflightError(Reason.SCHEMA_BEHIND, f"{uai}: {error.diag.message_primary}") from error
            raise

    def _pass_preflight(self, found: Sequence[list[Row]]) -> None:
        """What `_PREFLIGHT` has found is what this version of the code expects.

        Raises:
            PreflightError: it isn't.
        """
        versions, links, guarded = ([tuple(row.values()) for row in rows] for rows in found)
        version = versions[0][0] if versions else None
        if version != self._schema_version:
            raise PreflightError(Reason.SCHEMA_BEHIND, f"at {version}, expected {self._schema_version}")
        gaps = catalogue.gaps_in(links, guarded)
        if gaps:
            raise PreflightError(Reason.CATALOGUE_INCOMPLETE, "; ".join(map(str, gaps)))


def _refusal(claim: Claim, leaver: _Pupil | None, arrival: PupilSheet | None) -> Reason | None:
    if claim.undoes:
        # Their receipts say who they are, and `undo_truth` reads those.
        return Reason.NOT_LEFT if leaver is None else Reason.NOT_ARRIVED if arrival is None else None
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


async def _check_landing(
    destination: Connection, claims: Sequence[Claim], leavers: Mapping[UUID, _Pupil]
) -> tuple[str, list[_Pupil]]:
    """The destination's own word, under lock: its opt-in, its pupils, its fence.

    Raises:
        LandingRefusedError: the establishment's doors are closed, or a pupil is not, or no longer, who was expected.
        SupersededError: a later epoch has raised the fence.
    """
    arrivals_of = {"pupils": [claim.destination_pupil_id for claim in claims]}
    (opt_in,), locked, fences = await together(
        destination, (_OPT_IN, None), (_SHEETS + "FOR NO KEY UPDATE", arrivals_of), (_CHECK_FENCE, _arguments(claims))
    )
    if not opt_in["enabled"]:
        raise LandingRefusedError({claim.id: Reason.DESTINATION_NOT_OPTED_IN for claim in claims})
    arrivals = _pupils(locked)
    sheets = {arrival.id: arrival.sheet() for arrival in arrivals}
    refused: dict[UUID, Reason] = {}
    for claim in claims:
        reason = _refusal(claim, leavers.get(claim.origin_pupil_id), sheets.get(claim.destination_pupil_id))
        if reason:
            refused[claim.id] = reason
    if refused:
        raise LandingRefusedError(refused)
    if {row["transfer_id"]: row["epoch"] for row in fences} != {claim.id: claim.epoch for claim in claims}:
        raise SupersededError
    return opt_in["said"], arrivals


async def _delete(tx: Connection, landed: Mapping[Claim, Landed], claim_id: UUID, columns: Columns) -> None:
    """Delete the rows of held pupils, once they are seen to be those that landed, and write the receipts.

    Raises:
        RecordsChangedError: they are not; nothing was deleted.
    """
    claims = list(landed)
    undoing = _undoing(claims)
    leaving_rows = record_sql.contents(columns, only_received=undoing)
    here, names = await _contents(tx, leaving_rows, claims, _at_origin(claims))
    if any(here[claim.id] != arrival.contents for claim, arrival in landed.items()):
        raise RecordsChangedError
    ours = _arguments(claims) | {"claim_id": claim_id}
    await together(
        tx,
        (_TAKE_OVER, ours),
        (_NOTE_OBJECTS, ours),
        *(
            (record_sql.delete_rows(table, only_received=undoing), ours)
            for table in reversed(CATALOGUE)
            if table.name in names
        ),
        # What the pupil got here since then stays, and is to follow as before.
        *(() if undoing else ((_NOTE_MOVED, ours),)),
        (_RELEASE, ours),
        (receipts.WRITE, receipts.outgoing(landed)),
    )


def _all_held(holds: Sequence[Row], claims: Sequence[Claim]) -> dict[UUID, str]:
    """The origin's opt-in, as it was read when each was held, by transfer.

    Raises:
        SupersededError: a hold is another epoch's, or gone.
    """
    opt_ins = {row["transfer_id"]: row["opt_in"] for row in holds}
    if any(claim.id not in opt_ins for claim in claims):
        raise SupersededError
    return opt_ins


def _same_columns(origin: Sequence[Row], destination: Sequence[Row]) -> Columns:
    if origin != destination:
        raise PreflightError(Reason.SCHEMA_BEHIND, "the record tables of the two databases differ")
    return columns_of(origin)


async def _copy(
    origin: Connection, destination: Connection, columns: Columns, claims: Sequence[Claim], names: Collection[str]
) -> None:
    """Copy the rows of the tables that have any, in pieces, each table from one database straight into the other."""
    tables, moving = [table for table in CATALOGUE if table.name in names], _arguments(claims)

    async def leave() -> AsyncIterator[bytes]:
        """Table by table its pieces, then an empty one."""
        for table in tables:
            statement = record_sql.copy_out(table, columns, only_received=_undoing(claims))
            async with origin.cursor().copy(statement, moving) as rows:
                piece = bytearray()
                async for row in rows:  # the server sends row by row
                    piece += row
                    if len(piece) >= _PIECE_BYTES:
                        yield bytes(piece)
                        piece.clear()
            yield bytes(piece)
            yield b""

    async with AsyncExitStack() as arriving:
        next_table = iter(tables)
        sink: psycopg.AsyncCopy | None = None

        async def arrive(piece: bytes) -> None:
            nonlocal sink
            if sink is None:
                statement = record_sql.copy_in(next(next_table), columns)
                sink = await arriving.enter_async_context(destination.cursor().copy(statement))
            if piece:
                await sink.write(piece)
            else:
                await arriving.pop_all().aclose()
                sink = None

        await read_ahead(leave(), arrive, at_most=_PIECES_AHEAD)


async def _contents(
    tx: Connection, query: Any, claims: Sequence[Claim], transfers: Mapping[UUID, UUID]
) -> tuple[dict[UUID, Contents], frozenset[str]]:
    """What each transfer's pupil has here (pupil to transfer), and the tables that have any of these rows."""
    (found,) = await together(tx, (query, _arguments(claims) | {"pupils": list(transfers)}))
    contents = dict.fromkeys(transfers.values(), Contents())
    contents |= {transfers[row["pupil_id"]]: Contents(row["tables"], row["records"]) for row in found}
    return contents, frozenset(name for row in found for name in row["names"])


def _at_origin(claims: Sequence[Claim]) -> dict[UUID, UUID]:
    return {claim.origin_pupil_id: claim.id for claim in claims}


def _at_destination(claims: Sequence[Claim]) -> dict[UUID, UUID]:
    return {claim.destination_pupil_id: claim.id for claim in claims}


def _pupils(rows: Sequence[Row]) -> list[_Pupil]:
    return [_Pupil(**row) for row in rows]


def _of_transfers(rows: Sequence[Row]) -> set[UUID]:
    return {row["transfer_id"] for row in rows}


def _ids(claims: Sequence[Claim]) -> list[UUID]:
    return [claim.id for claim in claims]


def _arguments(claims: Sequence[Claim]) -> dict[str, Any]:
    return {
        "ids": _ids(claims),
        "epochs": [claim.epoch for claim in claims],
        "pupils": [claim.origin_pupil_id for claim in claims],
        "arrivals": [claim.destination_pupil_id for claim in claims],
        "destinations": [claim.destination_uai for claim in claims],
        "undone": [claim.undoes for claim in claims if claim.undoes],
    }


def _undoing(claims: Sequence[Claim]) -> bool:
    """Whether only what a receipt names moves. A batch is of one kind."""
    return any(claim.undoes for claim in claims)
