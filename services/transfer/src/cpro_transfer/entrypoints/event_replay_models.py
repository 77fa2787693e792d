"""Replays of event logs as the API takes and shows them: ids, counts and times, never a name."""

from datetime import datetime
from typing import Self
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field

from cpro_contracts.identifiers import Uai
from cpro_transfer.domain.event_replays import EventReplay, ReplayState, SchoolReplay, Selection
from cpro_transfer.entrypoints.dates import WrittenTime
from cpro_transfer.entrypoints.tickets import Ticket


class EventReplayIn(BaseModel):
    """Quels événements publier de nouveau. Ils sont comptés d'abord ; rien n'est publié avant `start`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"establishments": ["0752387M"], "ticket": "SUP-1234"},
                {
                    "published_from": "2026-09-01T00:00:00+02:00",
                    "published_to": "2026-09-02T00:00:00+02:00",
                    "ticket": "SUP-1234",
                    "events_per_second": 100,
                },
            ]
        },
    )

    id: UUID = Field(default_factory=uuid4, description="Choisi par l'appelant : redemander est sans risque")
    establishments: list[Uai] = Field(default=[], max_length=1000, description="Tous, si vide")
    pupil_id: UUID | None = Field(default=None, description="Dans un seul établissement")
    import_id: UUID | None = Field(default=None, description="Dans un seul établissement")
    published_from: WrittenTime | None = None
    published_to: WrittenTime | None = Field(default=None, description="Exclu ; maintenant, par défaut")
    ticket: Ticket
    events_per_second: int | None = Field(default=None, gt=0)

    def selection(self) -> Selection:
        """What is chosen."""
        uais = tuple(sorted(set(self.establishments)))
        return Selection(uais, self.pupil_id, self.import_id, self.published_from, self.published_to)


class EventReplayOut(BaseModel):
    """Un rejeu et où il en est."""

    id: UUID
    state: ReplayState
    establishments: list[str] = Field(description="Tous, si vide")
    pupil_id: UUID | None
    import_id: UUID | None
    published_from: datetime | None
    published_to: datetime | None
    events_per_second: int
    ticket: str
    requested_by: str
    requested_at: datetime
    started_by: str | None
    started_at: datetime | None
    cancelled_by: str | None
    finished_at: datetime | None
    schools: int = Field(description="Établissements concernés")
    schools_left: int = Field(description="Ceux qui restent à compter, puis à publier")
    in_trouble: int = Field(description="Ceux dont la base ne répond pas ; ils seront demandés à nouveau")
    expected: int = Field(description="Événements choisis")
    published: int
    counts: dict[str, int] = Field(description="Événements choisis, par type")

    @classmethod
    def of(cls, replay: EventReplay) -> Self:
        """As it is shown."""
        chosen = replay.selection
        same = {name: getattr(replay, name) for name in cls.model_fields if hasattr(replay, name)}
        return cls(
            **same | {"counts": dict(replay.counts or {})},
            establishments=list(chosen.uais),
            pupil_id=chosen.pupil_id,
            import_id=chosen.import_id,
            published_from=chosen.published_from,
            published_to=chosen.published_to,
        )


class SchoolReplayOut(BaseModel):
    """La part d'un établissement."""

    uai: str
    expected: int
    published: int
    counts: dict[str, int]
    done: bool
    trouble: str | None

    @classmethod
    def of(cls, school: SchoolReplay) -> Self:
        """As it is shown."""
        return cls(
            uai=school.uai, expected=school.expected, published=school.published, counts=dict(school.counts),
            done=school.done, trouble=school.trouble,
        )  # fmt: skip
