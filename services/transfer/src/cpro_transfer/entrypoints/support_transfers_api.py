"""Support's routes over transfers: look, retry, cancel, undo. No pupil is named here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cpro_contracts import problems
from cpro_contracts.transfers import Reason
from cpro_platform.auth import Principal, Role, Support, checked_uai
from cpro_platform.errors import RefusedError
from cpro_platform.http import IDEMPOTENCY, Language, Links, Once, Page, documented, encode_cursor, read_cursor
from cpro_transfer.bootstrap import Service
from cpro_transfer.domain.sentences import sentence
from cpro_transfer.domain.support import Order
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.entrypoints.dependencies import Cursor, Limit, Wired
from cpro_transfer.entrypoints.support_problems import (
    NOT_CANCELLABLE,
    NOT_RETRYABLE,
    UNDO_REFUSED,
    UNDO_UNDER_WAY,
    as_problems,
)
from cpro_transfer.entrypoints.tickets import Ticket
from cpro_transfer.refusals import TICKET_MALFORMED

router = APIRouter(prefix="/v1/support/transfers", tags=["support"])
_ACTING = (problems.NOT_FOUND, TICKET_MALFORMED, *IDEMPOTENCY)


class SupportAct(BaseModel):
    """Ce que l'assistance demande, et à quel titre."""

    ticket: Ticket
    dry_run: bool = Field(
        strict=True, default=False, description="Dire ce qui serait fait ou refusé, sans rien changer"
    )


class SchoolOut(BaseModel):
    """Un établissement et l'élève, tel qu'il l'y désigne."""

    uai: str
    name: str | None = None
    pupil_id: UUID


class SupportTransferOut(BaseModel):
    """Un transfert, vu de l'assistance."""

    id: UUID
    state: TransferState
    reason: Reason | None
    explanation: str | None
    origin: SchoolOut
    destination: SchoolOut | None
    planned_at: datetime
    since: datetime = Field(description="Depuis quand il en est ainsi")
    tried_again_at: datetime | None
    completed_at: datetime | None
    records: int | None
    undoes: UUID | None = Field(description="Le transfert que celui-ci défait")
    ticket: str | None = Field(description="Le ticket sous lequel il le défait")

    @classmethod
    def of(cls, transfer: Transfer, names: dict[str, str], language: str) -> Self:
        """The transfer, with the names of its schools where their sheets have one."""
        there, arrival = transfer.destination_uai, transfer.destination_pupil_id
        return cls(
            id=transfer.id,
            state=transfer.state,
            reason=transfer.reason,
            explanation=sentence(transfer.reason, language) if transfer.reason else None,
            origin=SchoolOut(
                uai=transfer.origin_uai, name=names.get(transfer.origin_uai), pupil_id=transfer.origin_pupil_id
            ),
            destination=SchoolOut(uai=there, name=names.get(there), pupil_id=arrival) if there and arrival else None,
            planned_at=transfer.planned_at,
            since=transfer.standing_since,
            tried_again_at=transfer.tried_again_at,
            completed_at=transfer.completed_at,
            records=transfer.records,
            undoes=transfer.undoes,
            ticket=transfer.ticket,
        )


@router.get("", summary="Tous les transferts, du plus récent au plus ancien")
async def list_transfers(
    service: Wired,
    links: Links,
    language: Language,
    _: Support,
    status: TransferState | None = None,
    uai: Annotated[str | None, Query(description="Seulement ceux de cet établissement")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[SupportTransferOut]:
    after = read_cursor(cursor, datetime.fromisoformat, UUID)
    of = None if uai is None else checked_uai(uai)
    found = await service.desk.page(state=status, uai=of, after=after, limit=limit + 1)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return links.page(
        items=await _shown(service, language, page),
        next_cursor=encode_cursor(last.planned_at.isoformat(), str(last.id)) if last else None,
    )


@router.get("/{transfer_id}", summary="Un transfert", responses=documented(problems.NOT_FOUND))
async def read_transfer(transfer_id: UUID, service: Wired, language: Language, _: Support) -> SupportTransferOut:
    return await _one(service, language, await service.desk.find(transfer_id))


@router.post("/{transfer_id}/retry", summary="Essayer tout de suite un transfert retenu ou reporté",
             response_model=SupportTransferOut,
             responses=documented(*_ACTING, NOT_RETRYABLE))  # fmt: skip
async def retry(
    transfer_id: UUID, act: SupportAct, service: Wired, language: Language, principal: Support, once: Once
) -> Response:

    async def acted() -> SupportTransferOut:
        with as_problems(NOT_RETRYABLE):
            found = await service.support.retry(transfer_id, _order(principal, act), dry_run=act.dry_run)
        return await _one(service, language, found)

    return await once(acted, by=principal)


@router.post("/{transfer_id}/cancel", summary="Annuler un transfert qui n'est pas encore arrivé",
             response_model=SupportTransferOut,
             responses=documented(*_ACTING, NOT_CANCELLABLE))  # fmt: skip
async def cancel(
    transfer_id: UUID, act: SupportAct, service: Wired, language: Language, principal: Support, once: Once
) -> Response:
    """Les mêmes faits ne l'appelleront plus ; un fait nouveau, si. Aux mains d'un déplacement, il s'arrête dès que
    possible : son état le dit.
    """

    async def acted() -> SupportTransferOut:
        with as_problems(NOT_CANCELLABLE):
            found = await service.support.cancel(transfer_id, _order(principal, act), dry_run=act.dry_run)
        return await _one(service, language, found)

    return await once(acted, by=principal)


@router.post("/{transfer_id}/undo", status_code=202, summary="Défaire un transfert terminé",
             response_model=SupportTransferOut,
             responses=documented(*_ACTING, problems.ESTABLISHMENT_UNKNOWN, UNDO_REFUSED, UNDO_UNDER_WAY))  # fmt: skip
async def undo(
    transfer_id: UUID, act: SupportAct, service: Wired, language: Language, principal: Support, once: Once
) -> Response:
    """Le retour est lui-même un transfert : c'est lui qui est répondu. Il ramène exactement les données du reçu, et est
    refusé (`touched`) si l'établissement d'accueil y a touché depuis.
    """

    async def acted() -> SupportTransferOut:
        with as_problems(UNDO_UNDER_WAY):
            found = await service.support.undo(transfer_id, _order(principal, act), dry_run=act.dry_run)
        return await _one(service, language, found)

    return await once(acted, by=principal, status=202)


def _order(principal: Principal, act: SupportAct) -> Order:
    return Order(principal.subject, Role.SUPPORT, act.ticket)


async def _one(service: Service, language: str, transfer: Transfer | None) -> SupportTransferOut:
    if transfer is None:
        raise RefusedError(problems.NOT_FOUND, "Ce transfert n'existe pas.", "There is no such transfer.")
    return (await _shown(service, language, [transfer]))[0]


async def _shown(service: Service, language: str, transfers: Sequence[Transfer]) -> list[SupportTransferOut]:
    uais = {side for t in transfers for side in (t.origin_uai, t.destination_uai) if side}
    names = await service.queries.names_of(sorted(uais))
    return [SupportTransferOut.of(transfer, names, language) for transfer in transfers]
