"""The AsyncAPI document of the events: every topic with its messages, who sends, who receives, and what is kept.

The examples are the messages in `tests/contracts/published`, as they were on their topics.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cpro_contracts import topic_access, topics
from cpro_contracts.envelope import SPEC_VERSION, Event
from cpro_contracts.topic_access import GROUPS, LETTERS_DESK, Service
from cpro_contracts.topics import Topic, dead_letters_of

PUBLISHED = Path(__file__).parents[3] / "contracts/published"
_BINDING_VERSION = "0.5.0"
_UAI = "[0-9]{7}[A-Z]"
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TOPICS: Mapping[str, tuple[str, str, str]] = {
    # What is in it, what the key is, and the key's form.
    topics.PUPIL: (
        "What happens to a pupil's enrolment in an establishment. Order does not matter: of two events under one match "
        "key and UAI the one with the higher revision is the truth.",
        "The match key: all that is known of one pupil, in whatever establishment, is in one partition.",
        f"^(ine:[0-9]+:[0-9a-f]{{64}}|pupil:{_UAI}:{_UUID}|authorisation:{_UUID})$",
    ),
    topics.ESTABLISHMENT: (
        "The latest sheet and the latest transfer opt-in of every establishment.",
        "The UAI and which of the two facts it is: the compaction keeps the last of each.",
        f"^{_UAI}/(sheet|transfer-opt-in)$",
    ),
    topics.SIECLE_IMPORT_JOBS: (
        "Imports of national pupil files that wait for a worker.",
        "The UAI: imports of one establishment are taken in order.",
        f"^{_UAI}$",
    ),
    topics.SIECLE_IMPORT: ("How imports of national pupil files ended.", "The UAI.", f"^{_UAI}$"),
    topics.TRANSFER: (
        "The life of transfers, and the authorisations of those that can't be automatic.",
        "The UAI of the origin.",
        f"^{_UAI}$",
    ),
}


def document(events: Mapping[str, type[Event]]) -> dict[str, Any]:
    """The document for these event types, by type. The same on every machine."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CPro transfers: events",
            "version": version("cpro-contracts"),
            "description": "CloudEvents 1.0 over Kafka in binary content mode, with the W3C trace context. Payloads "
            "carry match keys, UAI, ids, codes and times, and nothing that names a pupil. Readers ignore unknown "
            "fields. An event may arrive late, twice or out of order.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, events) for topic in topics.ALL},
        "operations": dict(_operations()),
        "components": {
            "messages": {name: _message(model) for name, model in sorted(events.items())}
            | {"dead-letter": _DEAD_LETTER},
            "schemas": {"CloudEventHeaders": _HEADERS, "DeadLetterHeaders": _DEAD_LETTER_HEADERS},
        },
    }


