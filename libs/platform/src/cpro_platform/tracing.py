"""One trace from the upload to the landing: the W3C trace context, carried by events and rows, read back by whoever
goes on from there.

What works off many things at once (a batch of messages, of outbox rows, of transfers) belongs to many traces. It opens
one span in each of them, so that each is whole, works in the first, and links them to each other: see `batch`.
"""

import atexit
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cpro_platform.config import TelemetrySettings

Attributes = Mapping[str, str | int | float | bool]
GoesOnAs = Callable[[str | None], str | None]
"""From the `traceparent` that something came with, to the one that it goes on with."""

DATABASE = {"db.system.name": "postgresql"}
STORE = {"peer.service": "object-store"}
KAFKA = {"messaging.system": "kafka"}

P = ParamSpec("P")
R = TypeVar("R")

_TRACER_NAME = "cpro"
_EXPORT_SECONDS = 5.0
_FAREWELL_SECONDS = 2.0
"""How long an ending process tries to hand over what it has not exported yet."""
_MOST_LINKS = 64
_propagator = TraceContextTextMapPropagator()


def configure(
    service_name: str, settings: TelemetrySettings | None = None, *, exporter: SpanExporter | None = None
) -> TracerProvider:
    """Make spans real in this process, exported to where the settings say; nowhere by default.

    Safe to repeat: several services in one process share the provider of the first, and its name.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=Resource.create({"service.name": service_name}), shutdown_on_exit=False)
        trace.set_tracer_provider(provider)
    if exporter is None and settings is not None and settings.otlp_endpoint is not None:
        exporter = _otlp_exporter(settings.otlp_endpoint)
    if exporter is not None:
        _export(provider, exporter)
    return provider


def current_traceparent() -> str | None:
    """The `traceparent` header of the span under way, or None where there is none."""
    return _traceparent_of(None)


def current_trace_id() -> str | None:
    """The trace id of the span under way (32 hexadecimal digits), or None where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def current_span_id() -> str | None:
    """The id of the span under way (16 hexadecimal digits), or None where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.span_id:016x}" if context.is_valid else None


def in_trace_of(traceparent: str | None) -> str | None:
    """What to tell of something that came with `traceparent`: the span under way where it is of that trace."""
    current = current_traceparent()
    same = traceparent is None or (current is not None and _trace_id(current) == _trace_id(traceparent))
    return current if same else traceparent


@contextmanager
def continued_from(traceparent: str | None) -> Iterator[None]:
    """Make spans opened inside children of `traceparent`. A missing or malformed one starts a new trace."""
    token = attach(_context_of(traceparent))
    try:
        yield
    finally:
        detach(token)


@contextmanager
def span(name: str, attributes: Attributes | None = None, *, kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
    """A span named `noun.verb`. Attributes hold ids, codes and counts: nothing that names a pupil.

    An error is recorded by the name of its class only: its message may hold a value that must not leave the process.
    """
    tracer = trace.get_tracer(_TRACER_NAME)
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def traced(
    name: str, attributes: Attributes | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Each call of what this decorates is a span: for what asks another server, of which `attributes` say the kind."""

    def decorate(work: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(work)
        async def within(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name, attributes, kind=SpanKind.CLIENT):
                return await work(*args, **kwargs)

        return within

    return decorate


@contextmanager
def batch(
    name: str,
    came_with: Iterable[str | None],
    attributes: Attributes | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Iterable[str] = (),
) -> Iterator[GoesOnAs]:
    """A span in the trace of each thing that is worked off at once; the work itself is in the first one's.

    The first links to the others (to so many of them), and each of them to the first; all link to `links`, which are
    traces that the work has to do with without being a part of them. Yields what each thing goes on with.
    """
    parents = list(dict.fromkeys(came_with)) or [None]
    tracer = trace.get_tracer(_TRACER_NAME)
    linked = [link for traceparent in dict.fromkeys(links) for link in _links_to(traceparent)][:_MOST_LINKS]
    own: dict[str | None, str | None] = {}
    with ExitStack() as opened:
        # The others are opened before the one that links to them, and need no more than to have been.
        first = tracer.start_span(name, _context_of(parents[0]), kind, attributes, linked)
        back = Link(first.get_span_context())
        for parent in parents[1:]:
            other = tracer.start_span(name, _context_of(parent), kind, attributes, [back, *linked])
            opened.callback(other.end)
            own[parent] = _traceparent_of(trace.set_span_in_context(other, Context()))
            if len(own) <= _MOST_LINKS:
                first.add_link(other.get_span_context())
        opened.enter_context(
            trace.use_span(first, end_on_exit=True, record_exception=False, set_status_on_exception=False)
        )
        own[parents[0]] = current_traceparent()
        try:
            yield lambda traceparent: own.get(traceparent, traceparent)
        except BaseException as error:
            first.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


def _export(provider: TracerProvider, exporter: SpanExporter) -> None:
    """From a thread of its own, which drops what it can't hold: whoever ends a span never waits for a collector."""
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)

    def say_farewell() -> None:
        leaving = threading.Thread(target=processor.shutdown, daemon=True, name="tracing-farewell")
        leaving.start()
        leaving.join(_FAREWELL_SECONDS)

    atexit.register(say_farewell)


def _otlp_exporter(endpoint: str) -> SpanExporter:
    # Only where it is wanted: it brings requests and protobuf along.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)


def _context_of(traceparent: str | None) -> Context:
    return _propagator.extract({"traceparent": traceparent} if traceparent else {}, Context())


def _traceparent_of(context: Context | None) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier.get("traceparent")


def _links_to(traceparent: str) -> list[Link]:
    context = trace.get_current_span(_context_of(traceparent)).get_span_context()
    return [Link(context)] if context.is_valid else []


def _trace_id(traceparent: str) -> str:
    return traceparent.split("-")[1]
