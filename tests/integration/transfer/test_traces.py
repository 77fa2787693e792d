"""A batch of pupils of several traces: each transfer stays in its own, and the batch links them."""

from collections.abc import Iterator

import pytest

from cpro_platform import tracing
from cpro_test_support.records import Amounts
from cpro_test_support.traces import Traces, linked_traces, listening
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.bootstrap import Work


@pytest.fixture
def traces() -> Iterator[Traces]:
    with listening() as traces:
        yield traces


async def test_each_pupil_of_a_batch_stays_in_a_trace_of_their_own_and_the_batch_links_them(
    world: TransferWorld, traces: Traces
) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ines = [new_ine(), new_ine()]
    for ine in ines:
        await origin.loses(await origin.has(ine, records=Amounts(reports=1)))
    arrivals = {}
    for ine in ines:
        with tracing.span("arrival") as arrival:
            arrivals[await destination.has(ine)] = arrival.get_span_context().trace_id

    await world.take_in_events()
    async with world.service(Work.MOVE):
        transfers = await world.ends("completed", number=2)

    moves = traces.named("transfer.move", origin=origin.uai)
    assert {move.context.trace_id for move in moves} == set(arrivals.values())
    assert [move.attributes["pupils"] for move in moves if move.attributes] == [2, 2]
    for move in moves:
        assert linked_traces(move) == {other.context.trace_id for other in moves if other is not move}
    for transfer in transfers:
        assert _trace_id(transfer["traceparent"]) == arrivals[transfer["destination_pupil_id"]]
    for event_type in ("cpro.transfer.planned.v1", "cpro.transfer.completed.v1"):
        said = await world.traces_of(event_type)
        assert {pupil: _trace_id(traceparent) for pupil, traceparent in said.items()} == arrivals


async def test_an_opt_in_that_opens_the_way_is_the_trace_of_the_transfers_that_it_calls_for(
    world: TransferWorld,
    traces: Traces,
) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    await destination.opts_out()
    ine = new_ine()
    await origin.loses(await origin.has(ine))
    with tracing.span("arrival"):
        await destination.has(ine)
    await world.take_in_events()
    with tracing.span("opening") as opening:
        await destination.opts_in()

    await world.take_in_events()

    (transfer,) = await world.transfers()
    assert _trace_id(transfer["traceparent"]) == opening.get_span_context().trace_id
    told = await world.traces_of("cpro.transfer.planned.v1")
    assert [_trace_id(traceparent) for traceparent in told.values()] == [opening.get_span_context().trace_id]


def _trace_id(traceparent: str) -> int:
    return int(traceparent.split("-")[1], 16)
