"""What support and operations ask of all transfers: no pupil and no establishment is named here."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from cpro_platform.auth import Principal, Role, any_of
from cpro_transfer.bootstrap import Service
from cpro_transfer.entrypoints.statistics_models import StatisticsOut

router = APIRouter(prefix="/v1/support", tags=["support"])

SupportOrOperations = Annotated[Principal, Depends(any_of(Role.SUPPORT, Role.OPERATIONS))]
Hours = Annotated[int, Query(ge=1, le=24 * 7, description="Durée, en heures, sur laquelle portent les arrivées")]


@router.get("/statistics", summary="Les transferts par état et raison, leurs délais et le plus ancien en attente")
async def read_statistics(request: Request, _: SupportOrOperations, hours: Hours = 24) -> StatisticsOut:
    service: Service = request.app.state.service
    return StatisticsOut.of(await service.statistics.recent(timedelta(hours=hours)))
