"""The statistics as the API answers them."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.statistics import Landings, Standing, Statistics
from cpro_transfer.domain.transfers import TransferState


class StandingOut(BaseModel):
    """Combien de transferts sont dans un état, pour une raison."""

    state: TransferState
    reason: Reason | None
    number: int
    oldest_seconds: float | None = Field(
        description="Depuis quand le plus ancien est possible, en secondes ; absent pour ceux qui sont terminés"
    )


class LandingsOut(BaseModel):
    """Délai entre le second des deux faits (départ, arrivée ou accord) et l'arrivée des données, en secondes."""

    hours: float = Field(description="Durée sur laquelle portent ces chiffres")
    number: int
    median_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    longest_seconds: float | None

    @classmethod
    def of(cls, statistics: Statistics) -> "LandingsOut":
        """The landings of the window."""
        landings: Landings = statistics.landings
        return cls(
            hours=statistics.landings_window.total_seconds() / 3600,
            number=landings.number,
            median_seconds=landings.median_seconds,
            p95_seconds=landings.p95_seconds,
            p99_seconds=landings.p99_seconds,
            longest_seconds=landings.longest_seconds,
        )


class OldestOut(BaseModel):
    """Le transfert en route depuis le plus longtemps ; ceux qui sont suspendus (`held`) n'en sont pas."""

    transfer_id: UUID
    state: TransferState
    reason: Reason | None
    called_for_at: datetime
    seconds: float


class StatisticsOut(BaseModel):
    """Où en sont les transferts, tous établissements confondus."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "taken_at": "2026-09-07T08:00:00Z",
                    "transfers": [
                        {"state": "completed", "reason": None, "number": 61204, "oldest_seconds": None},
                        {"state": "held", "reason": "identity_mismatch", "number": 12, "oldest_seconds": 432000.0},
                        {"state": "planned", "reason": None, "number": 240, "oldest_seconds": 95.2},
                    ],
                    "landings": {
                        "hours": 24.0,
                        "number": 5310,
                        "median_seconds": 1.4,
                        "p95_seconds": 6.1,
                        "p99_seconds": 21.7,
                        "longest_seconds": 95.0,
                    },
                    "oldest_waiting": {
                        "transfer_id": "5f0c1a52-9d7e-4a53-8d2a-0f9c6a7b1e10",
                        "state": "planned",
                        "reason": None,
                        "called_for_at": "2026-09-07T07:58:24.800Z",
                        "seconds": 95.2,
                    },
                }
            ]
        }
    )

    taken_at: datetime
    transfers: list[StandingOut]
    landings: LandingsOut
    oldest_waiting: OldestOut | None

    @classmethod
    def of(cls, statistics: Statistics) -> "StatisticsOut":
        """The statistics with ages in seconds."""
        oldest = statistics.oldest_waiting
        return cls(
            taken_at=statistics.taken_at,
            transfers=[
                StandingOut(state=one.state, reason=one.reason, number=one.number, oldest_seconds=_age(statistics, one))
                for one in statistics.standings
            ],
            landings=LandingsOut.of(statistics),
            oldest_waiting=_oldest(statistics, oldest) if oldest else None,
        )


def _oldest(statistics: Statistics, standing: Standing) -> OldestOut:
    age = _age(statistics, standing)
    assert age is not None
    assert standing.oldest_called_for_at is not None
    assert standing.oldest_id is not None
    return OldestOut(
        transfer_id=standing.oldest_id,
        state=standing.state,
        reason=standing.reason,
        called_for_at=standing.oldest_called_for_at,
        seconds=age,
    )


def _age(statistics: Statistics, standing: Standing) -> float | None:
    """In seconds. Clocks of two servers may differ: less than nothing is nothing."""
    if standing.oldest_called_for_at is None:
        return None
    return max((statistics.taken_at - standing.oldest_called_for_at).total_seconds(), 0)
