"""Structured logs: one JSON object a line, events named `noun.verb`, with their trace and no personal data.

Fields that name a person are withheld by their name, and what was withheld is said. The text of an exception is kept
only where its class is known to hold no values of rows: PostgreSQL quotes the offending values in its details.
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO, cast

import psycopg
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from cpro_platform.config import TelemetrySettings
from cpro_platform.tracing import current_span_id, current_trace_id

WITHHELD = "[withheld]"
PERSONAL_FIELDS = frozenset(
    {
        "ine", "siecle_id", "school_number",
        "name", "family_name", "usage_name", "first_name", "other_first_names", "head", "collected_by",
        "birth_date", "born", "sex", "address", "email", "telephone", "phone",
        "password", "secret", "token", "authorization", "conninfo", "access_key", "secret_key",
    }
)  # fmt: skip
"""Fields that never reach a log, whoever passes them."""

_INE = re.compile(r"(?<![0-9A-Za-z])(?:\d{10}[A-Za-z]|\d{9}[A-Za-z]{2})(?![0-9A-Za-z])")
_TALKATIVE = ("httpx", "httpcore", "urllib3", "aiokafka")
"""Libraries that tell every request: their warnings are enough."""

_EventDict = MutableMapping[str, Any]
_TEXT_IS_SAFE = (OSError, TimeoutError, psycopg.OperationalError, psycopg.ProgrammingError)


def configure(settings: TelemetrySettings, *, service: str, stream: TextIO | None = None) -> None:
    """Send the logs of this process, those of libraries included, to `stream` (standard error) as the settings say."""

    def say_service(_logger: object, _method: str, event: _EventDict) -> _EventDict:
        event.setdefault("service", service)
        return event

    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        say_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace_id,
        describe_exception,
        withhold_personal_fields,
    ]
    render: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # A line that can't be written must not be replaced by the traceback under way, whose texts nobody has cleaned.
    logging.raiseExceptions = False
    root.setLevel(settings.log_level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> FilteringBoundLogger:
    """The logger of a module: `logger.info("transfer.landed", transfer_id=…)`."""
    return cast(FilteringBoundLogger, structlog.stdlib.get_logger(name))


def add_trace_id(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Say which trace the event belongs to, so that one search finds it from the upload to the landing."""
    trace_id = current_trace_id()
    if trace_id is not None:
        event["trace_id"] = trace_id
        event["span_id"] = current_span_id()
    return event


def withhold_personal_fields(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Replace the values of `PERSONAL_FIELDS`, and what looks like an INE, at any depth of mappings and lists.

    The fields stay, so that it is seen.
    """
    for field, value in event.items():
        event[field] = WITHHELD if field.lower() in PERSONAL_FIELDS else _cleaned(value)
    return event


def describe_exception(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Replace `exc_info` by the chain of errors: class, text where it is safe, and where it was raised."""
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised if isinstance(raised, BaseException) else raised[1] if isinstance(raised, tuple) else None
    if error is not None:
        event["exception"] = _described(error)
    return event


def safe_text(error: BaseException) -> str:
    """What can be logged of an error: its class, and its text where that holds no values of rows or messages."""
    name = type(error).__name__
    if type(error).__module__.startswith("cpro_") or isinstance(error, _TEXT_IS_SAFE):
        return f"{name}: {error}"
    if isinstance(error, psycopg.Error):
        return f"{name}: {error.sqlstate} {error.diag.constraint_name or ''}".rstrip()
    return name


def _cleaned(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            key: WITHHELD if str(key).lower() in PERSONAL_FIELDS else _cleaned(nested) for key, nested in value.items()
        }
    if isinstance(value, list | tuple):
        return [_cleaned(nested) for nested in value]
    # Whatever field or sentence it got into: nothing else that we log has the form of an INE.
    return _INE.sub(WITHHELD, value) if isinstance(value, str) else value


def _described(error: BaseException) -> list[dict[str, object]]:
    chain: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 10:
        frames = traceback.extract_tb(current.__traceback__)
        chain.append(
            {"error": safe_text(current), "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]}
        )
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain
