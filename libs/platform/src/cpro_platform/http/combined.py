"""Several services on one port: each keeps its own application, the paths decide which one answers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cpro_platform.config import HttpSettings
from cpro_platform.http.docs_page import docs_routes
from cpro_platform.http.problem_page import problems_route
from cpro_platform.http.security_headers import SecurityHeaders
from cpro_platform.metrics import CONTENT_TYPE

TITLE = "CPro transfers"
_SCHEMAS = "#/components/schemas/"


def combine(apps: Sequence[FastAPI], *, title: str = TITLE, http: HttpSettings | None = None) -> ASGIApp:
    """One ASGI application of several: their routes, one `/openapi.json` and `/docs`, one `/readyz` for all.

    Its lifespan runs theirs, in order, and ends them in reverse.

    Raises:
        ValueError: two services declare the same path and method.
    """
    document = merged_document(apps, title=title)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    async def livez(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def readyz(_request: Request) -> Response:
        found = {
            f"{app.title}: {name}": missing
            for app in apps
            for name, missing in (await app.state.readiness.look()).items()
        }
        answer = {
            "ready": not found,
            "missing": {name: missing.reason for name, missing in found.items()},
            "since": {name: missing.since.isoformat() for name, missing in found.items()},
        }
        return JSONResponse(answer, status_code=503 if found else 200)

    async def metrics(_request: Request) -> Response:
        shared = list({id(app.state.metrics): app.state.metrics for app in apps}.values())
        return PlainTextResponse(b"".join(one.render() for one in shared), headers={"Content-Type": CONTENT_TYPE})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for app in apps:
                await running.enter_async_context(app.router.lifespan_context(app))
            yield

    own = [
        Route("/openapi.json", openapi),
        *docs_routes(openapi_url="/openapi.json", title=title),
        problems_route({code: guidance for app in apps for code, guidance in app.state.book.problems.items()}),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    front = Starlette(routes=own, lifespan=lifespan)
    return SecurityHeaders(_Switch(front, {route.path for route in own}, apps), settings=http or HttpSettings())


class _Switch:
    """Sends a request to the first application with a route for it; to the first of all if there is none."""

    def __init__(self, front: Starlette, front_paths: set[str], apps: Sequence[FastAPI]) -> None:
        self._front = front
        self._front_paths = front_paths
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._chosen(scope)(scope, receive, send)

    def _chosen(self, scope: Scope) -> ASGIApp:
        if scope["type"] != "http" or scope["path"] in self._front_paths:
            return self._front
        partial: ASGIApp | None = None
        for app in self._apps:
            match = _best_match(app, scope)
            if match is Match.FULL:
                return app
            if match is Match.PARTIAL and partial is None:
                partial = app  # the path is known, the method is not: this one says 405
        return partial or self._apps[0]


def _best_match(app: FastAPI, scope: Scope) -> Match:
    # Routing leaves notes in the scope; looking must not.
    found = [route.matches(dict(scope, fastapi={}))[0] for route in app.router.routes]
    return max(found, key=lambda match: match.value, default=Match.NONE)


def merged_document(apps: Sequence[FastAPI], *, title: str = TITLE) -> dict[str, Any]:
    """One OpenAPI document of several services.

    Raises:
        ValueError: two services declare the same path and method.
    """
    documents = [app.openapi() for app in apps]
    merged: dict[str, Any] = {
        "openapi": documents[0]["openapi"],
        "info": {
            "title": title,
            "version": documents[0]["info"]["version"],
            "description": " ".join(filter(None, (document["info"].get("description") for document in documents))),
        },
        "paths": {},
        "components": {},
        "tags": [tag for document in documents for tag in document.get("tags", [])],
    }
    for document in documents:
        own = _without_clashes(document, merged["components"].get("schemas", {}))
        for path, operations in own["paths"].items():
            known = merged["paths"].setdefault(path, {})
            if known.keys() & operations.keys():
                raise ValueError(f"two services declare {path}")
            known.update(operations)
        for kind, entries in own.get("components", {}).items():
            merged["components"].setdefault(kind, {}).update(entries)
    return merged


def _without_clashes(document: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The document with those schemas renamed whose name another service gave to something else."""
    service = document["info"]["title"].rsplit(" ", 1)[-1].replace("-", "_")
    renamed: dict[str, str] = {}
    own = document
    # Renaming one changes those that refer to it, which may then clash themselves.
    while clashes := [
        name
        for name, schema in own.get("components", {}).get("schemas", {}).items()
        if _SCHEMAS + name not in renamed and known.get(name, schema) != schema
    ]:
        renamed |= {_SCHEMAS + name: f"{_SCHEMAS}{name}_{service}" for name in clashes}
        own = _with_references(document, renamed)
    own_schemas = own.get("components", {}).get("schemas", {})
    for name, new_name in renamed.items():
        own_schemas[new_name.removeprefix(_SCHEMAS)] = own_schemas.pop(name.removeprefix(_SCHEMAS))
    return own


def _with_references(node: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _with_references(value, renamed) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_references(value, renamed) for value in node]
    return renamed.get(node, node) if isinstance(node, str) else node
