"""An import inside the establishment's database: one transaction, from the received lines to the outbox."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row, dict_row

from cpro_contracts import topics
from cpro_contracts.pupils import PupilCreated, PupilDeactivated, PupilEvent, PupilReactivated, PupilWithdrawn
from cpro_platform import tracing
from cpro_platform.database import Connection
from cpro_siecle_import.adapters import roster_sql
from cpro_siecle_import.domain import refusals
from cpro_siecle_import.domain.export import AppliedExport, Export
from cpro_siecle_import.domain.guard import PlannedEffect
from cpro_siecle_import.domain.jobs import Counts, Job
from cpro_siecle_import.domain.refusals import FileRefusedError
from cpro_siecle_import.ports import Applied, Planned, StoredChange, StoredFinding
from cpro_tenant_db.catalogue import CATALOGUE, RecordTable
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.errors import TenantUnknownError
from cpro_tenant_db.tenant_outbox import TenantOutbox

SOURCE = "/services/siecle-import"
DETAILS_KEPT = timedelta(days=90)
"""How long names stay in the lists of an import; its figures stay for ever."""
_EVENT_TYPES: Mapping[str, type[PupilEvent]] = {
    "created": PupilCreated,
    "reactivated": PupilReactivated,
    "deactivated": PupilDeactivated,
    "withdrawn": PupilWithdrawn,
}


class DirectoryEstablishments:
    """See `ports.Establishments`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def known(self, uai: str) -> bool:
        """Whether the establishment has a database here."""
        return await self._directory.find(uai) is not None


class TenantRosters:
    """Opens imports in establishments' databases."""

    def __init__(
        self,
        tenants: TenantConnections,
        tenant_outbox: TenantOutbox,
        *,
        lock_timeout_seconds: float = 30.0,
    ) -> None:
        self._tenants = tenants
        self._outbox = tenant_outbox
        self._lock_timeout_ms = int(lock_timeout_seconds * 1000)

    @asynccontextmanager
    async def open(self, uai: str) -> AsyncIterator["TenantRosterWork"]:
        """The transaction of one import; waits a while for another import of the school to end.

        Raises:
            FileRefusedError: the school has no database.
            psycopg.errors.LockNotAvailable: another import took too long; transient.
        """
        async with self._begin(uai) as tx:
            await tx.execute("SELECT set_config('lock_timeout', %s, true)", (f"{self._lock_timeout_ms}ms",))
            await tx.execute(roster_sql.SETTINGS)
            await tx.execute(roster_sql.LOCK_SCHOOL)
            yield TenantRosterWork(tx, uai)

    @asynccontextmanager
    async def _begin(self, uai: str) -> AsyncIterator[Connection]:
        try:
            async with self._tenants.begin(uai) as tx:
                yield tx
        except TenantUnknownError as error:
            raise FileRefusedError(refusals.ESTABLISHMENT_UNKNOWN, expected=uai) from error

    async def note(self, uai: str) -> UUID:
        """See `TenantOutbox.note`."""
        return await self._outbox.note(uai)

    async def publish(self, uai: str, note: UUID) -> int:
        """See `TenantOutbox.publish`."""
        return await self._outbox.publish(uai, note)

    async def findings(
        self, uai: str, import_id: UUID, *, severity: str | None, after: int, limit: int
    ) -> Sequence[StoredFinding]:
        """Rejections and warnings of an import, in the order of the file."""
        async with (
            self._tenants.begin(uai) as tx,
            tx.cursor(row_factory=class_row(StoredFinding)) as cursor,
        ):
            await cursor.execute(
                """
                SELECT ordinal, severity, code, line, siecle_id, family_name, first_name, ine, found
                FROM siecle_import_finding
                WHERE import_id = %(import_id)s AND ordinal > %(after)s
                    AND (%(severity)s::text IS NULL OR severity = %(severity)s)
                ORDER BY ordinal LIMIT %(limit)s
                """,
                {"import_id": import_id, "after": after, "severity": severity, "limit": limit},
            )
            return await cursor.fetchall()

    async def changes(
        self, uai: str, import_id: UUID, *, kind: str | None, after: int, limit: int
    ) -> Sequence[StoredChange]:
        """What an import changed or would change, of one kind or of all."""
        async with (
            self._tenants.begin(uai) as tx,
            tx.cursor(row_factory=class_row(StoredChange)) as cursor,
        ):
            await cursor.execute(
                """
                SELECT ordinal, kind, pupil_id, siecle_id, family_name, first_name, birth_date, division, reason,
                    record_count, before, after
                FROM siecle_import_change
                WHERE import_id = %(import_id)s AND ordinal > %(after)s
                    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
                ORDER BY ordinal LIMIT %(limit)s
                """,
                {"import_id": import_id, "after": after, "kind": kind, "limit": limit},
            )
            return await cursor.fetchall()


