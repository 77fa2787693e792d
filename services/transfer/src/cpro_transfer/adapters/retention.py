"""What the transfer database keeps no longer, and each establishment's. Implements `ports.retention`."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from cpro_platform.clock import Clock
from cpro_platform.database import Database
from cpro_tenant_db import retention
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory, TenantState
from cpro_tenant_db.retention import Kept
from cpro_tenant_db.tenant_outbox import TenantOutbox

# Nobody looks for these any more: an authorisation that has ended; whom a school knows by that key no longer.
_DUE = {
    "authorisations": "FROM transfer_authorisation WHERE ended_at < %(before)s",
    "enrolments": "FROM enrolment WHERE withdrawn AND event_time < %(before)s AND moved_at_revision <= revision",
    "audit": "FROM audit_entry WHERE occurred_at < %(before)s",
}
# The login of the service may only add to the audit trail: what is old goes by a function of the owner's.
_DELETE = {kind: f"WITH gone AS (DELETE {due} RETURNING 1) SELECT count(*) FROM gone" for kind, due in _DUE.items()} | {
    "audit": "SELECT forget_audit(%(before)s)"
}


class TransferRetention:
    """The transfer database."""

    def __init__(self, database: Database, clock: Clock, kept: Mapping[str, timedelta]) -> None:
        self._database = database
        self._clock = clock
        self._kept = kept

    async def forget(self, *, dry_run: bool) -> dict[str, int]:
        """Delete what is due; how many rows of each kind. Safe to repeat, and beside anything."""
        found = {}
        for kind, due in _DUE.items():
            arguments = {"before": self._clock.now() - self._kept[kind]}
            async with self._database.begin() as tx:
                statement = f"SELECT count(*) {due}" if dry_run else _DELETE[kind]
                row = await (await tx.execute(statement, arguments)).fetchone()
                found[kind] = int(row[0]) if row else 0
        return found


class TenantRetention:
    """The establishments' databases."""

    def __init__(
        self, directory: Directory, tenants: TenantConnections, outbox: TenantOutbox, clock: Clock, kept: Kept
    ) -> None:
        self._directory = directory
        self._tenants = tenants
        self._outbox = outbox
        self._clock = clock
        self._kept = kept

    async def uais(self) -> list[str]:
        """The establishments in use."""
        tenants = await self._directory.all_tenants()
        return [tenant.uai for tenant in tenants if tenant.state is not TenantState.CREATING]

    async def forget(self, uai: str, *, dry_run: bool) -> dict[str, int]:
        """Let go of what is due in one establishment; how many of each kind.

        Raises:
            TenantUnavailableError: transient.
        """
        now, kept = self._clock.now(), self._kept
        async with self._tenants.begin(uai) as tx:
            receipts = await retention.forget_receipts(tx, kept.receipts, now, dry_run=dry_run)
        async with self._tenants.begin(uai) as tx:
            details = await retention.forget_details(tx, kept.details, now, dry_run=dry_run)
        async with self._tenants.begin(uai) as tx:
            stubs = await retention.count_stubs(tx, kept.stubs, now)
        if stubs and not dry_run:
            stubs = sum([number async for number in self._stubs_forgotten(uai)])
        return {"receipts": receipts, "details": details, "stubs": stubs}

    async def _stubs_forgotten(self, uai: str) -> AsyncIterator[int]:
        number = 1
        while number:
            async with self._outbox.writing(uai) as tx:
                number = await retention.forget_stubs(tx, uai, self._kept.stubs, self._clock)
            yield number
