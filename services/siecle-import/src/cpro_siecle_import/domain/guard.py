"""When an import stops and asks: what it would do is possible, but more often a mistake.

An administrator looks at the list and confirms or cancels.
"""

from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """Why an import waits for a confirmation."""

    PREVIEW = "preview"
    OTHER_SCHOOL_YEAR = "other_school_year"
    MASS_DEACTIVATION = "mass_deactivation"
    FEW_PRESENT = "few_present"
    PLAN_CHANGED = "plan_changed"


SENTENCES = {
    StopReason.PREVIEW: "L'aperçu demandé est prêt : rien n'est modifié tant que vous n'avez pas confirmé.",
    StopReason.OTHER_SCHOOL_YEAR: (
        "Le fichier est celui d'une autre année scolaire que l'année en cours. Vérifiez la base choisie dans SIECLE, "
        "puis confirmez ou annulez."
    ),
    StopReason.MASS_DEACTIVATION: (
        "L'import désactiverait une part inhabituelle des élèves. Vérifiez la liste, puis confirmez ou annulez."
    ),
    StopReason.FEW_PRESENT: (
        "Le fichier compte moins de la moitié des élèves présents jusqu'ici. Vérifiez qu'il est complet, puis "
        "confirmez ou annulez."
    ),
    StopReason.PLAN_CHANGED: (
        "Depuis l'aperçu, la base de l'établissement a changé : l'import ne ferait plus ce qui a été montré. Vérifiez "
        "la nouvelle liste, puis confirmez ou annulez."
    ),
}


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """Shares of the active pupils from SIECLE. Below `at_least` pupils a small school is never stopped."""

    deactivated_share: float = 0.20
    first_import_deactivated_share: float = 0.60
    present_share: float = 0.50
    at_least: int = 5


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """What the guard looks at, in pupils."""

    active_before: int
    present_in_file: int
    deactivated: int


def reasons_to_stop(
    effect: PlannedEffect, limits: GuardLimits, *, first_of_school_year: bool, other_school_year: bool, preview: bool
) -> tuple[StopReason, ...]:
    """Every reason to wait for a confirmation; empty when the import may go on."""
    share = limits.first_import_deactivated_share if first_of_school_year else limits.deactivated_share
    stops: list[StopReason] = [StopReason.PREVIEW] if preview else []
    if other_school_year:
        stops.append(StopReason.OTHER_SCHOOL_YEAR)
    if effect.deactivated >= limits.at_least and effect.deactivated > share * effect.active_before:
        stops.append(StopReason.MASS_DEACTIVATION)
    missing = effect.active_before - effect.present_in_file
    if missing >= limits.at_least and effect.present_in_file < limits.present_share * effect.active_before:
        stops.append(StopReason.FEW_PRESENT)
    return tuple(stops)
