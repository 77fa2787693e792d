"""How long a reconciliation of one establishment takes: where nothing differs, dry, and where everything was lost.

Run: `.venv/bin/python benchmarks/reconcile_speed.py [PUPILS] [TRANSFERS]`. Medians with the lowest and the highest, in
the process that serves the API but without HTTP. The establishment has an event log of four events a pupil.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from cpro_embedded.stack import EmbeddedStack
from cpro_test_support.reconciling import hears
from cpro_test_support.schools import School
from cpro_test_support.transfers import TransferWorld, new_uai, opened_world
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.handlers.reconciling import Reconciliation

ROUNDS = 15
_PUPILS = """
INSERT INTO pupil (ine_status, family_name, first_name, birth_date, source, match_key, active, revision)
SELECT 'absent', 'MARTIN', 'Camille', date '2009-04-12', 'siecle', 'ine:1:' || %(uai)s || '/' || n, n > %(transfers)s,
    10 + n * 4
FROM generate_series(1, %(pupils)s) AS n
"""
_REVISIONS = "SELECT setval('pupil_revision', (SELECT max(revision) FROM pupil))"
_LOG = """
INSERT INTO outbox (topic, key, type, source, subject, occurred_at, payload, published_at)
SELECT 'cpro.pupil', p.match_key,
    CASE WHEN p.active OR n < 4 THEN 'cpro.pupil.created.v1' ELSE 'cpro.pupil.deactivated.v1' END,
    '/benchmarks', %(uai)s, now(), jsonb_build_object('match_key', p.match_key, 'uai', %(uai)s::text, 'pupil_id', p.id,
        'revision', p.revision - 4 + n, 'occurred_at', now(), 'source', p.source, 'ine_status', p.ine_status),
    now() - interval '1 day'
FROM pupil p CROSS JOIN generate_series(1, 4) AS n ORDER BY p.revision, n
"""
_RECEIPTS = """
INSERT INTO transfer_receipt (transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,
    destination_opt_in, written_at)
SELECT ids.id, %(direction)s, p.id, %(other)s, 1,
    jsonb_build_object('report', jsonb_build_object('count', 40, 'digest', md5('x'), 'ids',
        (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 40)))),
    '{"revision": 1}', '{"revision": 1}', now()
FROM (SELECT id, row_number() OVER (ORDER BY revision) AS n FROM pupil) p
JOIN unnest(%(ids)s::uuid[]) WITH ORDINALITY AS ids (id, n) USING (n)
"""


async def main(pupils: int, transfers: int) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        stack = EmbeddedStack(Path(folder) / "servers")
        try:
            async with opened_world(stack.start()) as world:
                origin, destination = await world.schools.opted_in(new_uai(), new_uai())
                ids = [
                    row[0]
                    for row in await origin.fetch("SELECT gen_random_uuid() FROM generate_series(1, %s)", transfers)
                ]
                for school, other, direction in ((origin, destination, "outgoing"), (destination, origin, "incoming")):
                    await fill(school, other, direction, ids, pupils)
                await origin.execute("UPDATE pupil SET records_moved_at = now() WHERE NOT active")
                async with Service(world.config, work=Work.NOTHING) as service:
                    await measure(world, service, origin)
        finally:
            stack.stop()


async def fill(school: School, other: School, direction: str, ids: list[object], pupils: int) -> None:
    outgoing = direction == "outgoing"
    arguments = {"uai": school.uai, "pupils": pupils, "transfers": len(ids) if outgoing else 0}
    for statement in (_PUPILS, _REVISIONS, _LOG, _RECEIPTS):
        async with school.world.tenants.begin(school.uai) as tx:
            await tx.execute(statement, arguments | {"direction": direction, "other": other.uai, "ids": ids})


async def measure(world: TransferWorld, service: Service, school: School) -> None:
    async def dry() -> Reconciliation:
        return await service.reconciler.reconcile(school.uai, dry_run=True)

    async def wet() -> Reconciliation:
        return await service.reconciler.reconcile(school.uai, dry_run=False)

    async def lost() -> None:
        async with world.database.begin() as tx:
            await tx.execute("TRUNCATE enrolment, establishment, transfer, outbox")

    await show("lost, dry run", dry, before=lost)
    await show("lost, repaired", wet, before=lost)
    await wet()
    await hears(world)
    await show("nothing differs, dry run", dry)


async def show(
    name: str, act: Callable[[], Awaitable[Reconciliation]], *, before: Callable[[], Awaitable[None]] | None = None
) -> None:
    seconds: list[float] = []
    for _ in range(ROUNDS):
        if before:
            await before()
        began = time.perf_counter()
        found = await act()
        seconds.append((time.perf_counter() - began) * 1000)
    counts = {str(kind): len(ids) or 1 for kind, ids in found.found.items()}
    print(
        f"{name}: {statistics.median(seconds):.0f} ms ({min(seconds):.0f} to {max(seconds):.0f}),"
        f" {found.pupils} pupils, {found.transfers} transfers, {counts}"
    )


if __name__ == "__main__":
    asyncio.run(main(*(int(sys.argv[n]) if len(sys.argv) > n else default for n, default in ((1, 1500), (2, 300)))))
