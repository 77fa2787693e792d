"""An establishment's own database, as it is compared with the transfer database, and as it is told to speak again.

What is said again goes through the establishment's outbox with the state that it has now, under the revision and the
time that it had then: the join takes it in where it was missing, and ignores it where it was not.

While it is told to speak, nobody else may change a pupil or the opt-in there. `LOCK TABLE` comes before the first
snapshot of the transaction, so what is read under it is the newest there is. Writers of records are not kept waiting:
they only share the pupils' rows.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from cpro_contracts import topics
from cpro_contracts.establishments import TransferOptInChanged
from cpro_contracts.pupils import PupilCreated, PupilDeactivated, PupilWithdrawn
from cpro_platform import outbox
from cpro_platform.database import Connection
from cpro_platform.tracing import current_traceparent
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.tenant_outbox import TenantOutbox
from cpro_transfer.adapters import tenant_traces
from cpro_transfer.adapters.projection import SOURCE
from cpro_transfer.domain.reconciliation import Differences, Kind, OptIn, PupilTruth, Truth
from cpro_transfer.domain.transfer_traces import End, Trace

_LOCK = "LOCK TABLE pupil, transfer_opt_in IN SHARE ROW EXCLUSIVE MODE"
_PUPILS = """
SELECT id AS pupil_id, match_key, active, source, ine_status, revision,
    records_moved_at IS NOT NULL AND NOT active AS records_moved
FROM pupil
"""
_OPT_IN = "SELECT enabled, roster_source, revision FROM transfer_opt_in"
_NEWEST_REVISION = "SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM pupil_revision"
_ON_THEIR_WAY = """
SELECT key, (payload ->> 'revision')::bigint, published_at IS NULL FROM outbox
WHERE topic = ANY (%(topics)s) AND (published_at IS NULL
    OR published_at > clock_timestamp() - make_interval(secs => %(grace_seconds)s))
"""
_CONTINUE_AFTER = "SELECT setval('pupil_revision', greatest(%s, (SELECT last_value FROM pupil_revision)))"
_NEW_REVISIONS = """
UPDATE pupil p SET revision = given.revision
FROM (SELECT id, nextval('pupil_revision') AS revision FROM pupil WHERE id = ANY (%s) ORDER BY revision) AS given
WHERE p.id = given.id
RETURNING p.id, p.revision
"""
_NEW_OPT_IN_REVISION = """
WITH renumbered AS (
    UPDATE transfer_opt_in SET revision = nextval('pupil_revision'), changed_at = coalesce(changed_at, now())
    RETURNING *
)
INSERT INTO transfer_opt_in_history (revision, enabled, roster_source, changed_at, changed_by)
SELECT revision, enabled, roster_source, changed_at, coalesce(changed_by, %(source)s) FROM renumbered
"""
# The same body as the contract's models give; the time of the event is when the establishment came to this state.
_SAY_STATES = f"""
INSERT INTO outbox ({outbox.COLUMNS})
SELECT %(topic)s, p.match_key, CASE WHEN p.active THEN %(created)s ELSE %(deactivated)s END, %(source)s, %(uai)s,
    p.state_changed_at,
    jsonb_build_object('match_key', p.match_key, 'uai', %(uai)s::text, 'pupil_id', p.id, 'revision', p.revision,
        'occurred_at', p.state_changed_at, 'source', p.source, 'ine_status', p.ine_status,
        'import_id', p.last_import_id)
        || CASE WHEN p.active THEN '{{}}' ELSE
            jsonb_build_object('left_at', to_char(p.leaving_date, 'YYYY-MM-DD"T00:00:00Z"')) END,
    %(traceparent)s
FROM pupil p WHERE p.id = ANY (%(pupils)s) ORDER BY p.revision
"""
_SAY_WITHDRAWN = f"""
INSERT INTO outbox ({outbox.COLUMNS})
SELECT %(topic)s, match_key, %(withdrawn)s, %(source)s, %(uai)s, now(),
    jsonb_build_object('match_key', match_key, 'uai', %(uai)s::text, 'pupil_id', pupil_id,
        'revision', nextval('pupil_revision'), 'occurred_at', now(), 'source', source, 'ine_status', ine_status),
    %(traceparent)s
FROM unnest(%(keys)s::text[], %(pupils)s::uuid[], %(sources)s::text[], %(statuses)s::text[])
    AS gone (match_key, pupil_id, source, ine_status)
"""
_SAY_OPT_IN = f"""
INSERT INTO outbox ({outbox.COLUMNS})
SELECT %(topic)s, %(key)s, %(changed)s, %(source)s, %(uai)s, changed_at,
    jsonb_build_object('uai', %(uai)s::text, 'enabled', enabled, 'roster_source', roster_source, 'revision', revision,
        'occurred_at', changed_at),
    %(traceparent)s
