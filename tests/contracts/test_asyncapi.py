"""The AsyncAPI document is valid, shows every message by what was published, and says who sends and who receives."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from cpro_contracts import topic_access, topics
from cpro_contracts.topic_access import LETTERS_DESK, Service
from cpro_contracts.topics import dead_letters_of
from cpro_test_support import schemas

SCHEMA = Path(__file__).parent / "asyncapi/3.0.0.schema.json"


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((schemas.CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8"))
    return found


def messages() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document()["components"]["messages"]
    return found


def test_the_document_is_valid_asyncapi_3() -> None:
    validator = Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

    assert document()["asyncapi"] == "3.0.0"
    assert [error.message for error in validator.iter_errors(document())] == []


def test_the_schema_would_find_a_mistake() -> None:
    validator = Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    operations = document()["operations"] | {"settings.reads.cpro.pupil": {"action": "read", "channel": {}}}

    assert list(validator.iter_errors({**document(), "operations": operations}))


def test_every_message_is_shown_by_examples_that_are_as_its_schemas_say() -> None:
    for name, message in messages().items():
        headers = _validator(_headers(message["headers"]))
        payload = _validator(_payload(message["payload"]))
        assert message["examples"], name
        for example in message["examples"]:
            assert [error.message for error in headers.iter_errors(example["headers"])] == [], name
            assert [error.message for error in payload.iter_errors(example["payload"])] == [], name


def test_every_example_has_a_key_of_the_form_that_the_topic_has() -> None:
    for name, message in messages().items():
        if name != "dead-letter":
            key = message["bindings"]["kafka"]["key"]
            assert len(key["examples"]) == len(message["examples"])
            assert [error.message for one in key["examples"] for error in _validator(key).iter_errors(one)] == []


def test_who_sends_and_who_receives_is_who_may() -> None:
    told: dict[tuple[str, str], set[str]] = {}
    for operation in document()["operations"].values():
        topic = operation["channel"]["$ref"].removeprefix("#/channels/")
        told.setdefault((topic, operation["action"]), set()).update(tag["name"] for tag in operation["tags"])

    for topic in topics.ALL:
        allowed = topic_access.ALL[topic.name]
        desk = {LETTERS_DESK} if topic.name in topic_access.WORK else set()
        assert told.get((topic.name, "send"), set()) == allowed.producers, topic.name
        assert told.get((topic.name, "receive"), set()) | desk == allowed.consumers, topic.name


def test_every_receiver_says_its_consumer_group() -> None:
    groups = {
        (name.split(".receives.")[0], operation["bindings"]["kafka"]["groupId"]["const"])
        for name, operation in document()["operations"].items()
        if ".receives." in name and not name.endswith(".dlq")
    }

    assert groups == {(str(service), group) for service, group in topic_access.GROUPS.items()}


def test_a_dead_letter_topic_is_sent_to_by_whoever_reads_its_source() -> None:
    for name, access in topic_access.WORK.items():
        senders = {Service(operation.split(".sends.")[0]) for operation in _operations_on(dead_letters_of(name))}
        assert senders == access.consumers


def _operations_on(topic: str) -> Iterator[str]:
    for name in document()["operations"]:
        if name.endswith(f".sends.{topic}"):
            yield name


def _headers(declared: dict[str, Any]) -> dict[str, Any]:
    return {**declared, "components": {"schemas": document()["components"]["schemas"]}}


def _payload(declared: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in declared:
        return declared
    found: dict[str, Any] = json.loads((schemas.CONTRACTS / declared["$ref"]).read_text(encoding="utf-8"))
    return found


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=FormatChecker())
