"""Every event ever published stays readable: topics are kept for months, and replayed from their beginning.

`published/` has one message of each type as it was on its topic. A sample is never changed; an event that gains a field
gets a second sample (`<type>.<what>.json`).
"""

import json
import re
from datetime import UTC
from pathlib import Path
from types import NoneType
from typing import Any, get_args
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from cpro_contracts.envelope import Envelope, Event, UnreadableEventError
from cpro_contracts.identifiers import uai_key
from cpro_test_support import schemas

PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.json"))


def _sample(path: Path) -> tuple[list[tuple[str, bytes]], dict[str, Any], str]:
    sample = json.loads(path.read_text(encoding="utf-8"))
    headers = [(name, value.encode()) for name, value in sample["headers"].items()]
    return headers, sample["payload"], sample["key"]


def test_every_event_type_has_a_published_sample() -> None:
    types = {dict(_sample(path)[0])["ce_type"].decode() for path in PUBLISHED}

    assert types == schemas.declared_events().keys()


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_event_is_read_and_nothing_of_it_is_lost(path: Path) -> None:
    headers, payload, key = _sample(path)

    envelope = Envelope.read(headers, json.dumps(payload).encode())

    assert json.loads(envelope.payload()).items() >= payload.items()
    assert dict(envelope.headers()) == dict(headers)
    assert envelope.event.key() == key


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_fields_and_headers_that_are_not_known_are_ignored(path: Path) -> None:
    headers, payload, _ = _sample(path)
    plain = Envelope.read(headers, json.dumps(payload).encode())

    more = Envelope.read(
        [*headers, ("ce_dataschema", b"later"), ("x-nothing", None), ("x-binary", b"\xff\xfe")],
        json.dumps(payload | {"added_later": {"deep": [1, None]}}).encode(),
    )

    assert more == plain


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_key_has_the_form_that_the_asyncapi_document_says(path: Path) -> None:
    headers, payload, _ = _sample(path)
    event = Envelope.read(headers, json.dumps(payload).encode()).event
    document = yaml.safe_load((schemas.CONTRACTS / "asyncapi.yaml").read_text(encoding="utf-8"))

    described = document["components"]["messages"][event.type]["bindings"]["kafka"]["key"]

    assert re.fullmatch(described["pattern"], event.key())


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_an_event_without_a_field_that_was_promised_is_refused_without_repeating_a_value(path: Path) -> None:
    headers, payload, _ = _sample(path)
    del payload["occurred_at"]
    payload["uai" if "uai" in payload else "origin_uai"] = "Camille MARTIN"

    with pytest.raises(UnreadableEventError, match="occurred_at: missing") as refused:
        Envelope.read(headers, json.dumps(payload).encode())

    assert "MARTIN" not in str(refused.value)


@pytest.mark.parametrize("missing", ["ce_id", "ce_type", "ce_source", "ce_time"])
def test_a_message_without_an_attribute_is_no_event(missing: str) -> None:
    headers, payload, _ = _sample(PUBLISHED[0])

    with pytest.raises(UnreadableEventError, match=f"{missing} is missing"):
        Envelope.read([header for header in headers if header[0] != missing], json.dumps(payload).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce_id", b"7"),
        ("ce_time", b"yesterday"),
        ("ce_time", b"2026-09-14T18:02:12"),
        ("ce_source", b"\xff"),
        ("ce_type", b"cpro.pupil.expelled.v1"),
    ],
)
def test_a_message_with_an_attribute_that_makes_no_sense_is_no_event(name: str, value: bytes) -> None:
    headers, payload, _ = _sample(PUBLISHED[0])

    with pytest.raises(UnreadableEventError):
        Envelope.read([(n, value if n == name else v) for n, v in headers], json.dumps(payload).encode())


@pytest.mark.parametrize("value", [None, b"", b"null", b"[]", b"{", b"\xff\xfe"])
def test_a_message_whose_body_is_no_event_is_refused(value: bytes | None) -> None:
    headers, _, _ = _sample(PUBLISHED[0])

    with pytest.raises(UnreadableEventError):
        Envelope.read(headers, value)


_UAIS = st.integers(0, 9_999_999).map(lambda number: f"{number:07d}{uai_key(number)}")
_TIMES = st.datetimes(timezones=st.just(UTC))
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    UUID: st.uuids(),
    str: st.text(min_size=1, max_size=200),
    int: st.integers(1, 2**63 - 1),
    bool: st.booleans(),
    AwareDatetime: _TIMES,
    NoneType: st.none(),
}


def _values(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    if name.endswith("uai"):
        return _UAIS if field.is_required() else st.none() | _UAIS
    if "time" in str(field.annotation):
        return _TIMES if field.is_required() else st.none() | _TIMES
    annotations: tuple[Any, ...] = get_args(field.annotation) or (field.annotation,)
    return st.one_of(*(_of_type(one) for one in annotations))


def _of_type(annotation: Any) -> st.SearchStrategy[Any]:
    if annotation in _BY_TYPE:
        return _BY_TYPE[annotation]
    if issubclass(annotation, BaseModel):
        return st.builds(annotation, **{name: _values(name, one) for name, one in annotation.model_fields.items()})
    return st.sampled_from(annotation)


def _events() -> st.SearchStrategy[Event]:
    return st.one_of(
        *(
            st.builds(model, **{name: _values(name, field) for name, field in model.model_fields.items()})
            for model in schemas.declared_events().values()
        )
    )


_TRACES = st.from_regex(r"\A00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\Z")


@given(st.builds(Envelope, st.uuids(), st.from_regex(r"\A/[a-z/-]+\Z"), _TIMES, _events(), st.none() | _TRACES))
def test_an_event_comes_back_from_its_message_as_it_was(envelope: Envelope) -> None:
    assert Envelope.read(envelope.headers(), envelope.payload()) == envelope
