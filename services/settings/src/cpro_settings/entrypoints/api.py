"""The HTTP API: decode, call one handler, encode."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Response

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf, PlatformOrAdministrator
from cpro_platform.http import (
    IfMatch,
    IfNoneMatch,
    Links,
    Page,
    UaiPath,
    create_app,
    decode_cursor,
    documented,
    encode_cursor,
    is_not_modified,
    require_match,
)
from cpro_settings.bootstrap import Service
from cpro_settings.domain.sheet import Overtaken, StoredSheet
from cpro_settings.entrypoints import notification_api, opt_in_api
from cpro_settings.entrypoints.book import BOOK
from cpro_settings.entrypoints.models import (
    ChangeOut,
    OvertakenOut,
    SheetIn,
    SheetOut,
)
from cpro_settings.entrypoints.wiring import Wired
from cpro_settings.errors import INVALID_SHEET
from cpro_settings.handlers import establishments as handlers

_UNKNOWN = documented(problems.ESTABLISHMENT_UNKNOWN)

router = APIRouter(prefix="/v1/establishments/{uai}", tags=["settings"])


def create(service: Service) -> FastAPI:
    """The service's application. Its lifespan opens and closes the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    return create_app(
        title="CPro settings",
        service="settings",
        routers=[router, opt_in_api.router, notification_api.router],
        authenticator=service.authenticator,
        readiness=service.readiness,
        metrics=service.metrics,
        book=BOOK,
        http=service.config.http,
        lifespan=lifespan,
        state={"service": service},
    )


@router.get("", response_model=SheetOut, responses=_UNKNOWN | {304: {"description": "La fiche n'a pas changé"}})
async def read_sheet(
    _: PlatformOrAdministrator, uai: UaiPath, service: Wired, response: Response, if_none_match: IfNoneMatch = None
) -> SheetOut | Response:
    """La fiche de l'établissement, ce à quoi elle suffit déjà et ce qui y manque."""
    stored = await handlers.read_sheet(uai, establishments=service.establishments, sheets=service.sheets)
    headers = {"ETag": _etag(stored), "Cache-Control": "private, no-cache"}
    if is_not_modified(if_none_match, _etag(stored)):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return SheetOut.of(stored)


@router.put(
    "",
    responses=documented(
        problems.ESTABLISHMENT_UNKNOWN,
        problems.PRECONDITION_FAILED,
        problems.PRECONDITION_REQUIRED,
        problems.INVALID_REQUEST,
        problems.INVALID_UAI,
        INVALID_SHEET,
    ),
)
async def save_sheet(
    *,
    principal: AdministratorOf,
    uai: UaiPath,
    body: SheetIn,
    service: Wired,
    response: Response,
    if_match: IfMatch = None,
) -> SheetOut:
    """Remplace la fiche. `If-Match` porte l'ETag de la version lue ; un champ vide ou absent est effacé.

    Si elle a changé entre-temps (412), `changes` dit quels champs : la valeur lue, l'actuelle, qui l'a modifiée et
    quand ; `null` quand la version annoncée n'a jamais existé.
    """

    def check_version(current: StoredSheet, overtaken: Sequence[Overtaken] | None) -> None:
        told = None if overtaken is None else [OvertakenOut.of(one).model_dump(mode="json") for one in overtaken]
        require_match(if_match, _etag(current), changes=told)

    stored = await handlers.save_sheet(
        uai,
        body.typed(),
        by=principal.subject,
        read_version=_version_of(if_match),
        check_version=check_version,
        establishments=service.establishments,
        sheets=service.sheets,
        clock=service.clock,
    )
    response.headers["ETag"] = _etag(stored)
    return SheetOut.of(stored)


@router.get("/history", responses=_UNKNOWN)
async def read_history(
    _: AdministratorOf,
    uai: UaiPath,
    service: Wired,
    links: Links,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[ChangeOut]:
    """Les modifications de la fiche, de la plus récente à la plus ancienne : qui, quand, quoi."""
    position = decode_cursor(cursor, types=(int,))
    found = await handlers.read_history(
        uai,
        before_version=int(position[0]) if position else None,
        limit=limit + 1,
        establishments=service.establishments,
        sheets=service.sheets,
    )
    page = found[:limit]
    return links.page(
        items=[ChangeOut.of(change) for change in page],
        next_cursor=encode_cursor(page[-1].version) if len(found) > limit else None,
    )


def _etag(stored: StoredSheet) -> str:
    return f'"{stored.version}"'


def _version_of(if_match: str | None) -> int | None:
    """The version that an ETag of ours stands for. No other has that form."""
    ours = re.fullmatch(r'\s*"([0-9]{1,18})"\s*', if_match or "", re.ASCII)
    return int(ours[1]) if ours else None
