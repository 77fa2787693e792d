import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import structlog

from cpro_platform import logs
from cpro_platform.config import TelemetrySettings
from cpro_platform.errors import RetryableError
from cpro_platform.tracing import configure as configure_tracing
from cpro_platform.tracing import continued_from, current_traceparent, span

IMPORT_ID = "0b6d2c9e-12ab-4cde-9f01-123456789abc"


@contextmanager
def configured() -> Iterator[None]:
    """Inside the test itself: standard error is another stream while fixtures are made."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(TelemetrySettings(), service="test")
    try:
        yield
    finally:
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_event_service_level_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_tracing("test")
    with configured(), span("transfer.land"):
        logs.get_logger("cpro.x").info("transfer.landed", transfer_id="t-1", records=3)
        traceparent = current_traceparent()

    (line,) = lines_of(capsys)
    assert (line["event"], line["service"], line["level"], line["records"]) == ("transfer.landed", "test", "info", 3)
    assert traceparent is not None
    assert traceparent.split("-")[1:3] == [line["trace_id"], line["span_id"]]


def test_personal_fields_are_withheld_at_any_depth(capsys: pytest.CaptureFixture[str]) -> None:
    with configured():
        logs.get_logger("cpro.x").info(
            "pupil.read", ine="1234567890A", pupil={"first_name": "Camille", "rows": [{"birth_date": "2009-01-02"}]}
        )

    text = capsys.readouterr().err
    assert not any(value in text for value in ("1234567890A", "Camille", "2009-01-02"))
    assert json.loads(text)["ine"] == logs.WITHHELD


@pytest.mark.parametrize("ine", ["1234567890A", "123456789AB", "987654321ab"])
def test_an_ine_is_withheld_in_whatever_field_or_sentence_it_stands(
    capsys: pytest.CaptureFixture[str], ine: str
) -> None:
    with configured():
        logging.getLogger("library").warning("no pupil %s here", ine)
        logs.get_logger("cpro.x").info("pupil.read", found=[f"({ine})"], uai="0752387M", import_id=IMPORT_ID)

    first, second = lines_of(capsys)
    assert first["event"] == f"no pupil {logs.WITHHELD} here"
    assert second["found"] == [f"({logs.WITHHELD})"]
    assert (second["uai"], second["import_id"]) == ("0752387M", IMPORT_ID)


def test_an_exception_is_told_without_the_values_that_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        try:
            raise psycopg.errors.UniqueViolation("Key (ine)=(1234567890A) already exists")
        except psycopg.Error as error:
            raise RetryableError("the database") from error
    except RetryableError:
        with configured():
            logs.get_logger("cpro.x").exception("import.failed")

    text = capsys.readouterr().err
    assert "1234567890A" not in text
    chain = json.loads(text)["exception"]
    assert chain[0]["error"] == "RetryableError: the database"
    assert chain[1]["error"].startswith("UniqueViolation: 23505")
    assert "test_logs.py" in chain[0]["at"][0]


def test_the_logs_of_libraries_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    with configured():
        logging.getLogger("library").warning("connection to %s lost", "broker")

    (line,) = lines_of(capsys)
    assert (line["event"], line["logger"], line["service"]) == ("connection to broker lost", "library", "test")


def test_a_trace_goes_on_from_where_the_event_came() -> None:
    configure_tracing("test")
    with span("import.apply"):
        carried = current_traceparent()

    assert current_traceparent() is None
    assert carried is not None
    with continued_from(carried), span("transfer.join"):
        continued = current_traceparent()
    assert continued is not None
    assert continued != carried
    assert continued.split("-")[1] == carried.split("-")[1]
    with continued_from("not a traceparent"):
        assert current_traceparent() is None
