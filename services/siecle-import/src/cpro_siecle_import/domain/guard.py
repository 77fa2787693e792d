"""When an import stops and asks: what it would do is possible, but more often a mistake.

An administrator looks at the list and confirms or cancels.
"""

from collections.abc import Mapping
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
    StopReason.PREVIEW: (
        "L'aperçu demandé est prêt : rien n'est modifié tant que vous n'avez pas confirmé. Vérifiez la liste des "
        "changements, puis confirmez ou annulez."
    ),
    StopReason.OTHER_SCHOOL_YEAR: (
        "Le fichier est celui de l'année scolaire {found_year} ; il était attendu celui de l'année en cours, "
        "{expected_year}. Vérifiez la base choisie dans SIECLE, puis confirmez ou annulez."
    ),
    StopReason.MASS_DEACTIVATION: (
        "L'import désactiverait {deactivated} élèves, une part inhabituelle de ceux de l'établissement. Vérifiez la "
        "liste, puis confirmez s'ils sont bien partis, ou annulez."
    ),
    StopReason.FEW_PRESENT: (
        "Élèves présents dans le fichier : {present}, soit moins de la moitié de ceux qui l'étaient jusqu'ici. "
        "Vérifiez qu'il est complet et que les élèves sont affectés dans une classe, puis confirmez ou annulez."
    ),
    StopReason.PLAN_CHANGED: (
        "Depuis l'aperçu, la base de l'établissement a changé : l'import ne ferait plus ce qui a été montré. Vérifiez "
        "la nouvelle liste, puis confirmez ou annulez."
    ),
}
_YEAR_NOT_SAID = (
    "Le fichier ne dit pas de quelle année scolaire il est ; il était attendu celui de l'année en cours, "
    "{expected_year}. Vérifiez la base choisie dans SIECLE, puis confirmez ou annulez."
)


@dataclass(frozen=True, slots=True)
class Words:
    """The sentences in one language, and the one for a file that does not say its school year."""

    sentences: Mapping[StopReason, str]
    year_not_said: str


FRENCH = Words(SENTENCES, _YEAR_NOT_SAID)


def sentence_for(
    reason: StopReason,
    *,
    deactivated: int,
    present: int,
    found_year: int | None,
    current_year: int,
    words: Words = FRENCH,
) -> str:
    """The sentence for the school: what was found, what was expected, what to do.

    Args:
        reason: why the import waits.
        deactivated: how many pupils it would deactivate.
        present: how many are present according to the file.
        found_year: the school year of the file. A file that waits for its year and has the current one doesn't say it.
        current_year: the school year of the upload.
        words: in which language.
    """
    sentence = words.sentences[reason]
    if reason is StopReason.OTHER_SCHOOL_YEAR and found_year in {None, current_year}:
        sentence = words.year_not_said
    return sentence.format(
        deactivated=deactivated,
        present=present,
        found_year=_in_words(found_year or current_year),
        expected_year=_in_words(current_year),
    )


def _in_words(school_year: int) -> str:
    return f"{school_year}-{school_year + 1}"


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
