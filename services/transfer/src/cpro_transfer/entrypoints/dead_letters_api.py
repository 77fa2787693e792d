"""What could not be handled, and what support does about it."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Response

from cpro_contracts import problems
from cpro_platform.auth import Support
from cpro_platform.errors import RefusedError
from cpro_platform.http import IDEMPOTENCY, Links, Once, Page, documented, encode_cursor, read_cursor
from cpro_transfer.domain.dead_letters import LetterState, Settling
from cpro_transfer.entrypoints.dead_letter_models import (
    LetterCountOut,
    LetterDiscardIn,
    LetterInFull,
    LetterOut,
    LetterReplayIn,
    SettledOut,
)
from cpro_transfer.entrypoints.dependencies import Cursor, Limit, SupportOrOperations, Wired
from cpro_transfer.handlers.dead_letters import LETTER_SETTLED, LETTER_UNKNOWN
from cpro_transfer.refusals import TICKET_MALFORMED

router = APIRouter(prefix="/v1/support/dead-letters", tags=["support"])


@router.get("", summary="Les messages qui n'ont pas pu être traités, du plus récent au plus ancien")
async def list_letters(
    service: Wired,
    links: Links,
    _: SupportOrOperations,
    *,
    topic: str | None = None,
    cause: str | None = None,
    state: LetterState | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[LetterOut]:
    found = await service.letters.page(
        topic=topic, cause=cause, state=state, after=read_cursor(cursor, datetime.fromisoformat, UUID), limit=limit + 1
    )
    page = found[:limit]
    return links.page(
        items=[LetterOut.of(letter) for letter in page],
        next_cursor=encode_cursor(page[-1].set_aside_at.isoformat(), str(page[-1].id)) if len(found) > limit else None,
    )


@router.get("/counts", summary="Combien de messages, par sujet, cause et état")
async def count_letters(service: Wired, _: SupportOrOperations) -> list[LetterCountOut]:
    return [LetterCountOut.of(count) for count in await service.letters.counts()]


@router.post(
    "/replay",
    summary="Remettre des messages sur leur sujet, tels quels",
    response_model=SettledOut,
    responses=documented(LETTER_UNKNOWN, LETTER_SETTLED, TICKET_MALFORMED, *IDEMPOTENCY),
)
async def replay_letters(asked: LetterReplayIn, service: Wired, principal: Support, once: Once) -> Response:
    """Chacun une fois. Par sujet et cause, 500 au plus à la fois : `left` dit combien attendent encore."""

    async def act() -> SettledOut:
        desk = service.letter_desk
        if asked.dry_run:
            return SettledOut.of(await desk.preview(asked.choice()), dry_run=True)
        settling = Settling(principal.subject, asked.ticket, asked.request_id)
        return SettledOut.of(await desk.replay(asked.choice(), settling), dry_run=False)

    return await once(act, by=principal)


@router.post(
    "/discard",
    summary="Écarter des messages, avec un motif",
    response_model=SettledOut,
    responses=documented(LETTER_UNKNOWN, LETTER_SETTLED, TICKET_MALFORMED, *IDEMPOTENCY),
)
async def discard_letters(asked: LetterDiscardIn, service: Wired, principal: Support, once: Once) -> Response:
    """Ils restent consultables, sur leur sujet et ici, aussi longtemps que les autres."""

    async def act() -> SettledOut:
        desk = service.letter_desk
        if asked.dry_run:
            return SettledOut.of(await desk.preview(asked.choice()), dry_run=True)
        settling = Settling(principal.subject, asked.ticket, asked.request_id, asked.reason)
        return SettledOut.of(await desk.discard(asked.choice(), settling), dry_run=False)

    return await once(act, by=principal)


@router.get(
    # A UUID only: `replay` and `discard` are no letters, and have no GET.
    "/{letter_id:uuid}",
    summary="Un message, avec ses en-têtes et son contenu",
    responses=documented(problems.NOT_FOUND),
)
async def read_letter(letter_id: UUID, service: Wired, _: SupportOrOperations) -> LetterInFull:
    found = await service.letters.find([letter_id])
    if not found:
        raise RefusedError(problems.NOT_FOUND, "Ce message n'existe pas.", "There is no such letter.")
    return LetterInFull.of(found[0])
