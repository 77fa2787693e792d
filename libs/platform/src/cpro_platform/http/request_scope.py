"""What surrounds every request: its id and trace, its line in the log, its time, and the net under it."""

import re
import time
from uuid import uuid4

import structlog
from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cpro_contracts import problems
from cpro_platform import tracing
from cpro_platform.http import problem_responses
from cpro_platform.logs import get_logger
from cpro_platform.metrics import Metrics
from cpro_platform.transience import is_transient

# It is logged and answered. A UUID or a trace's id fits; a name, which somebody could write there, does not.
_REQUEST_ID = re.compile(r"[0-9a-f-]{8,64}", re.IGNORECASE)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_QUIET = {"/livez", "/readyz", "/metrics"}
_log = get_logger(__name__)


class RequestScope:
    """ASGI middleware, outside of all that answers."""

    def __init__(self, app: ASGIApp, *, service: str, metrics: Metrics) -> None:
        self._app = app
        self._service = service
        self._seconds = metrics.histogram(
            "cpro_http_request_duration_seconds",
            "Time from the request's head to the end of the answer",
            ["service", "method", "route", "status"],
        )
        self._in_flight = metrics.gauge(
            "cpro_http_requests_in_flight", "Requests that are being answered", ["service"]
        ).labels(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _id_of(headers)
        scope["cpro.request_id"] = request_id
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id, service=self._service),
            tracing.continued_from(headers.get("traceparent")),
            self._in_flight.track_inprogress(),
            tracing.span("request.handle", {"http.request.method": scope["method"]}, kind=SpanKind.SERVER) as span,
        ):
            status, seconds = await self._answer(scope, receive, send, request_id)
            route = getattr(scope.get("route"), "path", "unmatched")
            span.set_attributes({"http.route": route, "http.response.status_code": status})
            # Callers may call a method what they like; a label may not be what callers like.
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._seconds.labels(self._service, method, route, str(status)).observe(seconds)
            log = _log.debug if scope["path"] in _QUIET else _log.info
            # The template of the route, not its path; and never the query: they may hold what is looked for.
            log(
                "request.handled",
                method=scope["method"],
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 1),
            )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> tuple[int, float]:
        started = time.perf_counter()
        status = 0
        request = Request(scope, receive)
        replaced = False

        async def send_once(message: Message) -> None:
            """Pass the answer on, except the plain text with which the framework refuses a body that is too large."""
            nonlocal replaced
            if _is_plain_refusal(message):
                replaced = True
                await problem_responses.too_large(request)(scope, receive, send_with_id)
            elif not replaced:
                await send_with_id(message)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(scope=message)
                added["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_once)
        except Exception as error:
            if status:
                # The head is gone: only breaking the connection still tells the caller that the answer is not whole.
                _log.exception("request.broken_off")
                raise
            if is_transient(error):
                response = await problem_responses.on_unavailable(request, error)
            else:
                _log.exception("request.failed")
                response = problem_responses.internal_error(request)
            await response(scope, receive, send_with_id)
        return status, time.perf_counter() - started


def _is_plain_refusal(message: Message) -> bool:
    if message["type"] != "http.response.start" or message["status"] != problems.PAYLOAD_TOO_LARGE.status:
        return False
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")


def _id_of(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid4().hex
