"""What is said of a single line of the file: rejected, or imported with a warning.

The rest of the file goes on. A rejected line protects the pupil whom it names from being deactivated by absence.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What became of the line."""

    REJECTION = "rejection"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A kind of remark: its stable code, and the sentence for the school (`{found}` is the value in question)."""

    code: str
    severity: Severity
    sentence: str

    def sentence_for(self, found: str | None) -> str:
        """The sentence with the value that was found."""
        return self.sentence.replace("{found}", found or "")


def _rejection(code: str, sentence: str) -> Finding:
    return Finding(code, Severity.REJECTION, sentence)


def _warning(code: str, sentence: str) -> Finding:
    return Finding(code, Severity.WARNING, sentence)


SIECLE_ID_MISSING = _rejection(
    "siecle_id_missing", "La ligne n'a pas d'identifiant d'élève ; refaites l'export depuis SIECLE."
)
SIECLE_ID_INVALID = _rejection(
    "siecle_id_invalid",
    "L'identifiant d'élève « {found} » n'est pas un nombre entier ; refaites l'export depuis SIECLE.",
)
SIECLE_ID_REPEATED = _rejection(
    "siecle_id_repeated",
    "Deux lignes différentes portent le même identifiant d'élève ({found}) ; corrigez la fiche dans SIECLE.",
)
FAMILY_NAME_MISSING = _rejection("family_name_missing", "Le nom de famille manque ; complétez la fiche dans SIECLE.")
FIRST_NAME_MISSING = _rejection("first_name_missing", "Le prénom manque ; complétez la fiche dans SIECLE.")
NAME_TOO_LONG = _rejection(
    "name_too_long", "Un nom ou un prénom dépasse 100 caractères ; corrigez la fiche dans SIECLE."
)
BIRTH_DATE_MISSING = _rejection("birth_date_missing", "La date de naissance manque ; complétez la fiche dans SIECLE.")
BIRTH_DATE_INVALID = _rejection(
    "birth_date_invalid",
    "La date de naissance « {found} » n'est pas une date de la forme 31/12/2009 ; corrigez la fiche dans SIECLE.",
)
LEAVING_DATE_INVALID = _rejection(
    "leaving_date_invalid",
    "La date de sortie « {found} » n'est pas une date de la forme 31/12/2026 ; corrigez la fiche dans SIECLE.",
)
LEAVING_BEFORE_ENTRY = _rejection(
    "leaving_before_entry",
    "La date de sortie ({found}) est antérieure à la date d'entrée ; corrigez la fiche dans SIECLE.",
)
INE_REPEATED = _rejection(
    "ine_repeated",
    "Deux élèves du fichier portent le même INE ({found}) : aucun des deux n'est importé ; corrigez l'INE dans SIECLE.",
)

INE_ABSENT = _warning(
    "ine_absent", "L'élève n'a pas d'INE : ses données ne pourront pas être transférées automatiquement."
)
INE_MALFORMED = _warning(
    "ine_malformed",
    "« {found} » n'est pas un INE : les données de l'élève ne pourront pas être transférées automatiquement.",
)
INE_KEY_WRONG = _warning(
    "ine_key_wrong",
    "La clé de l'INE {found} est fausse : les données de l'élève ne pourront pas être transférées automatiquement.",
)
INE_HELD_BY_ANOTHER = _warning(
    "ine_held_by_another",
    "L'INE {found} est déjà celui d'un autre élève de l'établissement : l'élève est importé sans INE, et ses données "
    "ne pourront pas être transférées automatiquement ; vérifiez les deux fiches dans SIECLE.",
)
DAMAGED_NAME = _warning(
    "damaged_name", "Le nom contient un « ? » : un caractère a été perdu à l'export ; vérifiez-le ({found})."
)
ENTRY_DATE_UNREADABLE = _warning(
    "entry_date_unreadable", "La date d'entrée « {found} » est illisible ; elle n'est pas importée."
)
FIELD_TOO_LONG = _warning("field_too_long", "Une valeur trop longue n'est pas importée ({found}).")
TWO_DIVISIONS = _warning(
    "two_divisions", "L'élève est dans plusieurs classes ({found}) : il est importé sans classe ; corrigez dans SIECLE."
)
STRUCTURES_OF_UNKNOWN_PUPIL = _warning(
    "structures_of_unknown_pupil", "Une affectation en classe désigne un élève qui n'est pas dans le fichier ({found})."
)
NOT_ARRIVED = _warning(
    "not_arrived", "L'élève n'a ni classe ni date de sortie : rien n'est changé pour lui ; affectez-le à une classe."
)
REPEATED_LINE = _warning("repeated_line", "La même ligne figure plusieurs fois ({found}) ; une seule est retenue.")

ALL: tuple[Finding, ...] = (
    SIECLE_ID_MISSING, SIECLE_ID_INVALID, SIECLE_ID_REPEATED, FAMILY_NAME_MISSING, FIRST_NAME_MISSING, NAME_TOO_LONG,
    BIRTH_DATE_MISSING, BIRTH_DATE_INVALID, LEAVING_DATE_INVALID, LEAVING_BEFORE_ENTRY, INE_REPEATED, INE_ABSENT,
    INE_MALFORMED, INE_KEY_WRONG, INE_HELD_BY_ANOTHER, DAMAGED_NAME, ENTRY_DATE_UNREADABLE, FIELD_TOO_LONG,
    TWO_DIVISIONS, STRUCTURES_OF_UNKNOWN_PUPIL, NOT_ARRIVED, REPEATED_LINE,
)  # fmt: skip
BY_CODE = {finding.code: finding for finding in ALL}
