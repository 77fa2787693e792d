"""From the upload of a file to the landing of a pupil's records it is one trace, whoever carries it on.

Two schools import, on days of their own. The transfer belongs to the trace of the import that came second, since that
called for it; the first one's, which may be months old, is linked.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from uuid import UUID

import httpx
import pytest
from asgi_lifespan import LifespanManager
from opentelemetry.sdk.trace import ReadableSpan

import cpro_siecle_import.bootstrap
import cpro_siecle_import.entrypoints.api
from cpro_test_support.import_world import EXPORT_DAY, YEAR, School, new_school, prepared_config
from cpro_test_support.records import Amounts, seed_records
from cpro_test_support.schools import School as Door
from cpro_test_support.schools import opened_on
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import generate_pupils
from cpro_test_support.traces import Traces, linked_traces, listening
from cpro_test_support.transfers import eventually, fresh_transfer_config
from cpro_transfer.bootstrap import Service, prepare

ONE_TRACE = """
request.handle
  outbox.publish
  upload.keep
  import.run
    import.read
    import.compare
    import.apply
      outbox.publish
      facts.take_in
        outbox.publish
        transfer.move
          destination.prepare
          origin.hold
          files.copy
          destination.land
          origin.finish
          files.remove
          origin.forget_files
          transfers.complete
            outbox.publish
    import.publish
      outbox.publish
"""


@pytest.fixture
def traces() -> Iterator[Traces]:
    with listening() as traces:
        yield traces


@pytest.fixture
async def schools(servers: Servers) -> AsyncIterator[tuple[School, School]]:
    """Two schools with their doors open, the import and the transfer service at work."""
    config = await prepared_config(servers)
    app = cpro_siecle_import.entrypoints.api.create(cpro_siecle_import.bootstrap.Service(config))
    transfer_config = await fresh_transfer_config(servers.endpoints, config.tenants)
    await prepare(transfer_config)
    async with AsyncExitStack() as running:
        await running.enter_async_context(LifespanManager(app))
        await running.enter_async_context(Service(transfer_config))
        transport = httpx.ASGITransport(app)
        origin = await running.enter_async_context(new_school(config, transport, servers))
        destination = await running.enter_async_context(new_school(config, transport, servers))
        async with opened_on(servers.endpoints, config.tenants) as world:
            for school in (origin, destination):
                world.known[school.uai] = Door(world, school.uai)
                await world.known[school.uai].opts_in()
        yield origin, destination


async def test_the_upload_that_calls_for_a_transfer_and_its_landing_are_one_trace_with_a_link_to_the_other_schools(
    servers: Servers, traces: Traces, schools: tuple[School, School]
) -> None:
    origin, destination = schools
    (pupil,) = generate_pupils(1, 41, school_year=YEAR)
    await origin.imports([pupil, *generate_pupils(3, 42, school_year=YEAR)])
    await _give_records(origin, servers)
    await origin.imports([pupil.leaves(EXPORT_DAY), *generate_pupils(3, 42, school_year=YEAR)])

    await destination.imports([pupil])

    move = await eventually(lambda: _ended(traces, "transfer.move", origin=origin.uai, destination=destination.uai))
    trace_id = move.context.trace_id
    await eventually(lambda: _is(traces, trace_id, ONE_TRACE), lambda: _is(traces, trace_id), within_seconds=10)
    departure = traces.named("import.run", uai=origin.uai)[-1]
    assert {span.context.trace_id for span in traces.named("import.run", uai=destination.uai)} == {trace_id}
    assert linked_traces(move) - {trace_id} == {departure.context.trace_id}
    assert traces.tree(departure.context.trace_id)[0] == "request.handle"


async def _give_records(school: School, servers: Servers) -> None:
    async with opened_on(servers.endpoints, school.config.tenants) as world, world.tenants.begin(school.uai) as tx:
        for (pupil_id,) in await (await tx.execute("SELECT id FROM pupil")).fetchall():
            await seed_records(tx, world.store, school.uai, UUID(str(pupil_id)), amounts=Amounts(attachments=1))


async def _ended(traces: Traces, name: str, **attributes: object) -> ReadableSpan | None:
    """The one span of this name, once it has ended."""
    found = traces.named(name, **attributes)
    return found[0] if len(found) == 1 else None


async def _is(traces: Traces, trace_id: int, expected: str | None = None) -> str | None:
    """The trace, once it is as expected: what relays and the join tell of it ends a little later."""
    # An import service of other tests, on the same topic, has nothing to do with the request.
    tree = re.sub(r"\n  import\.run(?!\n    )", "", "\n".join(traces.tree(trace_id)))
    return tree if expected is None or tree == expected.strip() else None
