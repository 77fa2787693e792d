"""Support's authorisations: the queue, the candidates, and carrying them out. Every answer names pupils or schools."""

import asyncio
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from cpro_contracts import problems
from cpro_contracts.transfers import Reason
from cpro_platform.auth import Support
from cpro_platform.errors import RetryableError
from cpro_platform.http import Links, Page, documented, encode_cursor, read_cursor
from cpro_platform.logs import get_logger
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer import refusals
from cpro_transfer.bootstrap import Service
from cpro_transfer.domain.authorisations import Authorisation
from cpro_transfer.entrypoints.dependencies import Cursor, Wired, known_establishment
from cpro_transfer.entrypoints.replay_models import (
    CandidatesOut,
    ReplayIn,
    ReplayOut,
    WaitingAuthorisationOut,
    candidates_out,
    replay_out,
    waiting_out,
)

router = APIRouter(prefix="/v1/support", tags=["support"])
QueueLimit = Annotated[int, Query(ge=1, le=100, description="De chaque autorisation, deux bases sont interrogées")]
_AT_A_TIME = 8

_log = get_logger(__name__)


@router.get("/authorisations", summary="Les autorisations à exécuter, les plus anciennes d'abord")
async def list_authorisations(
    service: Wired, links: Links, _: Support, cursor: Cursor = None, limit: QueueLimit = 25
) -> Page[WaitingAuthorisationOut]:
    after = read_cursor(cursor, datetime.fromisoformat, UUID)
    found = await service.authorisations.queue(after=after, limit=limit + 1)
    page, now = found[:limit], service.clock.now()
    turns = asyncio.Semaphore(_AT_A_TIME)
    missing = await asyncio.gather(*(_missing(service, one, turns) for one in page))
    names = await _names(service, *page)
    last = page[-1] if len(found) > limit else None
    return links.page(
        items=[waiting_out(one, what, names=names, now=now) for one, what in zip(page, missing, strict=True)],
        next_cursor=encode_cursor(last.recorded_at.isoformat(), str(last.id)) if last else None,
    )


@router.get(
    "/authorisations/{authorisation_id}/candidates",
    summary="Les élèves de l'établissement d'accueil qui peuvent être celui de l'autorisation",
    responses=documented(problems.NOT_FOUND, problems.ESTABLISHMENT_UNKNOWN),
)
async def list_candidates(authorisation_id: UUID, service: Wired, caller: Support) -> CandidatesOut:
    with known_establishment():
        found = await service.replayer.candidates(authorisation_id)
    _log.info("authorisation.candidates_read", authorisation=str(authorisation_id), by=caller.subject)
    return candidates_out(found, await _names(service, found.authorisation))


@router.post(
    "/replays",
    summary="Exécuter une autorisation, sous un ticket",
    responses=documented(*refusals.ALL_OF_REPLAYS, problems.ESTABLISHMENT_UNKNOWN),
)
async def replay(asked: ReplayIn, service: Wired, caller: Support) -> ReplayOut:
    """Peut être répété avec le même ticket et le même choix. À blanc sauf demande contraire."""
    with known_establishment():
        found = await service.replayer.replay(
            asked.authorisation_id,
            pupil_id=asked.pupil_id,
            ticket=asked.ticket,
            by=caller.subject,
            dry_run=asked.dry_run,
        )
    if found.done:
        _log.info(
            "authorisation.replayed",
            authorisation=str(asked.authorisation_id),
            ticket=asked.ticket,
            by=caller.subject,
            creates_pupil=asked.create,
        )
    names = await _names(service, found.authorisation)
    return replay_out(found, asked, names=names, now=service.clock.now())


async def _missing(service: Service, one: Authorisation, turns: asyncio.Semaphore) -> list[str]:
    """What is missing; a database that is away keeps nobody from the rest of the queue."""
    async with turns:
        try:
            return await service.replayer.what_is_missing(one)
        except (RetryableError, TenantUnknownError):
            return [Reason.TENANT_UNAVAILABLE]


async def _names(service: Service, *found: Authorisation) -> dict[str, str]:
    uais = {uai for one in found for uai in (one.origin_uai, one.terms.destination_uai)}
    return await service.queries.names_of(sorted(uais))
