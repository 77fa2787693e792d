"""The HTTP API: decode, call one handler, encode."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Response

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf, PlatformOrAdministrator
from cpro_platform.http import (
    IfMatch,
    IfNoneMatch,
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
from cpro_settings.domain.sheet import StoredSheet
from cpro_settings.entrypoints import notification_api
from cpro_settings.entrypoints.models import ChangeOut, SheetIn, SheetOut, TransferSettingsIn, TransferSettingsOut
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
        routers=[router, notification_api.router],
        authenticator=service.authenticator,
        readiness=service.readiness,
        metrics=service.metrics,
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
    """Remplace la fiche. `If-Match` porte l'ETag de la version lue ; un champ vide ou absent est effacé."""

    def check_version(current: StoredSheet) -> None:
        require_match(if_match, _etag(current))

    stored = await handlers.save_sheet(
        uai,
        body.typed(),
        by=principal.subject,
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
    return Page(
        items=[ChangeOut.of(change) for change in page],
        next_cursor=encode_cursor(page[-1].version) if len(found) > limit else None,
    )


@router.get("/transfer-settings", responses=_UNKNOWN)
async def read_transfer_settings(_: AdministratorOf, uai: UaiPath, service: Wired) -> TransferSettingsOut:
    """Si l'établissement participe au transfert des données, et comment il tient sa base élèves."""
    return TransferSettingsOut.of(await handlers.read_opt_in(uai, opt_ins=service.opt_ins))


@router.put("/transfer-settings", responses=_UNKNOWN)
async def choose_transfer_settings(
    principal: AdministratorOf, uai: UaiPath, body: TransferSettingsIn, service: Wired
) -> TransferSettingsOut:
    """Active ou désactive le transfert des données. Renvoyer le même choix ne change rien."""
    chosen = await handlers.choose_opt_in(
        uai, body.choice(), by=principal.subject, opt_ins=service.opt_ins, clock=service.clock
    )
    return TransferSettingsOut.of(chosen)


def _etag(stored: StoredSheet) -> str:
    return f'"{stored.version}"'
