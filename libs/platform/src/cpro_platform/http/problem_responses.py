"""Every refusal as RFC 9457 `application/problem+json`: a stable code, French by default, English if asked for.

Only `RefusedError` decides what a caller is told. Anything unexpected is `internal_error`, with the id of the request
under which the logs say more, and nothing else.
"""

from collections.abc import Mapping, Sequence

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_platform.auth import MALFORMED_UAI
from cpro_platform.errors import RefusedError
from cpro_platform.http.declared_problems import MEDIA_TYPE, check_declared
from cpro_platform.http.languages import language_of
from cpro_platform.http.problem_page import type_of
from cpro_platform.http.validation_words import in_words
from cpro_platform.logs import get_logger, safe_text

RETRY_AFTER_SECONDS = 5

_log = get_logger(__name__)
_METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
_OF_STATUS = {
    404: problems.NOT_FOUND,
    405: problems.METHOD_NOT_ALLOWED,
    413: problems.PAYLOAD_TOO_LARGE,
    503: problems.UNAVAILABLE,
}


class FieldProblem(BaseModel):
    """Ce qui ne va pas dans un champ. `field` est son chemin : `address.postcode`, `query.limit`."""

    field: str
    code: str
    message: str


class Problem(BaseModel):
    """Une erreur (RFC 9457). `code` est stable ; selon lui, d'autres membres s'ajoutent."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "/docs/problems#forbidden",
                    "title": "Accès non autorisé",
                    "status": 403,
                    "detail": "Votre profil ne donne pas accès à cette ressource.",
                    "code": "forbidden",
                    "request_id": "5f0c7f0e6f5b4f0f9d3f5a1c2b3d4e5f",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str | None = None
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


def render(
    request: Request,
    code: ProblemCode,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, object] | None = None,
) -> JSONResponse:
    """The answer for a problem, in the language that the caller prefers."""
    check_declared(request, code)
    language = language_of(request.headers)
    body: dict[str, object] = {"type": type_of(code), "title": code.title(language), "status": code.status}
    if detail:
        body["detail"] = detail
    body["code"] = code.code
    if (request_id := request.scope.get("cpro.request_id")) is not None:
        body["request_id"] = request_id
    body.update(extensions or {})
    return JSONResponse(
        body,
        status_code=code.status,
        media_type=MEDIA_TYPE,
        headers={"Content-Language": language, "Vary": "Accept-Language", "Cache-Control": "no-store"}
        | dict(headers or {}),
    )


async def on_refused(request: Request, error: Exception) -> JSONResponse:
    """A refusal, as the handler worded it."""
    assert isinstance(error, RefusedError)
    english = language_of(request.headers) == "en"
    headers = {"WWW-Authenticate": _challenge(error.problem)} if error.problem.status == 401 else {}
    if (seconds := error.extensions.get("retry_after_seconds")) is not None:
        headers["Retry-After"] = str(seconds)
    extensions = {name: _in_language(value, english=english) for name, value in error.extensions.items()}
    detail = error.detail_en if english else error.detail_fr
    return render(request, error.problem, detail, headers=headers, extensions=extensions)


async def on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Every field that is wrong, at once, in words."""
    assert isinstance(error, RequestValidationError)
    language = language_of(request.headers)
    found = error.errors()
    if any(tuple(entry["loc"]) == ("path", "uai") for entry in found):
        return render(request, problems.INVALID_UAI, MALFORMED_UAI[language])
    fields = [
        {"field": _path_of(entry["loc"]), "code": entry["type"], "message": in_words(entry, language)}
        for entry in found
    ]
    return render(request, problems.INVALID_REQUEST, extensions={"errors": fields})


async def on_http_error(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: an unknown path or method, a body that can't be read or is too large."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, RefusedError):
        return await on_refused(request, error.__cause__)
    code = _OF_STATUS.get(error.status_code, problems.INVALID_REQUEST)
    headers = {"Allow": _allowed(request)} if code is problems.METHOD_NOT_ALLOWED else error.headers
    return render(request, code, headers=headers)


def _allowed(request: Request) -> str:
    """The methods of all routes with this path: the framework names those of the first only."""
    routes = request.app.routes
    return ", ".join(
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    )


async def on_unavailable(request: Request, error: Exception) -> JSONResponse:
    """Something that this service depends on is away: 503, and when to come back."""
    _log.warning("request.unavailable", error=safe_text(error))
    detail = (
        "Please try again in a moment."
        if language_of(request.headers) == "en"
        else "Veuillez réessayer dans quelques instants."
    )
    return render(request, problems.UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def too_large(request: Request) -> JSONResponse:
    """The answer to a body over the limit of its route."""
    return render(request, problems.PAYLOAD_TOO_LARGE)


def internal_error(request: Request) -> JSONResponse:
    """The answer to what nobody expected. It tells nothing but the request's id."""
    return render(request, problems.INTERNAL)


def _challenge(code: ProblemCode) -> str:
    return 'Bearer error="invalid_token"' if code is problems.TOKEN_INVALID else "Bearer"


def _path_of(location: Sequence[str | int]) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[0] == "body" and len(parts) > 1 else parts)


def _in_language(value: object, *, english: bool) -> object:
    """Keep, of the field problems that a handler made in two languages, the caller's."""
    if isinstance(value, list):
        return [_in_language(entry, english=english) for entry in value]
    if isinstance(value, dict) and "message_fr" in value:
        kept = {name: entry for name, entry in value.items() if name not in {"message_fr", "message_en"}}
        return kept | {"message": value.get("message_en" if english else "message_fr", value["message_fr"])}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return value
