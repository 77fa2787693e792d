"""When events come: take in the facts, and plan what they call for."""

from collections.abc import Sequence

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_contracts.pupils import PupilEvent
from cpro_platform.consuming import Message
from cpro_platform.errors import PoisonMessageError
from cpro_transfer.ports.joining import Fact, Facts

_TAKEN_IN = (PupilEvent, EstablishmentUpdated, TransferOptInChanged)


async def on_events(messages: Sequence[Message], facts: Facts) -> None:
    """Take in one batch. Safe to repeat: the revisions decide, not the order or the number of deliveries.

    Raises:
        PoisonMessageError: an event of a kind that has no place on these topics.
    """
    partitions = {f"{message.topic}/{message.partition}" for message in messages}
    await facts.take_in([_fact(message) for message in messages], partitions)


def _fact(message: Message) -> Fact:
    event = message.envelope.event
    if not isinstance(event, _TAKEN_IN):
        raise PoisonMessageError(f"{event.type} has no place on {message.topic}")
    return Fact(event, message.envelope.time)
