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


_NOT_IMPORTED = "l'élève n'est ni importé ni modifié"
_CORRECT = "corrigez la fiche dans SIECLE, puis refaites l'export."
_COMPLETE = "complétez la fiche dans SIECLE, puis refaites l'export."
_NO_TRANSFER = "ses données ne pourront pas être transférées automatiquement"

SIECLE_ID_MISSING = _rejection(
    "siecle_id_missing",
    f"La ligne n'a pas d'identifiant d'élève (ELEVE_ID) : {_NOT_IMPORTED} ; refaites l'export depuis SIECLE.",
)
SIECLE_ID_INVALID = _rejection(
    "siecle_id_invalid",
    f"L'identifiant d'élève « {{found}} » n'est pas un nombre entier : {_NOT_IMPORTED} ; refaites l'export depuis "
    "SIECLE.",
)
SIECLE_ID_REPEATED = _rejection(
    "siecle_id_repeated",
    "Deux lignes différentes portent le même identifiant d'élève ({found}) : aucune des deux n'est importée ; "
    f"{_CORRECT}",
)
FAMILY_NAME_MISSING = _rejection("family_name_missing", f"Le nom de famille manque : {_NOT_IMPORTED} ; {_COMPLETE}")
FIRST_NAME_MISSING = _rejection("first_name_missing", f"Le prénom manque : {_NOT_IMPORTED} ; {_COMPLETE}")
NAME_TOO_LONG = _rejection(
    "name_too_long", f"Un nom ou un prénom dépasse 100 caractères : {_NOT_IMPORTED} ; {_CORRECT}"
)
BIRTH_DATE_MISSING = _rejection("birth_date_missing", f"La date de naissance manque : {_NOT_IMPORTED} ; {_COMPLETE}")
BIRTH_DATE_INVALID = _rejection(
    "birth_date_invalid",
    f"La date de naissance « {{found}} » n'est pas une date de la forme 31/12/2009 : {_NOT_IMPORTED} ; {_CORRECT}",
)
LEAVING_DATE_INVALID = _rejection(
    "leaving_date_invalid",
    f"La date de sortie « {{found}} » n'est pas une date de la forme 31/12/2026 : {_NOT_IMPORTED} ; {_CORRECT}",
)
LEAVING_BEFORE_ENTRY = _rejection(
    "leaving_before_entry",
    f"La date de sortie ({{found}}) est antérieure à la date d'entrée : {_NOT_IMPORTED} ; {_CORRECT}",
)
INE_REPEATED = _rejection(
    "ine_repeated",
    "Deux élèves du fichier portent le même INE ({found}) : aucun des deux n'est importé ; corrigez l'INE dans SIECLE, "
    "puis refaites l'export.",
)

INE_ABSENT = _warning(
    "ine_absent",
    "Le fichier ne donne pas d'INE : l'élève est importé avec l'INE déjà connu, ou sans INE s'il n'y en a pas, et dans "
    f"ce cas {_NO_TRANSFER} ; complétez la fiche dans SIECLE.",
)
INE_MALFORMED = _warning(
    "ine_malformed",
    f"« {{found}} » n'est pas un INE : l'élève est importé sans INE, et {_NO_TRANSFER} ; corrigez l'INE dans SIECLE.",
)
INE_KEY_WRONG = _warning(
    "ine_key_wrong",
    f"La clé de l'INE {{found}} est fausse : l'élève est importé, mais {_NO_TRANSFER} ; vérifiez l'INE dans SIECLE.",
)
INE_HELD_BY_ANOTHER = _warning(
    "ine_held_by_another",
    "L'INE {found} est déjà celui d'un autre élève de l'établissement : l'élève est importé sans INE, et "
    f"{_NO_TRANSFER} ; vérifiez les deux fiches dans SIECLE.",
)
DAMAGED_NAME = _warning(
    "damaged_name",
    "Le nom ou le prénom « {found} » contient un « ? », signe d'un caractère perdu à l'export : l'élève est importé "
    "sous ce nom ; vérifiez la fiche dans SIECLE.",
)
ENTRY_DATE_UNREADABLE = _warning(
    "entry_date_unreadable",
    "La date d'entrée « {found} » n'est pas une date de la forme 01/09/2026 : l'élève est importé sans elle ; corrigez "
    "la fiche dans SIECLE.",
)
FIELD_TOO_LONG = _warning(
    "field_too_long",
    "Une valeur dépasse 64 caractères (« {found}… ») : l'élève est importé sans elle ; corrigez la fiche dans SIECLE.",
)
TWO_DIVISIONS = _warning(
    "two_divisions",
    "L'élève est dans plusieurs classes ({found}) : il est importé sans classe ; corrigez l'affectation dans SIECLE.",
)
STRUCTURES_OF_UNKNOWN_PUPIL = _warning(
    "structures_of_unknown_pupil",
    "Une affectation en classe désigne un élève qui n'est pas dans le fichier ({found}) : elle est ignorée ; si cet "
    "élève devait y figurer, vérifiez sa fiche dans SIECLE.",
)
NOT_ARRIVED = _warning(
    "not_arrived",
    "L'élève n'a ni classe ni date de sortie passée : rien n'est changé pour lui ; affectez-le à une classe dans "
    "SIECLE, ou saisissez sa date de sortie.",
)
REPEATED_LINE = _warning(
    "repeated_line",
    "La même ligne figure plusieurs fois ({found}) : une seule est retenue ; il n'y a rien à faire.",
)

ALL: tuple[Finding, ...] = (
    SIECLE_ID_MISSING, SIECLE_ID_INVALID, SIECLE_ID_REPEATED, FAMILY_NAME_MISSING, FIRST_NAME_MISSING, NAME_TOO_LONG,
    BIRTH_DATE_MISSING, BIRTH_DATE_INVALID, LEAVING_DATE_INVALID, LEAVING_BEFORE_ENTRY, INE_REPEATED, INE_ABSENT,
    INE_MALFORMED, INE_KEY_WRONG, INE_HELD_BY_ANOTHER, DAMAGED_NAME, ENTRY_DATE_UNREADABLE, FIELD_TOO_LONG,
    TWO_DIVISIONS, STRUCTURES_OF_UNKNOWN_PUPIL, NOT_ARRIVED, REPEATED_LINE,
)  # fmt: skip
BY_CODE = {finding.code: finding for finding in ALL}
