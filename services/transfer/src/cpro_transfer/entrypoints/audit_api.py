"""The audit trail: who did what to which pupil's transfer, when, under which ticket. No name is in it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from cpro_contracts import problems
from cpro_platform.auth import Principal, Role, Support, any_of
from cpro_platform.http import Links, Page, UaiPath, decode_cursor, documented, encode_cursor
from cpro_transfer.adapters.audit_trail import AuditLine
from cpro_transfer.entrypoints.dependencies import Cursor, Limit, Wired

router = APIRouter(prefix="/v1", tags=["audit"])

AdministratorOrSupport = Annotated[Principal, Depends(any_of(Role.ADMINISTRATOR, Role.SUPPORT))]


class AuditOut(BaseModel):
    """Un acte."""

    occurred_at: datetime
    actor: str | None = Field(
        description="L'identifiant de la personne, tel que son jeton le dit ; rien de qui est de l'autre établissement"
    )
    role: str
    action: str = Field(examples=["transfer.undo_asked"])
    ticket: str | None
    transfer_id: UUID | None
    subject_id: UUID | None = Field(description="Une autorisation, un rejeu, un message écarté")
    facts: dict[str, Any]


class OwnAuditOut(AuditOut):
    """Un acte, vu d'un établissement : son propre élève, et rien de l'autre."""

    pupil_id: UUID | None

    @classmethod
    def of(cls, uai: str, line: AuditLine) -> Self:
        """The line as this establishment may see it."""
        at_origin = line.origin_uai == uai
        own = line.origin_pupil_id if at_origin else line.destination_pupil_id
        # What an administrator does, the origin's does.
        another_schools = line.role == Role.ADMINISTRATOR and not at_origin
        shown = _common(line) | ({"actor": None} if another_schools else {})
        return cls(**shown, pupil_id=own)


class FullAuditOut(AuditOut):
    """Un acte, vu de l'assistance."""

    origin_uai: str | None
    origin_pupil_id: UUID | None
    destination_uai: str | None
    destination_pupil_id: UUID | None

    @classmethod
    def of(cls, line: AuditLine) -> Self:
        """The whole line."""
        sides = ("origin_uai", "origin_pupil_id", "destination_uai", "destination_pupil_id")
        return cls(**_common(line), **{name: getattr(line, name) for name in sides})


@router.get("/establishments/{uai}/audit", summary="Ce qui a été fait des transferts de l'établissement",
            responses=documented(problems.INVALID_UAI))  # fmt: skip
async def list_own(
    uai: UaiPath, service: Wired, links: Links, _: AdministratorOrSupport, cursor: Cursor = None, limit: Limit = 50
) -> Page[OwnAuditOut]:
    found = await service.audit.page(uai=uai, before=_before(cursor), limit=limit + 1)
    page, following = _cut(found, limit)
    return links.page(items=[OwnAuditOut.of(uai, line) for line in page], next_cursor=following)


@router.get("/support/audit", summary="Tout ce qui a été fait, du plus récent au plus ancien")
async def list_all(
    service: Wired,
    links: Links,
    _: Support,
    transfer_id: Annotated[UUID | None, Query(description="Seulement de ce transfert")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[FullAuditOut]:
    found = await service.audit.page(transfer_id=transfer_id, before=_before(cursor), limit=limit + 1)
    page, following = _cut(found, limit)
    return links.page(items=[FullAuditOut.of(line) for line in page], next_cursor=following)


def _common(line: AuditLine) -> dict[str, Any]:
    return {name: getattr(line, name) for name in AuditOut.model_fields}


def _before(cursor: str | None) -> int | None:
    (position,) = decode_cursor(cursor, types=[int]) or (None,)
    return int(str(position)) if position is not None else None


def _cut(found: Sequence[AuditLine], limit: int) -> tuple[Sequence[AuditLine], str | None]:
    page = found[:limit]
    return page, encode_cursor(page[-1].position) if len(found) > limit else None
