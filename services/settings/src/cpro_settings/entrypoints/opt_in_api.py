"""The opt-in on HTTP: the choice, its conditions, its history, and its effect before and after it is made."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security.utils import get_authorization_scheme_param

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf
from cpro_platform.http import Language, Links, Page, UaiPath, decode_cursor, documented, encode_cursor
from cpro_settings.entrypoints.opt_in_models import (
    ConditionsOut,
    EffectOut,
    OptInEntryOut,
    TransferSettingsIn,
    TransferSettingsOut,
)
from cpro_settings.entrypoints.wiring import Wired
from cpro_settings.errors import CONDITIONS_NOT_ACCEPTED, CONDITIONS_OUTDATED
from cpro_settings.handlers import opting_in as handlers

router = APIRouter(
    prefix="/v1/establishments/{uai}/transfer-settings",
    tags=["settings"],
    responses=documented(problems.ESTABLISHMENT_UNKNOWN),
)


def _token(request: Request) -> str:
    """The caller's token, which was checked before."""
    return get_authorization_scheme_param(request.headers.get("Authorization"))[1]


Token = Annotated[str, Depends(_token)]


@router.get("")
async def read_transfer_settings(_: AdministratorOf, uai: UaiPath, service: Wired) -> TransferSettingsOut:
    """Si l'établissement participe au transfert des données, et comment il tient sa base élèves."""
    return TransferSettingsOut.of(await handlers.read_opt_in(uai, opt_ins=service.opt_ins))


@router.put("", responses=documented(problems.INVALID_REQUEST, CONDITIONS_NOT_ACCEPTED, CONDITIONS_OUTDATED))
async def choose_transfer_settings(
    principal: AdministratorOf, uai: UaiPath, body: TransferSettingsIn, service: Wired
) -> TransferSettingsOut:
    """Active ou désactive le transfert des données. Renvoyer le même choix ne change rien.

    Pour activer, `accepted_conditions` porte la version des conditions en vigueur ; sinon le refus les contient.
    """
    chosen = await handlers.choose_opt_in(
        uai,
        body.choice(),
        accepted_version=body.accepted_conditions,
        by=principal.subject,
        opt_ins=service.opt_ins,
        every_conditions=service.conditions,
        clock=service.clock,
    )
    return TransferSettingsOut.of(chosen)


@router.get("/conditions")
async def read_conditions(_: AdministratorOf, uai: UaiPath, service: Wired, response: Response) -> ConditionsOut:
    """Les conditions en vigueur, à accepter pour activer le transfert. Leur texte est français : lui seul fait foi."""
    response.headers["Content-Language"] = "fr"
    await handlers.read_opt_in(uai, opt_ins=service.opt_ins)
    return ConditionsOut.of(service.conditions[-1])


@router.get("/history")
async def read_opt_in_history(
    _: AdministratorOf,
    uai: UaiPath,
    service: Wired,
    links: Links,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[OptInEntryOut]:
    """Les choix, du plus récent au plus ancien : qui, quand, de quoi à quoi, et le texte accepté."""
    position = decode_cursor(cursor, types=(int,))
    found = await handlers.read_opt_in_history(
        uai, before_revision=int(position[0]) if position else None, limit=limit + 1, opt_ins=service.opt_ins
    )
    page = found[:limit]
    return links.page(
        items=[OptInEntryOut.of(entry) for entry in page],
        next_cursor=encode_cursor(page[-1].revision) if len(found) > limit else None,
    )


@router.get("/preview", responses=documented(problems.INVALID_REQUEST))
async def preview_transfer_settings(
    *, _: AdministratorOf, uai: UaiPath, service: Wired, language: Language, token: Token, enabled: bool
) -> EffectOut:
    """Ce que ce choix ferait : combien d'élèves l'attendent, ce qu'il arrête et ce qu'il n'arrête pas."""
    effect = await handlers.foresee(uai, enabled=enabled, token=token, opt_ins=service.opt_ins, outlook=service.outlook)
    return EffectOut.of(effect, language)


@router.get("/effect")
async def read_transfer_settings_effect(
    _: AdministratorOf, uai: UaiPath, service: Wired, language: Language, token: Token
) -> EffectOut:
    """Ce que fait le choix en vigueur : transferts terminés depuis, en cours, et élèves qui attendent encore."""
    effect = await handlers.foresee(uai, enabled=None, token=token, opt_ins=service.opt_ins, outlook=service.outlook)
    return EffectOut.of(effect, language)
