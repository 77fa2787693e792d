"""The consumers whose messages can become dead letters: whether they run, and when they stop by themselves."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cpro_platform.consuming import FailureLimit
from cpro_transfer.domain.dead_letters import LetterState
from cpro_transfer.entrypoints.dependencies import SupportOrOperations, Wired

router = APIRouter(prefix="/v1/support/consumers", tags=["support"])


class LimitOut(BaseModel):
    """À partir de quand un consommateur s'arrête plutôt que de mettre de côté tout un sujet."""

    in_a_row: int = Field(description="Autant d'échecs de suite")
    share: float = Field(description="Ou plus que cette part")
    window: int = Field(description="des derniers messages")


class ConsumerOut(BaseModel):
    """Un groupe de consommateurs."""

    group: str
    state: str = Field(description="L'état que Kafka en donne : `Stable`, `Empty`…")
    members: int
    behind: int = Field(description="Messages qui restent à traiter")
    waiting_letters: int = Field(description="Messages mis de côté par ce groupe, qui attendent")
    stopped: bool = Field(description="Personne n'y travaille, et il reste des messages")


class ConsumersOut(BaseModel):
    """Les consommateurs, et leur limite."""

    limit: LimitOut
    consumers: list[ConsumerOut]


@router.get("", summary="Les consommateurs : qui tourne, qui s'est arrêté, et leur limite d'échecs")
async def list_consumers(service: Wired, _: SupportOrOperations) -> ConsumersOut:
    waiting = await service.letters.groups(LetterState.WAITING)
    standings = await service.consumer_groups.standings({service.config.join_group, *filter(None, waiting)})
    limit = FailureLimit()
    return ConsumersOut(
        limit=LimitOut(in_a_row=limit.in_a_row, share=limit.share, window=limit.window),
        consumers=[
            ConsumerOut(
                group=one.group,
                state=one.state,
                members=one.members,
                behind=one.behind,
                waiting_letters=waiting.get(one.group, 0),
                stopped=not one.members and one.behind > 0,
            )
            for one in standings
        ],
    )
