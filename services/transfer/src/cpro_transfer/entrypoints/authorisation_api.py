"""The list of transferable pupils, and the authorisations of their establishment: decode, ask, encode."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf, Principal, Role
from cpro_platform.errors import RefusedError
from cpro_platform.http import IDEMPOTENCY, Language, Links, Once, Page, UaiPath, documented, encode_cursor, read_cursor
from cpro_transfer import refusals
from cpro_transfer.domain.support import Order
from cpro_transfer.entrypoints.authorisation_models import (
    AuthorisationIn,
    AuthorisationOut,
    AuthorisationsIn,
    OutcomeOut,
    OutcomesOut,
    TransferablePupilOut,
    transferable_out,
)
from cpro_transfer.entrypoints.dependencies import Cursor, Limit, Wired, explained, known_establishment
from cpro_transfer.ports.reading import PupilOrder

router = APIRouter(
    prefix="/v1/establishments/{uai}", tags=["transfers"], responses=documented(problems.ESTABLISHMENT_UNKNOWN)
)
Search = Annotated[
    str, Query(max_length=100, description="Mots à retrouver dans les noms et prénoms, sans égard aux accents")
]


@router.get("/transferable-pupils", summary="Liste des élèves transférables (non automatisable)")
async def list_transferable_pupils(
    uai: UaiPath,
    service: Wired,
    links: Links,
    language: Language,
    _: AdministratorOf,
    search: Search = "",
    order: PupilOrder = PupilOrder.NAME,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[TransferablePupilOut]:
    after = read_cursor(cursor, str, str, str, str, UUID)
    if after and after[0] != order:
        raise RefusedError(
            problems.INVALID_REQUEST,
            "Le curseur est celui d'une liste dans un autre ordre.",
            "The cursor is one of a list in another order.",
        )
    position = after[1:] if after else None
    with known_establishment():
        found = await service.former_pupils.page(uai, order=order, search=search, after=position, limit=limit + 1)
    page = found[:limit]
    ids = [pupil.pupil_id for pupil in page]
    situations = await service.queries.situations(uai, ids)
    latest = await service.authorisations.latest(uai, ids)
    names = await service.queries.names_of(sorted({one.terms.destination_uai for one in latest.values()}))
    explanations = {pupil_id: explained(service, uai, situation) for pupil_id, situation in situations.items()}
    now, last = service.clock.now(), page[-1] if len(found) > limit else None
    return links.page(
        items=[
            transferable_out(
                pupil, explanations.get(pupil.pupil_id), latest.get(pupil.pupil_id),
                names=names, now=now, language=language,
            )
            for pupil in page
        ],
        next_cursor=encode_cursor(order, last.leading, last.family_name, last.first_name, str(last.pupil_id))
        if last
        else None,
    )  # fmt: skip


@router.put(
    "/transfer-authorisations/{pupil_id}",
    summary="Autoriser le transfert d'un élève, ou modifier cette autorisation",
    response_model=AuthorisationOut,
    responses=documented(*refusals.ALL_OF_TERMS, *IDEMPOTENCY)
    | {status.HTTP_201_CREATED: {"model": AuthorisationOut, "description": "Une autorisation nouvelle"}},
)
async def authorise(
    uai: UaiPath,
    pupil_id: UUID,
    given: AuthorisationIn,
    service: Wired,
    caller: AdministratorOf,
    once: Once,
) -> Response:
    """Peut être répété. Une modification retire l'autorisation précédente et en enregistre une nouvelle.

    Envoyez une `Idempotency-Key` : une répétition tardive ne redonne pas une autorisation retirée entre-temps.
    """
    codes: list[int] = []

    async def act() -> AuthorisationOut:
        with known_establishment():
            recorded = await service.authoriser.authorise(uai, pupil_id, given.terms(), _order(caller))
        codes.append(status.HTTP_201_CREATED if recorded.anew else status.HTTP_200_OK)
        return AuthorisationOut.of(recorded.authorisation, service.clock.now())

    return await once(act, by=caller, status=lambda _: codes[-1])


@router.post(
    "/transfer-authorisations",
    summary="Autoriser le transfert de plusieurs élèves, chacun pour soi",
    response_model=OutcomesOut,
    responses=documented(*IDEMPOTENCY),
)
async def authorise_several(
    uai: UaiPath, given: AuthorisationsIn, service: Wired, language: Language, caller: AdministratorOf, once: Once
) -> Response:
    """Peut être répété : ce qui est déjà enregistré le reste. Un refus n'empêche pas les autres.

    Envoyez une `Idempotency-Key` : une répétition tardive ne redonne pas une autorisation retirée entre-temps.
    """

    async def act() -> OutcomesOut:
        asked = [(one.pupil_id, one.readable_terms()) for one in given.authorisations]
        with known_establishment():
            outcomes = await service.authoriser.authorise_several(uai, asked, _order(caller))
        now = service.clock.now()
        return OutcomesOut(
            outcomes=[
                OutcomeOut.of(pupil_id, outcome, now=now, language=language)
                for (pupil_id, _), outcome in zip(asked, outcomes, strict=True)
            ]
        )

    return await once(act, by=caller)


@router.delete(
    "/transfer-authorisations/{pupil_id}",
    summary="Retirer l'autorisation de transfert d'un élève",
    responses=documented(problems.NOT_FOUND, refusals.AUTHORISATION_BEGUN),
)
async def revoke(uai: UaiPath, pupil_id: UUID, service: Wired, caller: AdministratorOf) -> AuthorisationOut:
    """Acceptée, plus rien ne sera transféré à ce titre ; refusée (409), le transfert a commencé."""
    with known_establishment():
        revoked = await service.authoriser.revoke(uai, pupil_id, _order(caller))
    return AuthorisationOut.of(revoked, service.clock.now())


def _order(caller: Principal) -> Order:
    return Order(caller.subject, Role.ADMINISTRATOR)
