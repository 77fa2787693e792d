"""A world whose store has a bucket of its own, a mover that is taken step by step, and sweeps at a later time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from cpro_platform.clock import Clock, SettableClock, SystemClock
from cpro_platform.object_store import ObjectStore
from cpro_tenant_db.provisioning import schema_version
from cpro_test_support.records import Amounts
from cpro_test_support.schools import School, store_settings
from cpro_test_support.transfers import TransferWorld, eventually
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.objects import RecordObjects
from cpro_transfer.adapters.projection import Projection
from cpro_transfer.adapters.tenant_records import TenantRecords
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.domain.sweeping import Fate, RecordFile
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.handlers.moving import Mover
from cpro_transfer.handlers.sweeping import Swept
from cpro_transfer.ports.moving import Attachment, Landed

DAY, MONTH = timedelta(days=2), timedelta(days=30)
FILES = Amounts(reports=1, activity_sheets=0, assessments=0, passports=0, passport_entries=0, attachments=2)


@dataclass(slots=True)
class SweptWorld:
    """The world, with the pieces of a mover and a sweep."""

    world: TransferWorld
    records: TenantRecords
    objects: RecordObjects
    fates: dict[str, Fate] = field(default_factory=dict)
    """What the last sweep has told, by key."""

    async def a_transfer(self) -> tuple[School, School, UUID]:
        """A pupil with files has changed school, and the join knows."""
        origin, destination, leaver = await self.world.a_pupil_changes_school(FILES)
        await self.world.take_in_events()
        return origin, destination, leaver

    async def claim(self) -> Claim:
        """Claim the one transfer there is; the lease is over at once."""
        ledger = self._ledger(timedelta(milliseconds=1))

        async def claimed() -> Claim | None:
            claims = await ledger.claim(10)
            return claims[0] if claims else None

        claim: Claim = await eventually(claimed, self.world.transfers)
        return claim

    async def hold(self, claim: Claim) -> UUID:
        """Prepare and hold."""
        claim_id = uuid4()
        prepared = await self.records.prepare(claim.destination_uai, [claim], to_land=True)
        outcome = await self.records.hold(claim.origin_uai, [claim], prepared.sheets, claim_id, landed=[])
        assert outcome.held == {claim.id}
        return claim_id

    async def copy_files(self, claim: Claim, school: School, pupil_id: UUID) -> None:
        """Copy the pupil's files, whatever has become of the claim."""
        rows = await school.fetch(
            "SELECT id, pupil_id, object_key, sha256, size_bytes FROM attachment WHERE pupil_id = %s", pupil_id
        )
        attachments = [Attachment(*row) for row in rows]
        assert attachments
        assert await self.objects.copy([claim], attachments) == {}

    async def land(self, claim: Claim, claim_id: UUID) -> Landed:
        """Land."""
        return (await self.records.land(claim.origin_uai, claim.destination_uai, [claim], claim_id))[claim.id]

    async def moved_until(self, state: str) -> None:
        """Let a whole mover work until the transfer is in this state."""
        mover = Mover(self._ledger(timedelta(seconds=30)), self.records, self.objects, batch_size=10, renew_seconds=10)

        async def moved() -> bool | None:
            await mover.move_next()
            return True if await self.world.transfers(state=state) else None

        await eventually(moved, self.world.transfers)

    async def sweep(self, after: timedelta = MONTH, *, dry_run: bool = False, **settings: object) -> Swept:
        """Sweep once, so much later."""
        clock: Clock = SettableClock(SystemClock().now() + after)
        self.fates = {}

        def tell(file: RecordFile, fate: Fate) -> None:
            assert file.key not in self.fates, "told once"
            self.fates[file.key] = fate

        config = self.world.config.model_copy(update=settings)
        async with Service(config, clock=clock, work=Work.NOTHING) as service:
            return await service.sweeper().sweep(dry_run=dry_run, tell=tell)

    async def puts(self, school: School, name: str | None = None, *, pupil: UUID | None = None) -> str:
        """The core application puts a file; with its row where a pupil is named. Returns the key."""
        key = f"tenants/{school.uai}/attachments/{name or uuid4()}"
        content = key.encode()
        await self.world.schools.store.put(key, content)
        if pupil:
            await self.names(school, key, pupil)
        return key

    async def names(self, school: School, key: str, pupil: UUID) -> None:
        """A row names the file."""
        await school.execute(
            "INSERT INTO attachment (pupil_id, file_name, content_type, object_key, sha256, size_bytes)"
            " VALUES (%s, 'justificatif.pdf', 'application/pdf', %s, %s, %s)",
            pupil, key, sha256(key.encode()).hexdigest(), len(key),
        )  # fmt: skip

    async def files(self, school: School) -> set[str]:
        """The keys of the school's files."""
        return {stored.key for stored in await self.world.schools.store.list(f"tenants/{school.uai}/")}

    def _ledger(self, lease: timedelta) -> PostgresLedger:
        return PostgresLedger(self.world.database, Projection(), SystemClock(), worker=str(uuid4()), lease=lease)


@asynccontextmanager
async def swept_world(world: TransferWorld) -> AsyncIterator[SweptWorld]:
    """The world on a bucket that no other test uses: a sweep reads all of it."""
    shared = world.schools.store
    settings = store_settings(world.schools.endpoints, f"sweep-{uuid4().hex[:12]}")
    world.schools.store = ObjectStore(settings)
    await world.schools.store.ensure_bucket()
    world.config = world.config.model_copy(update={"object_store": settings})
    records = TenantRecords(world.schools.tenants, schema_version=schema_version(), idle_in_transaction_seconds=5)
    try:
        yield SweptWorld(world, records, RecordObjects(world.schools.store))
    finally:
        await world.schools.store.close()
        world.schools.store = shared