FROM transfer_opt_in
"""


class TenantView:
    """Implements `ports.TenantTruth`, inside the caller's transaction."""

    def __init__(self, tx: Connection, uai: str, grace_seconds: float) -> None:
        self._tx = tx
        self._uai = uai
        self._grace_seconds = grace_seconds
        self._opt_in_key = f"{uai}/transfer-opt-in"

    async def truth(self) -> Truth:
        """Its pupils, its opt-in and what it has not said yet."""
        async with self._tx.cursor(row_factory=class_row(PupilTruth)) as cursor:
            pupils = await (await cursor.execute(_PUPILS)).fetchall()
        async with self._tx.cursor(row_factory=class_row(OptIn)) as cursor:
            (opt_in,) = await (await cursor.execute(_OPT_IN)).fetchall()
        (newest,) = await _only_row(self._tx, _NEWEST_REVISION)
        arguments = {"topics": [topics.PUPIL, topics.ESTABLISHMENT], "grace_seconds": self._grace_seconds}
        going = await (await self._tx.execute(_ON_THEIR_WAY, arguments)).fetchall()
        return Truth(
            self._opt_in_key,
            opt_in,
            tuple(pupils),
            newest,
            frozenset((key, revision) for key, revision, _ in going),
            sum(unpublished for _, _, unpublished in going),
        )

    async def traces(self) -> dict[UUID, Trace]:
        """Its receipts and holds, by transfer."""
        return await tenant_traces.traces(self._tx)

    async def ends(self, transfer_ids: Collection[UUID], *, match_keys: Mapping[UUID, str]) -> dict[UUID, End]:
        """All that is there of these transfers; where only the pupil's key tells who it was, that is given."""
        return await tenant_traces.ends(self._tx, transfer_ids, match_keys)


class TenantSpeech(TenantView):
    """Implements `ports.TenantWriting`."""

    async def renumber(self, differences: Differences) -> None:
        """Let the revisions go on after what is known, and give new ones to what would be ignored.

        The pupils of `differences.ahead` and `not_noted` are brought to their new revisions.
        """
        if differences.continue_after is not None:
            await self._tx.execute(_CONTINUE_AFTER, (differences.continue_after,))
        if differences.ahead:
            ids = [pupil.pupil_id for pupil in differences.ahead]
            rows = await (await self._tx.execute(_NEW_REVISIONS, (ids,))).fetchall()
            differences.renumbered({row[0]: row[1] for row in rows})
        if differences.opt_in is Kind.OPT_IN_AHEAD:
            await self._tx.execute(_NEW_OPT_IN_REVISION, {"source": SOURCE})

    async def say(self, differences: Differences) -> None:
        """Publish the current states, and withdraw what nobody has any more."""
        common = {"source": SOURCE, "uai": self._uai, "traceparent": current_traceparent()}
        if differences.stale:
            await self._tx.execute(_SAY_WITHDRAWN, common | _withdrawals(differences))
        pupils = [pupil.pupil_id for pupil in (*differences.unknown, *differences.behind, *differences.ahead)]
        if pupils:
            types = {"created": PupilCreated.type, "deactivated": PupilDeactivated.type}
            await self._tx.execute(_SAY_STATES, common | types | {"topic": topics.PUPIL, "pupils": pupils})
        if differences.opt_in:
            said = {"topic": topics.ESTABLISHMENT, "key": self._opt_in_key, "changed": TransferOptInChanged.type}
            await self._tx.execute(_SAY_OPT_IN, common | said)


class TenantDatabases:
    """Implements `ports.TenantTruths`."""

    def __init__(
        self,
        tenants: TenantConnections,
        tenant_outbox: TenantOutbox,
        *,
        grace_seconds: float,
        lock_timeout_seconds: float = 5,
    ) -> None:
        self._tenants = tenants
        self._outbox = tenant_outbox
        self._grace_seconds = grace_seconds
        self._lock_ms = str(int(lock_timeout_seconds * 1000))

    @asynccontextmanager
    async def reading(self, uai: str) -> AsyncIterator[TenantView]:
        """One snapshot. Writes nothing, and locks nothing."""
        async with self._tenants.begin(uai) as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await tx.execute("SET LOCAL TIME ZONE 'UTC'")
            yield TenantView(tx, uai, self._grace_seconds)

    @asynccontextmanager
    async def writing(self, uai: str) -> AsyncIterator[TenantSpeech]:
        """A transaction whose events are on Kafka soon after it commits, and what waited there before too."""
        async with self._outbox.writing(uai) as tx:
            await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await tx.execute("SET LOCAL TIME ZONE 'UTC'")
            await tx.execute(f"SET LOCAL lock_timeout = {self._lock_ms}")
            await tx.execute(_LOCK)
            yield TenantSpeech(tx, uai, self._grace_seconds)


def _withdrawals(differences: Differences) -> dict[str, Any]:
    stale = differences.stale
    return {
        "topic": topics.PUPIL,
        "withdrawn": PupilWithdrawn.type,
        "keys": [known.match_key for known in stale],
        "pupils": [known.pupil_id for known in stale],
        "sources": [known.source for known in stale],
        "statuses": [known.ine_status for known in stale],
    }


async def _only_row(tx: Connection, query: str) -> tuple[Any, ...]:
    row = await (await tx.execute(query)).fetchone()
    assert row is not None
    return row
