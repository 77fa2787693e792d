"""The bodies of requests and answers about the opt-in."""

from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from cpro_contracts.establishments import RosterSource
from cpro_contracts.transfers import Reason
from cpro_settings.domain.conditions import Conditions
from cpro_settings.domain.effect import Effect, Figures, Side, Unavailable
from cpro_settings.domain.opt_in import Choice, OptIn, OptInEntry


class TransferSettingsIn(BaseModel):
    """Le choix de l'administrateur."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}]},
    )

    enabled: bool = Field(strict=True)
    roster_source: RosterSource
    accepted_conditions: int | None = Field(
        default=None, strict=True, ge=1, le=1_000_000, description="La version des conditions acceptée, pour activer"
    )

    def choice(self) -> Choice:
        """The choice, as the domain knows it."""
        return Choice(self.enabled, self.roster_source)


class TransferSettingsOut(BaseModel):
    """Le choix en vigueur, quand et par qui il a été fait."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "enabled": True,
                    "roster_source": "siecle",
                    "changed_at": "2026-09-01T08:00:00Z",
                    "changed_by": "administrateur-0752387M",
                    "accepted_conditions": 1,
                }
            ]
        }
    )

    enabled: bool
    roster_source: RosterSource
    changed_at: AwareDatetime | None
    changed_by: str | None
    accepted_conditions: int | None = Field(
        description="La version acceptée ; absente si le transfert est désactivé ou l'était avant qu'il y en ait une"
    )

    @classmethod
    def of(cls, opt_in: OptIn) -> Self:
        """What is answered for an opt-in."""
        return cls(
            enabled=opt_in.choice.enabled,
            roster_source=opt_in.choice.roster_source,
            changed_at=opt_in.changed_at,
            changed_by=opt_in.changed_by,
            accepted_conditions=opt_in.accepted_conditions,
        )


class ConditionsOut(BaseModel):
    """Les conditions telles qu'elles sont montrées, et leur version."""

    version: int
    text: str

    @classmethod
    def of(cls, conditions: Conditions) -> Self:
        """What is answered for a version."""
        return cls(version=conditions.version, text=conditions.text)


class ChoiceOut(BaseModel):
    """Un choix."""

    enabled: bool
    roster_source: RosterSource

    @classmethod
    def of(cls, choice: Choice) -> Self:
        """What is answered for a choice."""
        return cls(enabled=choice.enabled, roster_source=choice.roster_source)


class OptInEntryOut(BaseModel):
    """Qui a choisi quoi et quand, et les conditions acceptées alors."""

    revision: int
    changed_at: AwareDatetime
    changed_by: str
    before: ChoiceOut
    after: ChoiceOut
    accepted_conditions: ConditionsOut | None

    @classmethod
    def of(cls, entry: OptInEntry) -> Self:
        """What is answered for an entry of the history."""
        return cls(
            revision=entry.revision,
            changed_at=entry.changed_at,
            changed_by=entry.changed_by,
            before=ChoiceOut.of(entry.before),
            after=ChoiceOut.of(entry.after),
            accepted_conditions=ConditionsOut.of(entry.conditions) if entry.conditions else None,
        )


class WaitingOut(BaseModel):
    """Combien d'élèves attendent pour une autre raison."""

    reason: Reason
    number: int


class SideOut(BaseModel):
    """Les élèves d'un sens (partants ou arrivants)."""

    starts: int = Field(description="En attente de cet accord seulement : leur transfert commencerait")
    under_way: int = Field(description="Transferts en cours ; avant une désactivation, ceux qui sont déjà commencés")
    stops: int = Field(description="Transferts prévus que la désactivation annulerait")
    done: int | None = Field(description="Terminés depuis l'activation en vigueur")
    others: list[WaitingOut]

    @classmethod
    def of(cls, side: Side) -> Self:
        """What is answered for a direction."""
        others = [WaitingOut(reason=reason, number=number) for reason, number in sorted(side.others.items())]
        return cls(starts=side.starts, under_way=side.under_way, stops=side.stops, done=side.done, others=others)


class FiguresOut(BaseModel):
    """Ce que le service des transferts compte, d'après les imports qu'il a reçus à cet instant."""

    taken_at: AwareDatetime
    outgoing: SideOut
    incoming: SideOut

    @classmethod
    def of(cls, figures: Figures) -> Self:
        """What is answered for the figures."""
        return cls(
            taken_at=figures.taken_at, outgoing=SideOut.of(figures.outgoing), incoming=SideOut.of(figures.incoming)
        )


class EffectOut(BaseModel):
    """L'effet d'un choix. Sans chiffres, `figures_unavailable` dit pourquoi : jamais un chiffre faux."""

    enabled: bool
    in_force: bool = Field(description="Le choix actuellement en vigueur")
    summary: str
    consequences: list[str]
    figures: FiguresOut | None
    figures_unavailable: Unavailable | None

    @classmethod
    def of(cls, effect: Effect, language: str) -> Self:
        """What is answered for an effect, in `fr` or `en`."""
        figures = effect.figures
        return cls(
            enabled=effect.enabled,
            in_force=effect.in_force,
            summary=effect.summary(language),
            consequences=list(effect.sentences(language)),
            figures=None if isinstance(figures, Unavailable) else FiguresOut.of(figures),
            figures_unavailable=figures if isinstance(figures, Unavailable) else None,
        )
