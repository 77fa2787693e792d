"""What an opt-in does to pupils, told before it is chosen and afterwards: figures, and sentences in both languages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cpro_contracts.transfers import Reason


class Unavailable(StrEnum):
    """Why there are no figures. Better none than wrong ones."""

    NOT_CONFIGURED = "not_configured"
    AWAY = "transfers_away"
    CATCHING_UP = "catching_up"


UNAVAILABLE_FR: Mapping[Unavailable, str] = {
    Unavailable.NOT_CONFIGURED: "Le nombre d'élèves concernés n'est pas disponible sur cette installation.",
    Unavailable.AWAY: "Le nombre d'élèves concernés ne peut pas être obtenu pour le moment. "
    "Vous pouvez enregistrer votre choix : il n'en dépend pas.",
    Unavailable.CATCHING_UP: "Votre dernier choix est enregistré et en cours de prise en compte : "
    "le nombre d'élèves concernés sera connu dans quelques instants.",
}

UNAVAILABLE_EN: Mapping[Unavailable, str] = {
    Unavailable.NOT_CONFIGURED: "The number of pupils concerned is not available on this installation.",
    Unavailable.AWAY: "The number of pupils concerned can't be had at the moment. "
    "You can save your choice: it does not depend on it.",
    Unavailable.CATCHING_UP: "Your last choice is saved and being taken into account: "
    "the number of pupils concerned will be known in a few moments.",
}

WITHDRAWING_FR = (
    "Dès l'enregistrement, aucune donnée ne quitte plus votre base et aucune n'y entre plus : "
    "les transferts prévus sont annulés.",
    "Un transfert commencé s'arrête si les données ne sont pas encore arrivées : elles restent dans "
    "l'établissement d'origine. Des données qui quittent votre base, déjà retenues pour ce transfert, "
    "peuvent encore partir.",
    "Un transfert dont les données sont arrivées va à son terme ; les transferts terminés ne sont pas défaits.",
    "Si vous réactivez le transfert, les élèves toujours concernés seront de nouveau pris en compte, "
    "sans nouvel import.",
)
ACTIVATING_FR = (
    "Les données des élèves en attente de votre accord partent ou arrivent automatiquement, en un jour ou deux "
    "au maximum, si l'autre établissement a aussi activé le transfert.",
    "Un élève qui attend pour une autre raison continue d'attendre.",
)
WITHDRAWING_EN = (
    "From the moment of saving, no record leaves your database any more and none enters it: planned transfers are "
    "cancelled.",
    "A transfer that has begun stops if the records have not landed yet: they stay at the school of origin. Records "
    "that leave your database, already held for that transfer, may still go.",
    "A transfer whose records have landed goes on to its end; completed transfers are not undone.",
    "If you activate transfers again, the pupils still concerned are taken into account again, without a new import.",
)
ACTIVATING_EN = (
    "The records of pupils who wait for your opt-in leave or arrive automatically, within a day or two at most, if the "
    "other school has activated transfers as well.",
    "A pupil who waits for another reason goes on waiting.",
)


@dataclass(frozen=True, slots=True)
class Side:
    """Pupils of one direction. `done` is None where there is no opt-in in force to count from."""

    starts: int
    under_way: int
    stops: int
    done: int | None
    others: Mapping[Reason, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """What the transfer service counts. `opt_in_revision` is the newest of this establishment that it has heard of."""

    taken_at: datetime
    opt_in_revision: int
    outgoing: Side
    incoming: Side


@dataclass(frozen=True, slots=True)
class Effect:
    """What a choice does, or would do where another is in force."""

    enabled: bool
    in_force: bool
    figures: Figures | Unavailable

    def sentences(self, language: str) -> tuple[str, ...]:
        """What the choice brings, in general, in `fr` or `en`."""
        if language == "en":
            return ACTIVATING_EN if self.enabled else WITHDRAWING_EN
        return ACTIVATING_FR if self.enabled else WITHDRAWING_FR

    def summary(self, language: str) -> str:
        """What it comes to here, in a sentence."""
        return self._summary_en() if language == "en" else self._summary_fr()

    def _summary_fr(self) -> str:
        if isinstance(self.figures, Unavailable):
            return UNAVAILABLE_FR[self.figures]
        sides = (self.figures.outgoing, self.figures.incoming)
        under_way = sum(side.under_way for side in sides)
        if not self.enabled:
            stopped = _counted(sum(side.stops for side in sides), "transfert prévu annulé", "transferts prévus annulés")
            return f"{stopped}, {_counted(under_way, 'transfert déjà commencé', 'transferts déjà commencés')}."
        if not self.in_force:
            waiting = sum(side.starts for side in sides)
            return _counted(waiting, "élève est en attente de cet accord.", "élèves sont en attente de cet accord.")
        done = _counted(sum(side.done or 0 for side in sides), "transfert terminé", "transferts terminés")
        return f"{done}, {under_way} en cours."

    def _summary_en(self) -> str:
        if isinstance(self.figures, Unavailable):
            return UNAVAILABLE_EN[self.figures]
        sides = (self.figures.outgoing, self.figures.incoming)
        under_way = sum(side.under_way for side in sides)
        if not self.enabled:
            stopped = sum(side.stops for side in sides)
            return f"Planned transfers cancelled: {stopped}; transfers already begun: {under_way}."
        if not self.in_force:
            return f"Pupils waiting for this opt-in: {sum(side.starts for side in sides)}."
        return f"Transfers completed: {sum(side.done or 0 for side in sides)}; under way: {under_way}."


def _counted(number: int, one: str, many: str) -> str:
    """French counts nought as one."""
    return f"{number} {one if number < 2 else many}"
