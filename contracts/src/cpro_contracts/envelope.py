"""How an event travels: CloudEvents 1.0, Kafka binding, binary content mode, with the W3C trace context.

Source: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter, ValidationError

SPEC_VERSION = "1.0"
_AWARE_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)
_UUID: TypeAdapter[UUID] = TypeAdapter(UUID)
_READ_ATTRIBUTES = frozenset({"ce_type", "ce_id", "ce_source", "ce_time", "traceparent"})
_registry: dict[str, type["Event"]] = {}


class UnreadableEventError(ValueError):
    """The message is no event that these contracts know, or breaks the contract that it names."""


class Event(BaseModel):
    """What happened, in the past tense. Frozen; unknown fields are ignored so that producers can add some.

    A subclass names its `type` (`cpro.pupil.created.v1`: versioned, never reused), its `topic`, its Kafka key
    and its CloudEvents subject. Payloads hold match keys, UAI, ids, codes and times: nothing that names a pupil.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: ClassVar[str]
    topic: ClassVar[str]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Register the type, so that a reader finds the class from the `ce_type` header."""
        if "type" in cls.__dict__:
            if cls.type in _registry and _registry[cls.type].__qualname__ != cls.__qualname__:
                raise TypeError(f"event type {cls.type} is declared twice")
            _registry[cls.type] = cls

    def key(self) -> str:
        """The Kafka key: what decides the partition."""
        raise NotImplementedError

    def subject(self) -> str:
        """The CloudEvents subject: the UAI that the event is about."""
        raise NotImplementedError


def event_types() -> Mapping[str, type[Event]]:
    """Every event type declared so far, by its name."""
    return dict(_registry)


@lru_cache(maxsize=1_000)
def _read_time(text: str) -> datetime:
    """The time in `ce_time`. All that one transaction publishes has the same."""
    return _AWARE_TIME.validate_python(text)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with its attributes of transport."""

    id: UUID
    source: str
    time: datetime
    event: Event
    traceparent: str | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """The Kafka headers of the binary content mode."""
        pairs = {
            "ce_specversion": SPEC_VERSION,
            "ce_id": str(self.id),
            "ce_type": self.event.type,
            "ce_source": self.source,
            "ce_subject": self.event.subject(),
            "ce_time": self.time.isoformat(),
            "content-type": "application/json",
        }
        if self.traceparent:
            pairs["traceparent"] = self.traceparent
        return [(name, value.encode()) for name, value in pairs.items()]

    def payload(self) -> bytes:
        """The JSON body."""
        return self.event.model_dump_json().encode()

    @classmethod
    def read(cls, headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> Self:
        """The envelope behind a Kafka message. Headers of others are left alone, whatever they hold.

        Raises:
            UnreadableEventError: an attribute is missing, the type is not known, or the payload breaks its contract.
        """
        attributes: dict[str, Any] = {}
        try:
            attributes = {name: raw.decode() for name, raw in headers if name in _READ_ATTRIBUTES and raw is not None}
            model = _registry[attributes["ce_type"]]
            return cls(
                id=_UUID.validate_python(attributes["ce_id"]),
                source=attributes["ce_source"],
                time=_read_time(attributes["ce_time"]),
                # As `model_validate_json` does, which spends a fifth of its time on arguments that are not given here.
                event=model.__pydantic_validator__.validate_json(value or b""),
                traceparent=attributes.get("traceparent"),
            )
        except KeyError as missing:
            named = attributes.get("ce_type", "(no ce_type)")
            raise UnreadableEventError(f"{named}: {missing.args[0]} is missing or not known") from missing
        except ValidationError as invalid:
            # The values stay out of the message: a broken payload may hold what must not reach a log.
            problems = invalid.errors(include_input=False, include_url=False, include_context=False)
            where = ", ".join(f"{'.'.join(map(str, p['loc']))}: {p['type']}" for p in problems)
            raise UnreadableEventError(f"{attributes.get('ce_type')}: {where}") from None
        except ValueError as malformed:
            raise UnreadableEventError(f"{attributes.get('ce_type')}: malformed attribute") from malformed
