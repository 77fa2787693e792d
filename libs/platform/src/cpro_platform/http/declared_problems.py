"""Which problems each route may answer: what the route, its router and the border declare, taken together.

FastAPI lets a route's responses replace those of its router status by status, so that a route with one 404 of its own
would lose the other. Here nothing is lost, and a problem that a route answers without declaring it is a warning: the
contract is wrong then. Tests take warnings for errors, so every test of a route is a test of its contract as well.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode

MEDIA_TYPE = "application/problem+json"
ALWAYS_POSSIBLE = (
    problems.UNAUTHENTICATED,
    problems.TOKEN_INVALID,
    problems.FORBIDDEN,
    problems.TOO_MANY_REQUESTS,
    problems.UNAVAILABLE,
    problems.INTERNAL,
)
_SCHEMA_REFERENCE = {"$ref": "#/components/schemas/Problem"}


class UndeclaredProblemWarning(UserWarning):
    """A route has answered a problem that its OpenAPI operation doesn't name."""


class ProblemResponse(dict[str, Any]):
    """The OpenAPI response of one status, which remembers the codes that it stands for."""

    def __init__(self, codes: tuple[ProblemCode, ...]) -> None:
        self.codes = codes
        super().__init__(
            description=" · ".join(f"{code.title_fr} (`{code.code}`)" for code in codes),
            content={
                MEDIA_TYPE: {
                    "schema": _SCHEMA_REFERENCE,
                    "examples": {code.code: {"$ref": f"#/components/examples/{code.code}"} for code in codes},
                }
            },
        )


def documented(*codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer these problems, for OpenAPI."""
    by_status: dict[int, list[ProblemCode]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(code.status, []).append(code)
    return {status: ProblemResponse(tuple(by_status[status])) for status in sorted(by_status)}


def codes_in(responses: Mapping[int | str, Any]) -> tuple[ProblemCode, ...]:
    """The codes that these responses of a route stand for."""
    return tuple(code for one in responses.values() if isinstance(one, ProblemResponse) for code in one.codes)


def declare_problems(router: APIRouter) -> None:
    """Complete the responses of each route by what its router and the border may answer. Safe to repeat."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            codes = (*codes_in(route.responses), *codes_in(router.responses), *_of_the_border(route))
            others = {status: one for status, one in route.responses.items() if not isinstance(one, ProblemResponse)}
            route.responses = others | documented(*codes)


def check_declared(request: Request, code: ProblemCode) -> None:
    """Warn of a problem that the route of the request doesn't declare."""
    if code is problems.METHOD_NOT_ALLOWED:
        return  # the route found is that of another method
    route = request.scope.get("route")
    if isinstance(route, APIRoute) and route.include_in_schema and code not in codes_in(route.responses):
        warnings.warn(f"{route.path} answers {code.code}", UndeclaredProblemWarning, stacklevel=2)


def _of_the_border(route: APIRoute) -> Iterator[ProblemCode]:
    yield from ALWAYS_POSSIBLE
    names = {field.alias for field in _parameters(route.dependant)}
    if "uai" in names or "{uai}" in route.path:
        yield problems.INVALID_UAI
    if names - {"uai"} or route.body_field is not None or "requestBody" in (route.openapi_extra or {}):
        yield problems.INVALID_REQUEST
    if (route.methods or set()) - {"GET", "HEAD"}:
        # A body that is announced as too large is refused whether the route reads one or not.
        yield problems.PAYLOAD_TOO_LARGE


def _parameters(dependant: Dependant) -> Iterator[Any]:
    yield from dependant.path_params
    yield from dependant.query_params
    yield from dependant.header_params
    for nested in dependant.dependencies:
        yield from _parameters(nested)
