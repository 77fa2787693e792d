"""What support and operations ask of all transfers. No pupil is named here."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from cpro_contracts import problems
from cpro_platform.errors import RefusedError
from cpro_platform.http import Links, Page, UaiPath, decode_cursor, documented, encode_cursor
from cpro_tenant_db.directory import TenantState
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.entrypoints.dependencies import Cursor, SupportOrOperations, Wired
from cpro_transfer.entrypoints.reconciliation_models import EstablishmentOut, ReconciliationIn, ReconciliationOut
from cpro_transfer.entrypoints.statistics_models import StatisticsOut

router = APIRouter(prefix="/v1/support", tags=["support"])

Hours = Annotated[int, Query(ge=1, le=24 * 7, description="Durée, en heures, sur laquelle portent les arrivées")]


@router.get("/statistics", summary="Les transferts par état et raison, leurs délais et le plus ancien en attente")
async def read_statistics(service: Wired, _: SupportOrOperations, hours: Hours = 24) -> StatisticsOut:
    return StatisticsOut.of(await service.statistics.recent(timedelta(hours=hours)))


@router.get("/establishments", summary="Les établissements qui ont une base de données, par UAI")
async def list_establishments(
    service: Wired,
    links: Links,
    _: SupportOrOperations,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Page[EstablishmentOut]:
    (after,) = decode_cursor(cursor, types=[str]) or ("",)
    tenants = await service.directory.all_tenants()
    found = [one.uai for one in tenants if one.state is not TenantState.CREATING and one.uai > str(after)]
    page = found[:limit]
    return links.page(
        items=[EstablishmentOut(uai=uai) for uai in page],
        next_cursor=encode_cursor(page[-1]) if len(found) > limit else None,
    )


@router.post(
    "/establishments/{uai}/reconciliation",
    summary="Comparer la base d'un établissement avec celle des transferts, et réparer celle-ci",
    responses=documented(problems.ESTABLISHMENT_UNKNOWN),
)
async def reconcile(uai: UaiPath, asked: ReconciliationIn, service: Wired, _: SupportOrOperations) -> ReconciliationOut:
    """Sans danger : peut être redemandé, interrompu et reçu deux fois. Rien n'est retiré d'un établissement."""
    try:
        found = await service.reconciler.reconcile(uai, dry_run=asked.dry_run)
    except TenantUnknownError as unknown:
        raise RefusedError(
            problems.ESTABLISHMENT_UNKNOWN,
            f"Aucun établissement {unknown.uai} n'utilise CPro.",
            f"No establishment {unknown.uai} uses CPro.",
        ) from unknown
    return ReconciliationOut.of(found)
