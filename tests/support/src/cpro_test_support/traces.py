"""The spans that the services of this process end, and how they hang together."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cpro_platform import tracing


@dataclass(frozen=True, slots=True)
class Traces:
    """What was traced since `listening` began."""

    exporter: InMemorySpanExporter

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Every span that has ended, in the order of their beginnings."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str, **attributes: object) -> list[ReadableSpan]:
        """Those of this name with these attributes."""
        return [
            span
            for span in self.spans
            if span.name == name and attributes.items() <= dict(span.attributes or {}).items()
        ]

    def of(self, trace_id: int) -> list[ReadableSpan]:
        """Those of one trace."""
        return [span for span in self.spans if span.context.trace_id == trace_id]

    def tree(self, trace_id: int) -> list[str]:
        """One trace: a line a span, indented under its parent, siblings in the order of their beginnings.

        A relay publishes beside what goes on: `outbox.publish` stands before its siblings, whenever it was its turn.
        """
        spans = self.of(trace_id)
        known = {span.context.span_id for span in spans}
        children: dict[int | None, list[ReadableSpan]] = {}
        for span in spans:
            parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
            children.setdefault(parent, []).append(span)

        def lines(parent: int | None, depth: int) -> Iterator[str]:
            for span in sorted(children.get(parent, []), key=lambda span: span.name != "outbox.publish"):
                yield "  " * depth + span.name
                yield from lines(span.context.span_id, depth + 1)

        return list(lines(None, 0))


def linked_traces(span: ReadableSpan) -> set[int]:
    """The traces that a span links to."""
    return {link.context.trace_id for link in span.links}


@contextmanager
def listening() -> Iterator[Traces]:
    """Listens inside the block. What ends later is nobody's."""
    exporter = InMemorySpanExporter()
    tracing.configure("tests").add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield Traces(exporter)
    finally:
        exporter.shutdown()
