"""Replays of what establishments have published: counted, then started, then followed."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from cpro_contracts import problems
from cpro_platform.auth import Support
from cpro_platform.http import Links, Page, decode_cursor, documented, encode_cursor, read_cursor
from cpro_transfer.entrypoints.dependencies import Cursor, SupportOrOperations, Wired
from cpro_transfer.entrypoints.event_replay_models import EventReplayIn, EventReplayOut, SchoolReplayOut
from cpro_transfer.handlers.replaying_events import REPLAY_MISCHOSEN, REPLAY_STATE, REPLAY_UNKNOWN
from cpro_transfer.refusals import TICKET_MALFORMED

router = APIRouter(prefix="/v1/support/event-replays", tags=["support"])


@router.post(
    "",
    status_code=202,
    summary="Compter les événements à publier de nouveau",
    responses=documented(REPLAY_MISCHOSEN, problems.ESTABLISHMENT_UNKNOWN, TICKET_MALFORMED),
)
async def ask_for_replay(asked: EventReplayIn, service: Wired, principal: Support) -> EventReplayOut:
    """Rien n'est publié avant `start`."""
    replay = await service.replay_desk.ask(
        asked.id, asked.selection(), rate=asked.events_per_second, ticket=asked.ticket, by=principal.subject
    )
    return EventReplayOut.of(replay)


@router.get("", summary="Les rejeux, du plus récent au plus ancien")
async def list_replays(
    service: Wired,
    links: Links,
    _: SupportOrOperations,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Page[EventReplayOut]:
    found = await service.event_replays.page(read_cursor(cursor, datetime.fromisoformat, UUID), limit + 1)
    page = found[:limit]
    return links.page(
        items=[EventReplayOut.of(replay) for replay in page],
        next_cursor=encode_cursor(page[-1].requested_at.isoformat(), str(page[-1].id)) if len(found) > limit else None,
    )


@router.get("/{replay_id}", summary="Un rejeu et où il en est", responses=documented(REPLAY_UNKNOWN))
async def read_replay(replay_id: UUID, service: Wired, _: SupportOrOperations) -> EventReplayOut:
    return EventReplayOut.of(await service.replay_desk.find(replay_id))


@router.get(
    "/{replay_id}/establishments", summary="La part de chaque établissement", responses=documented(REPLAY_UNKNOWN)
)
async def list_schools_of_replay(
    replay_id: UUID,
    service: Wired,
    links: Links,
    _: SupportOrOperations,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Page[SchoolReplayOut]:
    (after,) = decode_cursor(cursor, types=[str]) or ("",)
    await service.replay_desk.find(replay_id)
    found = await service.event_replays.schools(replay_id, str(after), limit + 1)
    page = found[:limit]
    return links.page(
        items=[SchoolReplayOut.of(school) for school in page],
        next_cursor=encode_cursor(page[-1].uai) if len(found) > limit else None,
    )


@router.post("/{replay_id}/start", summary="Lancer un rejeu compté", responses=documented(REPLAY_UNKNOWN, REPLAY_STATE))
async def start_replay(replay_id: UUID, service: Wired, principal: Support) -> EventReplayOut:
    return EventReplayOut.of(await service.replay_desk.start(replay_id, principal.subject))


@router.post("/{replay_id}/cancel", summary="Arrêter un rejeu", responses=documented(REPLAY_UNKNOWN, REPLAY_STATE))
async def cancel_replay(replay_id: UUID, service: Wired, principal: Support) -> EventReplayOut:
    """Ce qui est publié le reste."""
    return EventReplayOut.of(await service.replay_desk.cancel(replay_id, principal.subject))
