"""What an opt-in would do to an establishment's pupils: asked by settings with the administrator's own token."""

from datetime import datetime
from typing import Self

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel

from cpro_contracts import problems
from cpro_contracts.transfers import Reason
from cpro_platform.auth import AdministratorOf
from cpro_platform.http import UaiPath, documented
from cpro_transfer.domain.outlook import Outlook, Side
from cpro_transfer.entrypoints.dependencies import Wired

router = APIRouter(prefix="/v1/establishments/{uai}", tags=["transfers"])


class WaitingOut(BaseModel):
    """Combien d'élèves attendent pour une autre raison."""

    reason: Reason
    number: int


class SideOut(BaseModel):
    """Les élèves d'un sens. `done` manque quand `since` manque."""

    starts: int
    under_way: int
    stops: int
    done: int | None
    others: list[WaitingOut]

    @classmethod
    def of(cls, side: Side) -> Self:
        """What is answered for a direction."""
        others = [WaitingOut(reason=reason, number=number) for reason, number in sorted(side.others.items())]
        return cls(starts=side.starts, under_way=side.under_way, stops=side.stops, done=side.done, others=others)


class OutlookOut(BaseModel):
    """Des nombres seulement : aucun élève, aucun autre établissement."""

    uai: str
    enabled: bool
    taken_at: datetime
    opt_in_revision: int
    outgoing: SideOut
    incoming: SideOut

    @classmethod
    def of(cls, uai: str, enabled: bool, outlook: Outlook) -> Self:
        """What is answered for an outlook."""
        return cls(
            uai=uai,
            enabled=enabled,
            taken_at=outlook.taken_at,
            opt_in_revision=outlook.opt_in_revision,
            outgoing=SideOut.of(outlook.outgoing),
            incoming=SideOut.of(outlook.incoming),
        )


@router.get("/transfer-outlook", responses=documented(problems.INVALID_REQUEST))
async def read_outlook(
    _: AdministratorOf, uai: UaiPath, service: Wired, enabled: bool, since: AwareDatetime | None = None
) -> OutlookOut:
    """Où en seraient les élèves si l'établissement activait (ou désactivait) le transfert ; rien n'est changé."""
    return OutlookOut.of(uai, enabled, await service.outlook.of(uai, enabled=enabled, since=since))
