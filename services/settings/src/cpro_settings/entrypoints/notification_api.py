"""The HTTP API of notifications by e-mail: decode, call one handler, encode."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf
from cpro_platform.http import (
    IfMatch,
    Links,
    Page,
    UaiPath,
    documented,
    encode_cursor,
    read_cursor,
    require_match,
)
from cpro_settings.domain.notifications import Preference, Standing
from cpro_settings.entrypoints.notification_models import (
    NotificationOut,
    NotificationSettingsIn,
    NotificationSettingsOut,
)
from cpro_settings.entrypoints.wiring import Wired
from cpro_settings.errors import NO_EMAIL_ADDRESS
from cpro_settings.handlers import notifying

router = APIRouter(prefix="/v1/establishments/{uai}", tags=["notifications"])


@router.get(
    "/notification-settings",
    response_model=NotificationSettingsOut,
    responses=documented(problems.ESTABLISHMENT_UNKNOWN),
)
async def read_notification_settings(
    _: AdministratorOf, uai: UaiPath, service: Wired, response: Response
) -> NotificationSettingsOut:
    """Si l'établissement est averti par courriel des transferts terminés, et ce qui l'empêche."""
    standing = await notifying.read_preference(
        uai, establishments=service.establishments, preferences=service.preferences
    )
    # The ETag is that of the choice. The rest of the answer changes by itself, so it is never "not modified".
    response.headers.update({"ETag": _etag(standing.preference), "Cache-Control": "private, no-store"})
    return NotificationSettingsOut.of(standing)


@router.put(
    "/notification-settings",
    responses=documented(
        problems.ESTABLISHMENT_UNKNOWN,
        problems.PRECONDITION_FAILED,
        problems.PRECONDITION_REQUIRED,
        problems.INVALID_REQUEST,
        problems.INVALID_UAI,
        NO_EMAIL_ADDRESS,
    ),
)
async def choose_notification_settings(
    *,
    principal: AdministratorOf,
    uai: UaiPath,
    body: NotificationSettingsIn,
    service: Wired,
    response: Response,
    if_match: IfMatch = None,
) -> NotificationSettingsOut:
    """Active ou désactive les avis par courriel : au plus un par jour, sans nom d'élève."""

    def check_version(current: Preference) -> None:
        require_match(if_match, _etag(current))

    standing: Standing = await notifying.choose_preference(
        uai,
        enabled=body.enabled,
        by=principal.subject,
        check_version=check_version,
        establishments=service.establishments,
        preferences=service.preferences,
        clock=service.clock,
    )
    response.headers["ETag"] = _etag(standing.preference)
    return NotificationSettingsOut.of(standing)


@router.get("/notifications", responses=documented(problems.ESTABLISHMENT_UNKNOWN))
async def read_notifications(
    *,
    _: AdministratorOf,
    uai: UaiPath,
    service: Wired,
    links: Links,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[NotificationOut]:
    """Les avis par courriel, du plus récent au plus ancien : envoyés, refusés ou en attente, et pourquoi."""
    found = await notifying.read_mails(
        uai,
        before=read_cursor(cursor, datetime.fromisoformat, UUID),
        limit=limit + 1,
        establishments=service.establishments,
        preferences=service.preferences,
    )
    page = found[:limit]
    return links.page(
        items=[NotificationOut.of(report) for report in page],
        next_cursor=encode_cursor(page[-1].formed_at.isoformat(), str(page[-1].id)) if len(found) > limit else None,
    )


def _etag(preference: Preference) -> str:
    return f'"{preference.version}"'
