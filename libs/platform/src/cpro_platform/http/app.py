"""A service's application, with everything that the border needs around its routers."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from cpro_contracts.identifiers import Uai
from cpro_platform.auth import Authenticator
from cpro_platform.config import HttpSettings
from cpro_platform.errors import RefusedError, RetryableError
from cpro_platform.http import problem_responses
from cpro_platform.http.access import declare_access
from cpro_platform.http.api_book import ApiBook
from cpro_platform.http.declared_problems import declare_problems
from cpro_platform.http.docs_page import docs_routes
from cpro_platform.http.openapi_document import API_VERSION, extend_document
from cpro_platform.http.problem_page import problems_route
from cpro_platform.http.request_scope import RequestScope
from cpro_platform.http.security_headers import SecurityHeaders
from cpro_platform.metrics import CONTENT_TYPE, Metrics
from cpro_platform.rate_limits import RateLimiter
from cpro_platform.readiness import Readiness

MAX_BODY_BYTES = 1024 * 1024
"""The largest body of a route that does not set its own `max_body_size`."""

UaiPath = Annotated[Uai, Path(description="Code UAI de l'établissement", examples=["0752387M"])]

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class _Live(BaseModel):
    live: bool = True


class _Ready(BaseModel):
    ready: bool
    missing: dict[str, str]
    since: dict[str, datetime]


def create_app(
    *,
    title: str,
    service: str,
    routers: Sequence[APIRouter],
    authenticator: Authenticator,
    readiness: Readiness,
    metrics: Metrics | None = None,
    lifespan: Lifespan | None = None,
    book: ApiBook | None = None,
    state: Mapping[str, object] | None = None,
    http: HttpSettings | None = None,
) -> FastAPI:
    """The application of a service: its routers, problem+json for every error, `/livez`, `/readyz`, `/metrics`.

    `service` names it in logs and metrics; what is in `state` is found by the routes in `request.app.state`; `book`
    says in the OpenAPI document what the code does not.

    Raises:
        UnguardedRouteError: a route of the routers depends on no `AccessRule`.
    """
    http = http or HttpSettings()
    metrics = metrics or Metrics()
    book = book or ApiBook()
    app = FastAPI(
        title=title,
        version=API_VERSION,
        description=book.description,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Ours are in `request_scope`, and hold no exception texts.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.authenticator = authenticator
    app.state.rate_limiter = RateLimiter(http.rate_limits)
    app.state.readiness = readiness
    app.state.metrics = metrics
    app.state.book = book
    for name, value in (state or {}).items():
        setattr(app.state, name, value)
    for router in routers:
        declare_access(router)
        declare_problems(router)
        app.include_router(router, max_body_size=MAX_BODY_BYTES)
    app.include_router(operations_router(readiness, metrics))
    app.router.routes.extend([*docs_routes(openapi_url="/openapi.json", title=title), problems_route(book.problems)])
    _handle_errors(app)
    if http.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=http.cors_origins,
            allow_methods=["GET", "PUT", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"],
            expose_headers=["Content-Language", "ETag", "Link", "Location", "Retry-After", "X-Request-Id"],
        )
    app.add_middleware(RequestScope, service=service, metrics=metrics)
    app.add_middleware(SecurityHeaders, settings=http)
    extend_document(app, book, problem_responses.Problem)
    return app


def operations_router(readiness: Readiness, metrics: Metrics) -> APIRouter:
    """What the platform that runs the process asks. Open: it is not reachable from outside, and names no one."""
    router = APIRouter(tags=["operations"], include_in_schema=False)

    @router.get("/livez")
    async def livez() -> _Live:
        return _Live()

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        found = await readiness.look()
        answer = _Ready(
            ready=not found,
            missing={name: missing.reason for name, missing in found.items()},
            since={name: missing.since for name, missing in found.items()},
        )
        return JSONResponse(answer.model_dump(mode="json"), status_code=503 if found else 200)

    @router.get("/metrics")
    async def render_metrics() -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return router


def _handle_errors(app: FastAPI) -> None:
    app.add_exception_handler(RefusedError, problem_responses.on_refused)
    app.add_exception_handler(RetryableError, problem_responses.on_unavailable)
    app.add_exception_handler(RequestValidationError, problem_responses.on_invalid_request)
    app.add_exception_handler(HTTPException, problem_responses.on_http_error)