class TenantRosterWork:
    """See `ports.RosterWork`. Lives as long as its transaction."""

    def __init__(self, tx: Connection, uai: str) -> None:
        self._tx = tx
        self._uai = uai
        self._receiving = False

    async def applied(self, import_id: UUID) -> Applied | None:
        """What this import has already done here: it may be asked for twice, and must be done once."""
        async with self._tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(roster_sql.FIND_APPLIED, (import_id,))
            row = await cursor.fetchone()
        return None if row is None else _applied(row)

    async def last_applied(self) -> AppliedExport | None:
        """The export that was applied last."""
        async with self._tx.cursor(row_factory=class_row(AppliedExport)) as cursor:
            await cursor.execute(roster_sql.LAST_APPLIED)
            return await cursor.fetchone()

    async def is_first_of_school_year(self, school_year: int) -> bool:
        """Whether no file of this school year was applied yet."""
        found = await (await self._tx.execute(roster_sql.IS_FIRST_OF_SCHOOL_YEAR, (school_year,))).fetchone()
        return found is not None and bool(found[0])

    async def receive(self, pupils: bytes, divisions: bytes) -> None:
        """Take in lines in the text format of COPY."""
        async with self._tx.cursor() as cursor:
            if not self._receiving:
                await cursor.execute(roster_sql.CREATE_INCOMING)
                self._receiving = True
            for statement, lines in ((roster_sql.COPY_PUPILS, pupils), (roster_sql.COPY_DIVISIONS, divisions)):
                if lines:
                    async with cursor.copy(statement) as copy:
                        await copy.write(lines)

    async def plan(self, reference_date: date) -> Planned:
        """Compare what was received with the pupils known."""
        parameters = {"reference_date": reference_date, "uai": self._uai}
        await self._tx.execute(roster_sql.LOCK_PUPILS)
        for statement in roster_sql.PREPARE:
            await self._tx.execute(statement, parameters)
        async with self._tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(roster_sql.COUNTS)
            counts: dict[str, Any] = await cursor.fetchone() or {}
        active_before = counts.pop("active_before")
        effect = PlannedEffect(active_before, counts["present"], counts["deactivated"])
        return Planned(Counts(**counts), effect)

    async def digest(self) -> str:
        """What stands for every value that the plan would write."""
        found = await (await self._tx.execute(roster_sql.DIGEST)).fetchone()
        assert found is not None
        return str(found[0])

    async def describe(self, import_id: UUID, now: datetime, *, applying: bool) -> int:
        """Write the remarks and the changes of this import, and forget those of imports long past.

        The ids of new pupils are told only when they are about to be created (`applying`).

        Safe to repeat: what an earlier attempt wrote is replaced.
        """
        parameters = {"import_id": import_id, "now": now, "kept_since": now - DETAILS_KEPT, "applying": applying}
        for statement in roster_sql.FORGET:
            await self._tx.execute(statement, parameters)
        found = await (await self._tx.execute(roster_sql.RECORD_FINDINGS, parameters)).fetchone()
        await self._tx.execute(roster_sql.RECORD_CHANGES, parameters)
        await self._tx.execute(_count_records(), parameters)
        return int(found[0]) if found else 0

    @tracing.traced("import.apply", tracing.DATABASE)
    async def apply(self, job: Job, export: Export, school_year: int, planned: Planned, now: datetime) -> Applied:
        """Write the pupils, note the import as applied, and put the events into the outbox."""
        parameters: dict[str, object] = {
            "import_id": job.id,
            "now": now,
            "school_year": school_year,
            "exported_at": export.exported_at,
            "reference_date": export.reference_date,
            "file_sha256": job.file_sha256,
            "plan_digest": planned.digest,
            "confirmed_by": job.confirmed_by,
            **_figures(planned.counts),
            "topic": topics.PUPIL,
            "types": json.dumps({name: event.type for name, event in _EVENT_TYPES.items()}),
            "source": SOURCE,
            "uai": self._uai,
            "occurred_at": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "traceparent": tracing.current_traceparent(),
        }
        for statement in roster_sql.APPLY:
            await self._tx.execute(statement, parameters)
        await self._tx.execute(roster_sql.NOTE_APPLIED, parameters)
        return Applied(school_year, export.exported_at, export.reference_date, planned.digest, planned.counts)


def _applied(row: Mapping[str, Any]) -> Applied:
    figures = {name: row[name] for name in Counts.__dataclass_fields__}
    return Applied(row["school_year"], row["exported_at"], row["reference_date"], row["plan_digest"], Counts(**figures))


def _figures(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__dataclass_fields__}


def _count_records() -> sql.Composed:
    """How many records each pupil to be deactivated has: what an administrator looks at before confirming."""
    of_each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {pupil} AS pupil_id FROM {tables}").format(
            pupil=sql.SQL("{}.pupil_id").format(sql.Identifier(_pupil_table(table).name)), tables=_joined(table)
        )
        for table in CATALOGUE
    )
    return sql.SQL("""
        UPDATE siecle_import_change c SET record_count = counted.records
        FROM (
            SELECT d.pupil_id, count(r.pupil_id) AS records
            FROM siecle_import_change d LEFT JOIN ({}) AS r ON r.pupil_id = d.pupil_id
            WHERE d.import_id = %(import_id)s AND d.kind = 'deactivated'
            GROUP BY d.pupil_id
        ) AS counted
        WHERE c.import_id = %(import_id)s AND c.kind = 'deactivated' AND c.pupil_id = counted.pupil_id
    """).format(of_each)


def _pupil_table(table: RecordTable) -> RecordTable:
    """The table on the way from `table` to `pupil` that names the pupil."""
    parents = {known.name: known for known in CATALOGUE}
    while table.parent != "pupil":
        table = parents[table.parent]
    return table


def _joined(table: RecordTable) -> sql.Composable:
    parents = {known.name: known for known in CATALOGUE}
    joined: sql.Composable = sql.Identifier(table.name)
    while table.parent != "pupil":
        joined = sql.SQL("{} JOIN {} ON {} = {}").format(
            joined,
            sql.Identifier(table.parent),
            sql.Identifier(table.parent, "id"),
            sql.Identifier(table.name, table.parent_column),
        )
        table = parents[table.parent]
    return joined
