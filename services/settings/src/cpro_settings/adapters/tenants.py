"""The opt-ins, each in its establishment's own database, and which establishments there are."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from cpro_contracts.envelope import Event
from cpro_contracts.establishments import RosterSource
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection
from cpro_settings.adapters.postgres import SOURCE
from cpro_settings.domain.conditions import Conditions
from cpro_settings.domain.opt_in import Choice, OptIn, OptInEntry
from cpro_settings.errors import establishment_unknown
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory
from cpro_tenant_db.errors import TenantUnknownError
from cpro_tenant_db.tenant_outbox import TenantOutbox

_FIND = """
SELECT enabled, roster_source, revision, changed_at, changed_by, conditions_version, CASE WHEN enabled THEN (
    SELECT min(h.changed_at) FROM transfer_opt_in_history h WHERE NOT EXISTS (
        SELECT 1 FROM transfer_opt_in_history later WHERE later.revision >= h.revision AND NOT later.enabled
    )
) END AS open_since
FROM transfer_opt_in
"""
_FIND_LOCKED = f"{_FIND} FOR UPDATE"
# Before the first choice the doors were closed, as the migration made them.
_HISTORY = """
SELECT * FROM (
    SELECT revision, changed_at, changed_by, coalesce(lag(enabled) OVER in_order, false) AS was_enabled,
        coalesce(lag(roster_source) OVER in_order, 'siecle') AS was_source, enabled, roster_source,
        conditions_version, conditions_text
    FROM transfer_opt_in_history WINDOW in_order AS (ORDER BY revision)
) AS entry
WHERE %(before)s::bigint IS NULL OR revision < %(before)s ORDER BY revision DESC LIMIT %(limit)s
"""
_SAVE = """
UPDATE transfer_opt_in SET enabled = %(enabled)s, roster_source = %(roster_source)s, revision = %(revision)s,
    changed_at = %(changed_at)s, changed_by = %(changed_by)s, conditions_version = %(conditions_version)s
"""
_ADD_HISTORY = """
INSERT INTO transfer_opt_in_history
    (revision, enabled, roster_source, changed_at, changed_by, conditions_version, conditions_text)
VALUES (%(revision)s, %(enabled)s, %(roster_source)s, %(changed_at)s, %(changed_by)s, %(conditions_version)s,
    %(conditions_text)s)
"""


class DirectoryEstablishments:
    """Implements `ports.Establishments`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def known(self, uai: str) -> bool:
        return await self._directory.find(uai) is not None


class TenantOptInChange:
    """Implements `ports.OptInChange`."""

    def __init__(self, tx: Connection, current: OptIn, clock: Clock) -> None:
        self.current = current
        self._tx = tx
        self._clock = clock

    async def next_revision(self) -> int:
        row = await (await self._tx.execute("SELECT nextval('pupil_revision')")).fetchone()
        assert row is not None
        return int(row[0])

    async def save(self, opt_in: OptIn, conditions: Conditions | None) -> None:
        values = {
            "enabled": opt_in.choice.enabled,
            "roster_source": opt_in.choice.roster_source.value,
            "revision": opt_in.revision,
            "changed_at": opt_in.changed_at,
            "changed_by": opt_in.changed_by,
            "conditions_version": conditions.version if conditions else None,
            "conditions_text": conditions.text if conditions else None,
        }
        await self._tx.execute(_SAVE, values)
        await self._tx.execute(_ADD_HISTORY, values)

    async def publish(self, event: Event) -> None:
        await outbox.add(self._tx, [event], source=SOURCE, clock=self._clock, wake_relay=False)


class TenantOptIns:
    """Implements `ports.OptIns`."""

    def __init__(self, tenants: TenantConnections, tenant_outbox: TenantOutbox, clock: Clock) -> None:
        self._tenants = tenants
        self._outbox = tenant_outbox
        self._clock = clock

    async def find(self, uai: str) -> OptIn:
        with _unknown_refused():
            async with self._tenants.begin(uai) as tx:
                return await _read(tx, _FIND)

    async def history(self, uai: str, *, before_revision: int | None, limit: int) -> Sequence[OptInEntry]:
        with _unknown_refused():
            async with self._tenants.begin(uai) as tx:
                found = await tx.execute(_HISTORY, {"before": before_revision, "limit": limit})
                return [_entry(row) for row in await found.fetchall()]

    @asynccontextmanager
    async def changing(self, uai: str) -> AsyncIterator[TenantOptInChange]:
        with _unknown_refused():
            async with self._outbox.writing(uai) as tx:
                yield TenantOptInChange(tx, await _read(tx, _FIND_LOCKED), self._clock)


async def _read(tx: Connection, query: str) -> OptIn:
    row = await (await tx.execute(query)).fetchone()
    assert row is not None  # the migration that makes the table makes its only row
    enabled, roster_source, revision, changed_at, changed_by, accepted, open_since = row
    return OptIn(Choice(enabled, RosterSource(roster_source)), revision, changed_at, changed_by, accepted, open_since)


def _entry(row: Sequence[Any]) -> OptInEntry:
    revision, changed_at, changed_by, was_enabled, was_source, enabled, source, version, text = row
    before, after = Choice(was_enabled, RosterSource(was_source)), Choice(enabled, RosterSource(source))
    conditions = None if version is None else Conditions(version, text)
    return OptInEntry(revision, changed_at, changed_by, before, after, conditions)


@contextmanager
def _unknown_refused() -> Iterator[None]:
    try:
        yield
    except TenantUnknownError as error:
        raise establishment_unknown(error.uai) from error
