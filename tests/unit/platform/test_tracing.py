"""Spans are exported where a setting says, and a collector that is away keeps nobody waiting."""

import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cpro_platform import tracing
from cpro_platform.config import TelemetrySettings

# A process of its own: what it does at its end is part of the question.
WORKS = """
import sys, time
from cpro_platform import tracing
from cpro_platform.config import TelemetrySettings
tracing.configure("tests", TelemetrySettings(otlp_endpoint=sys.argv[1] or None))
started = time.perf_counter()
for _ in range(int(sys.argv[2])):
    with tracing.span("transfer.move", {"pupils": 3}):
        pass
print(time.perf_counter() - started)
"""
SPANS = 5_000
"""More than wait for a collector: some are dropped."""
ENOUGH_SECONDS = 7.0
"""The farewell takes 2; to import the exporter takes a while on a machine that is busy."""


def works(endpoint: str, spans: int) -> tuple[float, float]:
    """Seconds that so many spans took, and that the process took in all."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WORKS, endpoint, str(spans)], capture_output=True, check=True, timeout=60
    )
    return float(done.stdout), time.perf_counter() - started


class Collector(BaseHTTPRequestHandler):
    """Takes spans as an OpenTelemetry collector does."""

    taken: list[tuple[str, str]]

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        spans = [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
        self.taken.extend((self.path, span.name) for span in spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


def test_spans_go_to_the_collector_that_is_named_the_last_ones_at_the_end_of_the_process() -> None:
    Collector.taken = []
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        works(f"http://127.0.0.1:{server.server_port}", 3)
        server.shutdown()
        serving.join()

    assert Collector.taken == [("/v1/traces", "transfer.move")] * 3


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "takes connections and says nothing"])
def test_a_collector_that_is_away_slows_neither_the_work_nor_the_end_of_the_process(answers: bool) -> None:
    without, in_all_without = works("", SPANS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not answers:
            silent.close()
        with_one, in_all = works(f"http://127.0.0.1:{port}", SPANS)

    assert with_one < 5 * without + 1
    assert in_all - with_one < in_all_without - without + ENOUGH_SECONDS


def test_without_a_setting_nothing_is_exported() -> None:
    assert TelemetrySettings().otlp_endpoint is None


def test_a_batch_of_hundreds_of_traces_links_some_dozens_of_them() -> None:
    tracing.configure("tests")
    parents = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 301)]

    with tracing.batch("facts.take_in", [*parents, *parents]) as goes_on_as:
        own = [goes_on_as(parent) for parent in parents]

    assert [one.split("-")[1] for one in own if one] == [parent.split("-")[1] for parent in parents]
    assert len(set(own)) == 300


@pytest.mark.parametrize("parent", [None, "not a traceparent"])
def test_what_came_without_a_trace_begins_one(parent: str | None) -> None:
    tracing.configure("tests")

    with tracing.batch("facts.take_in", [parent]) as goes_on_as:
        assert goes_on_as(parent) == tracing.current_traceparent() is not None