def _channel(topic: Topic, events: Mapping[str, type[Event]]) -> dict[str, Any]:
    sources = {dead_letters_of(name): name for name in _TOPICS}
    if topic.name in sources:
        description = (
            f"Messages of {sources[topic.name]} that could not be handled: untouched, with why in the headers."
        )
        messages = ["dead-letter"]
    else:
        description = _TOPICS[topic.name][0]
        messages = sorted(name for name, model in events.items() if model.topic == topic.name)
    return {
        "address": topic.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Who sends and who receives: in their own work, and at the desk where dead letters are settled."""
    for topic in topics.ALL:
        of_work = topic_access.WORK.get(topic.name)
        access = of_work or topic_access.ALL[topic.name]
        for service in sorted(access.producers):
            why = "Events of its own work." if of_work else "Messages that it could not handle."
            yield f"{service}.sends.{topic.name}", _operation("send", service, topic.name, why)
        for service in sorted(access.consumers):
            why = "Its own work." if of_work else "So that support can look at them and settle them."
            described = _operation("receive", service, topic.name, why)
            if of_work:
                group = {"type": "string", "const": GROUPS[service], "description": "Unless a setting names another."}
                described["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING_VERSION}}
            yield f"{service}.receives.{topic.name}", described
        if of_work and LETTERS_DESK not in access.producers:
            why = "Dead letters that support gives back, as they were but for one header."
            yield f"{LETTERS_DESK}.gives-back.{topic.name}", _operation("send", LETTERS_DESK, topic.name, why)


def _operation(action: str, service: Service, topic: str, why: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "title": f"{service} {action}s {topic}",
        "summary": why,
        "tags": [{"name": str(service)}],
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    if topic.retention_ms is None:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms}


def _message(model: type[Event]) -> dict[str, Any]:
    _, description, pattern = _TOPICS[model.topic]
    examples = _published(model.type)
    return {
        "name": model.type,
        "title": model.__name__,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": "application/json",
        "headers": {
            "allOf": [{"$ref": "#/components/schemas/CloudEventHeaders"}],
            "properties": {"ce_type": {"const": model.type}},
        },
        "payload": {"$ref": f"./schemas/{model.type}.json"},
        "bindings": {
            "kafka": {
                "key": {
                    "type": "string",
                    "pattern": pattern,
                    "description": description,
                    "examples": [example["key"] for example in examples],
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "examples": [
            {"name": f"published-{number}", "headers": example["headers"], "payload": example["payload"]}
            for number, example in enumerate(examples, 1)
        ],
    }


def _published(event_type: str) -> list[dict[str, Any]]:
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(PUBLISHED.glob("*.json")))
    return [example for example in found if example["headers"]["ce_type"] == event_type]


def _text(description: str, **more: object) -> dict[str, Any]:
    return {"type": "string", **more, "description": description}


_HEADERS: dict[str, Any] = {
    "type": "object",
    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "content-type"],
    "properties": {
        "ce_specversion": {"type": "string", "const": SPEC_VERSION},
        "ce_id": _text("The event's own id: the same when it is published twice.", format="uuid"),
        "ce_type": _text("The event type, with its version."),
        "ce_source": _text("Who published it.", format="uri-reference"),
        "ce_subject": _text("The establishment that it is about.", pattern=f"^{_UAI}$"),
        "ce_time": _text("When it was written, with the change that it tells of.", format="date-time"),
        "content-type": {"type": "string", "const": "application/json"},
        "traceparent": _text(
            "W3C trace context of the request that caused it, where there was one.",
            pattern="^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        ),
        "cpro_dlq_replay_of": _text(
            "The dead letter that this message was, where support gave it back.", format="uuid"
        ),
    },
}
_DEAD_LETTER_HEADERS: dict[str, Any] = {
    "type": "object",
    "description": "Besides the headers that the message came with.",
    "required": ["cpro_dlq_cause", "cpro_dlq_group", "cpro_dlq_topic", "cpro_dlq_partition", "cpro_dlq_offset"],
    "properties": {
        "cpro_dlq_cause": _text("The class of the error."),
        "cpro_dlq_detail": _text("What can be said of it without repeating a value."),
        "cpro_dlq_group": _text("The consumer group that could not handle it."),
        "cpro_dlq_topic": _text("The topic it was read from."),
        "cpro_dlq_partition": _text("The partition it was read from."),
        "cpro_dlq_offset": _text("Its offset there."),
        "cpro_dlq_time": _text("When it was set aside.", format="date-time"),
    },
}
_DEAD_LETTER: dict[str, Any] = {
    "name": "dead-letter",
    "title": "Dead letter",
    "summary": "The message as it was, key and value untouched.",
    "headers": {"$ref": "#/components/schemas/DeadLetterHeaders"},
    "payload": {"description": "Whatever the message held, readable or not."},
    "examples": [
        {
            "name": "a-broken-contract",
            "headers": {
                "ce_type": "cpro.pupil.created.v1",
                "cpro_dlq_cause": "UnreadableEventError",
                "cpro_dlq_detail": "cpro.pupil.created.v1: uai: string_pattern_mismatch",
                "cpro_dlq_group": "cpro-transfer-join",
                "cpro_dlq_topic": "cpro.pupil",
                "cpro_dlq_partition": "3",
                "cpro_dlq_offset": "18422",
                "cpro_dlq_time": "2026-09-16T07:03:00+00:00",
            },
            "payload": {"uai": "not a UAI"},
        }
    ],
}
