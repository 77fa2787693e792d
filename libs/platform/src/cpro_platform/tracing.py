"""One trace from the upload to the landing: the W3C trace context, carried by events and read back by consumers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_TRACER_NAME = "cpro"
_propagator = TraceContextTextMapPropagator()


def configure(service_name: str, exporter: SpanExporter | None = None) -> TracerProvider:
    """Make spans real in this process, sent to `exporter` if there is one.

    Safe to repeat: several services in one process share the provider of the first, and its name.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
        trace.set_tracer_provider(provider)
    if exporter is not None:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def current_traceparent() -> str | None:
    """The `traceparent` header of the span under way, or None where there is none."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def current_trace_id() -> str | None:
    """The trace id of the span under way (32 hexadecimal digits), or None where there is none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


@contextmanager
def continued_from(traceparent: str | None) -> Iterator[None]:
    """Make spans opened inside children of `traceparent`. A missing or malformed one starts a new trace."""
    context = _propagator.extract({"traceparent": traceparent} if traceparent else {})
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


@contextmanager
def span(
    name: str, attributes: Mapping[str, str | int | float | bool] | None = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
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
