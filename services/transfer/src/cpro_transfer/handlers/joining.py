"""When events come: take in the facts, and plan what they call for."""

from collections.abc import Sequence
from typing import Generic, NamedTuple

from opentelemetry.trace import SpanKind

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilEvent
from cpro_platform import tracing
from cpro_platform.consuming import Message
from cpro_platform.errors import PoisonMessageError
from cpro_transfer.ports.joining import Fact, Facts, PreparedFact, Trace

_TAKEN_IN = (PupilEvent, EstablishmentUpdated, TransferOptInChanged)


class PreparedEvent(NamedTuple, Generic[PreparedFact]):
    """The fact that an event tells of, the Kafka partition where it was read, and the trace that it belongs to."""

    fact: PreparedFact
    partition: str
    traceparent: str | None = None


def prepare_event(message: Message, facts: Facts[PreparedFact]) -> PreparedEvent[PreparedFact]:
    """What `on_events` needs of a message, made while the batch before is under way.

    Raises:
        PoisonMessageError: an event of a kind that has no place on these topics.
    """
    event = message.envelope.event
    if not isinstance(event, _TAKEN_IN):
        raise PoisonMessageError(f"{event.type} has no place on {message.topic}")
    fact = facts.prepare(Fact(event, message.envelope.time))
    return PreparedEvent(fact, f"{message.topic}/{message.partition}", message.envelope.traceparent)


async def on_events(events: Sequence[PreparedEvent[PreparedFact]], facts: Facts[PreparedFact]) -> None:
    """Take in one batch. Safe to repeat: the revisions decide, not the order or the number of deliveries."""
    came_with = [event.traceparent for event in events]
    about = {"messaging.batch.message_count": len(events)}
    with tracing.batch("facts.take_in", came_with, about, kind=SpanKind.CONSUMER) as goes_on_as:
        traces = [Trace(traceparent, goes_on_as(traceparent)) for traceparent in came_with]
        await facts.take_in([event.fact for event in events], {event.partition for event in events}, traces)
