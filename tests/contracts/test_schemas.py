"""The committed schemas are those of the code, break no promise, and have no place for what names a person."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cpro_contracts import topics
from cpro_contracts.topics import dead_letters_of
from cpro_test_support import schemas

TYPES = sorted(schemas.declared_events())

MAY_NOT_APPEAR = {
    *("name", "names", "first", "last", "family", "given", "usage", "surname"),
    *("birth", "born", "birthday", "age", "sex", "gender", "nationality", "photo", "picture", "ine"),
    *("email", "mail", "phone", "telephone", "mobile", "address", "street", "city"),
    *("guardian", "parent", "comment", "text", "note"),
}
APPEAR_ALL_THE_SAME = {
    ("cpro.establishment.updated.v1", "name"),  # the public name of an establishment
    *((name, "ine_status") for name in TYPES if name.startswith("cpro.pupil.")),  # whether the INE can be trusted
}
FREE_TEXT = {
    ("cpro.establishment.updated.v1", "name"),
    ("cpro.siecle-import.failed.v1", "code"),
    ("cpro.transfer.undone.v1", "ticket"),
    *((name, "match_key") for name in TYPES if "match_key" in schemas.declared_events()[name].model_fields),
}


def test_the_committed_files_are_those_that_the_contracts_generate() -> None:
    committed = {
        str(path.relative_to(schemas.CONTRACTS)): path.read_text(encoding="utf-8")
        for path in [*schemas.CONTRACTS.glob("schemas/*"), schemas.CONTRACTS / "asyncapi.yaml"]
    }

    assert committed == schemas.generated(), "run `make schemas`"


def test_no_promise_of_a_committed_schema_is_broken() -> None:
    assert list(schemas.broken_promises()) == []


def test_no_event_has_a_field_that_could_name_a_person() -> None:
    suspicious = {
        (name, field)
        for name, field in _fields()
        if MAY_NOT_APPEAR & set(field.lower().split("_")) and (name, field) not in APPEAR_ALL_THE_SAME
    }

    assert suspicious == set()


def test_free_text_is_allowed_in_few_fields_only() -> None:
    assert {(name, field) for name, field in _fields() if _is_free_text(name, field)} == FREE_TEXT


def test_every_topic_is_described_with_its_retention_and_every_event_is_on_its_topic() -> None:
    channels = yaml.safe_load((schemas.CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8"))["channels"]

    assert list(channels) == [topic.name for topic in topics.ALL]
    for topic in topics.ALL:
        configuration = channels[topic.name]["bindings"]["kafka"]["topicConfiguration"]
        assert configuration["cleanup.policy"] == [topic.config()["cleanup.policy"]]
        assert configuration.get("retention.ms") == topic.retention_ms
    for name, model in schemas.declared_events().items():
        assert [channel for channel, described in channels.items() if name in described["messages"]] == [model.topic]
        assert list(channels[dead_letters_of(model.topic)]["messages"]) == ["dead-letter"]


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load((schemas.CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8"))

    for reference in _references(document):
        if reference.startswith("#/"):
            target = document
            for step in reference[2:].split("/"):
                target = target[step]
        else:
            assert (schemas.CONTRACTS / reference).is_file(), reference


OLD = schemas.schema_of(schemas.declared_events()["cpro.transfer.held.v1"])


def _remove(schema: dict[str, Any]) -> None:
    del schema["properties"]["reason"]
    schema["required"].remove("reason")


def _rename(schema: dict[str, Any]) -> None:
    schema["properties"]["origin"] = schema["properties"].pop("origin_uai")
    schema["required"][schema["required"].index("origin_uai")] = "origin"


def _retype(schema: dict[str, Any]) -> None:
    schema["properties"]["origin_revision"]["type"] = "string"


def _another_form(schema: dict[str, Any]) -> None:
    schema["properties"]["transfer_id"]["format"] = "uri"


def _never_null(schema: dict[str, Any]) -> None:
    schema["properties"]["destination_uai"]["anyOf"].pop()


def _tighter(schema: dict[str, Any]) -> None:
    schema["properties"]["match_key"]["maxLength"] = 80


def _newly_required(schema: dict[str, Any]) -> None:
    schema["required"].append("destination_uai")


def _added_and_required(schema: dict[str, Any]) -> None:
    schema["properties"]["batch"] = {"type": "string"}
    schema["required"].append("batch")


def _no_longer_promised(schema: dict[str, Any]) -> None:
    schema["required"].remove("origin_pupil_id")


def _closed_list_shrinks(schema: dict[str, Any]) -> None:
    schema["$defs"]["Reason"]["enum"].remove("settling")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_remove, "reason is gone"),
        (_rename, "origin_uai is gone"),
        (_retype, "origin_revision was"),
        (_another_form, "transfer_id was"),
        (_never_null, "destination_uai was"),
        (_tighter, "match_key was"),
        (_newly_required, "destination_uai is required"),
        (_added_and_required, "batch is required"),
        (_no_longer_promised, "origin_pupil_id is no longer promised"),
        (_closed_list_shrinks, "reason was"),
    ],
)
def test_a_change_that_breaks_a_reader_is_found(change: Callable[[dict[str, Any]], None], complaint: str) -> None:
    new = copy.deepcopy(OLD)
    change(new)

    assert any(found.startswith(complaint) for found in schemas.broken_by(OLD, new))


def test_what_readers_ignore_may_be_added() -> None:
    new = copy.deepcopy(OLD)
    new["properties"]["batch"] = {"type": "string", "default": ""}
    new["$defs"]["Reason"]["enum"].append("on_strike")
    new["description"] = "Said better."
    new["properties"]["match_key"]["title"] = "Key"

    assert list(schemas.broken_by(OLD, new)) == []


def test_an_incompatible_schema_is_not_written_over_the_committed_one(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    held = tmp_path / "schemas" / "cpro.transfer.held.v1.json"
    promised = json.loads(held.read_text(encoding="utf-8"))
    promised["properties"]["since"] = {"type": "string", "format": "date-time"}
    held.write_text(json.dumps(promised), encoding="utf-8")
    (tmp_path / "schemas" / "cpro.pupil.expelled.v1.json").write_text("{}", encoding="utf-8")

    with pytest.raises(schemas.IncompatibleSchemaError) as refused:
        schemas.write(tmp_path)

    assert str(refused.value).splitlines() == [
        "cpro.pupil.expelled.v1: the event type is gone; events of it are on the topics for months",
        "cpro.transfer.held.v1: since is gone",
    ]
    assert json.loads(held.read_text(encoding="utf-8")) == promised


def _fields() -> Iterator[tuple[str, str]]:
    for name, schema in schemas.event_schemas().items():
        for part in [schema, *schema.get("$defs", {}).values()]:
            yield from ((name, field) for field in part.get("properties", {}))


def _is_free_text(name: str, field: str) -> bool:
    described = schemas.event_schemas()[name]["properties"].get(field, {})
    possible = described.get("anyOf", [described])
    return any(
        one.get("type") == "string" and not one.keys() & {"pattern", "format", "enum", "const"} for one in possible
    )


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
