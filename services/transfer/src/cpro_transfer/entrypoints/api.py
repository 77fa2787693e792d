"""The HTTP API: decode, ask, encode."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, FastAPI

from cpro_contracts import problems
from cpro_contracts.transfers import Reason
from cpro_platform.auth import AdministratorOf
from cpro_platform.errors import RefusedError, RetryableError
from cpro_platform.http import Language, Links, Page, UaiPath, create_app, documented, encode_cursor, read_cursor
from cpro_platform.logs import get_logger
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError
from cpro_transfer.bootstrap import Service
from cpro_transfer.domain.explanation import Direction, OwnPupil, explain_unannounced
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.entrypoints import (
    audit_api,
    authorisation_api,
    consumers_api,
    dead_letters_api,
    event_replays_api,
    outlook_api,
    replay_api,
    subjects_api,
    support_api,
    support_transfers_api,
)
from cpro_transfer.entrypoints.authorisation_models import with_authorisation
from cpro_transfer.entrypoints.book import BOOK
from cpro_transfer.entrypoints.dependencies import Cursor, Limit, Wired, explained, known_establishment
from cpro_transfer.entrypoints.models import (
    ExplanationOut,
    ReceiptOut,
    ReceiptsOut,
    TransferOut,
    TransferWithReceipts,
    explanation_out,
    transfer_out,
)
from cpro_transfer.ports.reading import Receipt, Receipts

_log = get_logger(__name__)

router = APIRouter(
    prefix="/v1/establishments/{uai}", tags=["transfers"], responses=documented(problems.ESTABLISHMENT_UNKNOWN)
)


def create(service: Service) -> FastAPI:
    """The service's application. Its lifespan opens and closes the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    return create_app(
        title="CPro transfers",
        service="transfer",
        routers=[
            router,
            authorisation_api.router,
            outlook_api.router,
            support_api.router,
            replay_api.router,
            support_transfers_api.router,
            audit_api.router,
            dead_letters_api.router,
            event_replays_api.router,
            consumers_api.router,
            subjects_api.router,
        ],
        authenticator=service.authenticator,
        readiness=service.readiness,
        metrics=service.metrics,
        book=BOOK,
        http=service.config.http,
        lifespan=lifespan,
        state={"service": service, "kept_answers": service.kept_answers},
    )


@router.get("/transfers", summary="Les transferts de l'établissement, du plus récent au plus ancien")
async def list_transfers(
    uai: UaiPath,
    service: Wired,
    links: Links,
    language: Language,
    _: AdministratorOf,
    direction: Direction,
    status: TransferState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[TransferOut]:
    position: Any = read_cursor(cursor, datetime.fromisoformat, UUID)
    found = await service.queries.transfers_of(uai, direction, state=status, after=position, limit=limit + 1)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return links.page(
        items=await _in_words(service, uai, page, language),
        next_cursor=encode_cursor(last.planned_at.isoformat(), str(last.id)) if last else None,
    )


@router.get("/transfers/{transfer_id}", summary="Un transfert, avec les deux reçus",
            responses=documented(problems.NOT_FOUND))  # fmt: skip
async def read_transfer(
    uai: UaiPath, transfer_id: UUID, service: Wired, language: Language, _: AdministratorOf
) -> TransferWithReceipts:
    transfer = await service.queries.transfer_of(uai, transfer_id)
    if transfer is None:
        raise RefusedError(problems.NOT_FOUND, "Ce transfert n'existe pas.", "There is no such transfer.")
    receipts = await _receipts(service, uai, transfer)
    missing = _missing(transfer, receipts)
    if missing is not None:
        transfer = replace(transfer, reason=Reason.LANDING_LOST)
    (summary,) = await _in_words(service, uai, [transfer], language)
    shown = ReceiptsOut(
        outgoing=ReceiptOut.of(receipts.outgoing, own=uai == transfer.origin_uai) if receipts.outgoing else None,
        incoming=ReceiptOut.of(receipts.incoming, own=uai == transfer.destination_uai) if receipts.incoming else None,
    )
    return TransferWithReceipts(**summary.model_dump(), receipts=shown, missing=missing)


@router.get("/pupils/{pupil_id}/transfer-explanation", summary="Pourquoi les données d'un élève attendent",
            responses=documented(problems.NOT_FOUND))  # fmt: skip
async def explain_pupil(
    uai: UaiPath, pupil_id: UUID, service: Wired, language: Language, _: AdministratorOf
) -> ExplanationOut:
    situations = await service.queries.situations(uai, [pupil_id])
    situation = situations.get(pupil_id)
    own = await _own(service, uai, pupil_id, needed=situation is None)
    if situation is not None and not (own and own.revision > situation.revision_at(uai)):
        latest = (await service.authorisations.latest(uai, [pupil_id])).get(pupil_id)
        explanation = with_authorisation(explained(service, uai, situation), latest, now=service.clock.now())
        names = situation.names
    elif own is not None:
        explanation, names = explain_unannounced(own), {}
    else:
        raise RefusedError(
            problems.NOT_FOUND, "Cet établissement n'a pas cet élève.", "This establishment has no such pupil."
        )
    return explanation_out(pupil_id, explanation, names=names, language=language)


async def _own(service: Service, uai: str, pupil_id: UUID, *, needed: bool) -> OwnPupil | None:
    """The pupil as the establishment has them: where it is away, what the join knows has to do, if anything."""
    try:
        with known_establishment():
            return await service.pupils.own(uai, pupil_id)
    except (RetryableError, RefusedError):
        if needed:
            raise
        return None


async def _in_words(service: Service, uai: str, transfers: Sequence[Transfer], language: str) -> list[TransferOut]:
    pupil_ids = [t.origin_pupil_id if t.origin_uai == uai else t.destination_pupil_id for t in transfers]
    with known_establishment():
        pupils = await service.pupils.names(uai, [pupil_id for pupil_id in pupil_ids if pupil_id])
    uais = {side for t in transfers for side in (t.origin_uai, t.destination_uai) if side}
    names = await service.queries.names_of(sorted(uais))
    return [transfer_out(uai, transfer, pupils=pupils, names=names, language=language) for transfer in transfers]


async def _receipts(service: Service, uai: str, transfer: Transfer) -> Receipts:
    """Both receipts, as far as they are there and can be read: the other establishment may be away."""
    sides = {"outgoing": transfer.origin_uai, "incoming": transfer.destination_uai}
    found: dict[str, Receipt | None] = {}
    unread = False
    for direction, side in sides.items():
        try:
            found[direction] = await service.pupils.receipt(side, transfer.id, direction) if side else None
        except (TenantUnavailableError, TenantUnknownError):
            if side == uai:
                raise
            found[direction], unread = None, True
    return Receipts(found["outgoing"], found["incoming"], unread=unread)


def _missing(transfer: Transfer, receipts: Receipts) -> dict[str, int] | None:
    """What the origin can prove to have sent, where the destination does not know of it any more."""
    if receipts.outgoing is None or receipts.incoming is not None or receipts.unread:
        return None
    if transfer.state is TransferState.UNDONE:
        return None
    missing = {name: int(table["count"]) for name, table in receipts.outgoing.tables.items()}
    _log.error("transfer.landing_lost", transfers=[str(transfer.id)], missing=missing)
    return missing
