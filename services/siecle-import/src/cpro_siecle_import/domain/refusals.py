"""Why a file is refused as a whole. Nothing of a refused file is applied.

Each refusal has a stable code and a French text for the school: what was found, what was expected, what to do.
"""

import unicodedata
from dataclasses import dataclass

LONGEST_FOUND = 200
EXPORT_AGAIN = "Refaites l'export depuis SIECLE (« Exportations », « Élèves sans adresses ») et déposez-le tel quel."


@dataclass(frozen=True, slots=True)
class Refusal:
    """A kind of refusal. `detail` is a template; `retry_may_help` says that the very same file may be taken later."""

    code: str
    title: str
    detail: str
    retry_may_help: bool = False


class FileRefusedError(Exception):
    """The file is not applied, for this reason. The text names the school's file, never a pupil.

    What was found comes from the file and goes into databases and onto screens: characters that don't show are
    replaced (PostgreSQL takes no NUL), and it is cut where no honest value is longer.
    """

    def __init__(self, refusal: Refusal, **found: object) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
        self.code = refusal.code
        self.detail = refusal.detail.format(**{name: _shown(value) for name, value in found.items()})


def _shown(value: object) -> str:
    text = str(value)[:LONGEST_FOUND]
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_invisible(character) else character for character in text)


def _is_invisible(character: str) -> bool:
    """Control, format, surrogate and unassigned characters, and the separators of lines and paragraphs."""
    kind = unicodedata.category(character)
    return kind.startswith("C") or kind in {"Zl", "Zp"}


EMPTY_FILE = Refusal(
    "empty_file",
    "Fichier vide",
    "Le fichier déposé est vide ; il était attendu ExportXML_ElevesSansAdresses.zip, ou le fichier XML qu'il contient. "
    f"{EXPORT_AGAIN}",
)
NOT_XML_NOR_ZIP = Refusal(
    "not_xml_nor_zip",
    "Ni XML ni zip",
    "Le contenu du fichier n'est ni du XML ni une archive zip ; il était attendu ExportXML_ElevesSansAdresses.zip, ou "
    f"le fichier XML qu'il contient. {EXPORT_AGAIN}",
)
WRONG_KIND = Refusal(
    "wrong_kind_of_file",
    "Ce n'est pas le fichier des élèves",
    "Le fichier déposé est {kind} ; il était attendu l'export des élèves de SIECLE (ElevesSansAdresses ou "
    f"ElevesAvecAdresses). {EXPORT_AGAIN}",
)
ZIP_CORRUPT = Refusal(
    "zip_corrupt",
    "Archive zip endommagée",
    "L'archive zip ne peut pas être lue jusqu'au bout ; il était attendu une archive intacte. Le téléchargement a pu "
    f"être interrompu. {EXPORT_AGAIN}",
)
ZIP_ENCRYPTED = Refusal(
    "zip_encrypted",
    "Archive zip protégée par un mot de passe",
    f"L'archive zip demande un mot de passe ; il était attendu une archive sans protection. {EXPORT_AGAIN}",
)
ZIP_NESTED = Refusal(
    "zip_nested",
    "Archive dans une archive",
    "L'archive zip contient une autre archive ; il était attendu un seul fichier XML. Déposez l'archive intérieure, "
    "ou le fichier XML lui-même.",
)
ZIP_UNSAFE_PATH = Refusal(
    "zip_unsafe_path",
    "Archive zip suspecte",
    "L'archive zip contient un chemin de fichier interdit ; il était attendu un seul fichier XML, au plus dans un "
    f"dossier. {EXPORT_AGAIN}",
)
ZIP_WITHOUT_XML = Refusal(
    "zip_without_xml",
    "Aucun fichier XML dans l'archive",
    f"L'archive zip ne contient aucun fichier XML ; il était attendu ElevesSansAdresses.xml. {EXPORT_AGAIN}",
)
ZIP_SEVERAL_FILES = Refusal(
    "zip_several_files",
    "Plusieurs fichiers dans l'archive",
    "L'archive zip contient {count} fichiers ; il en était attendu un seul, l'export des élèves. Déposez ce fichier "
    "seul.",
)
EXPANSION_LIMIT = Refusal(
    "expansion_limit",
    "Fichier trop volumineux une fois décompressé",
    "Le fichier dépasse, une fois décompressé, {limit_mb} Mo ou la taille plausible pour une archive de ce poids ; il "
    f"était attendu l'export des élèves d'un établissement. {EXPORT_AGAIN}",
)
XML_MALFORMED = Refusal(
    "xml_malformed",
    "XML incomplet ou mal formé",
    "La lecture du fichier XML s'arrête à la ligne {line} : le fichier est tronqué ou a été modifié ; il était "
    f"attendu un fichier XML complet. {EXPORT_AGAIN}",
)
XML_OVERSIZED = Refusal(
    "xml_oversized_element",
    "Structure XML anormale",
    "Un élément du fichier XML est d'une taille ou d'une profondeur qu'aucun export de SIECLE n'a (vers la ligne "
    f"{{line}}) ; il était attendu un export que rien n'a modifié. {EXPORT_AGAIN}",
)
DOCTYPE_FORBIDDEN = Refusal(
    "doctype_forbidden",
    "Déclaration interdite dans le XML",
    "Le fichier XML contient une déclaration DOCTYPE ou ENTITY, qui est refusée par sécurité ; il était attendu un "
    f"export de SIECLE, qui n'en a jamais. {EXPORT_AGAIN}",
)
ENCODING_UNKNOWN = Refusal(
    "encoding_unknown",
    "Encodage non pris en charge",
    "Le fichier XML annonce l'encodage « {declared} » ; il était attendu ISO-8859-15, ISO-8859-1 ou UTF-8. "
    f"{EXPORT_AGAIN}",
)
ENCODING_MISMATCH = Refusal(
    "encoding_mismatch",
    "Encodage annoncé et contenu différents",
    "Le fichier XML {announced} mais ses caractères sont {actual} : les noms accentués seraient "
    f"faussés. Le fichier a sans doute été réenregistré par un éditeur. {EXPORT_AGAIN}",
)
UAI_MISSING = Refusal(
    "uai_missing",
    "Établissement absent du fichier",
    f"{{problem}} ; il était attendu {{expected}}. {EXPORT_AGAIN}",
)
UAI_OF_ANOTHER_SCHOOL = Refusal(
    "uai_of_another_school",
    "Fichier d'un autre établissement",
    "Le fichier est celui de l'établissement {found} ; il était attendu celui de {expected}. Vérifiez l'établissement "
    "choisi dans SIECLE avant l'export, ou le compte avec lequel vous êtes connecté.",
)
EXPORT_OUTDATED = Refusal(
    "export_outdated",
    "Export plus ancien que le dernier importé",
    "Le fichier a été exporté le {found} ; le dernier import appliqué venait d'un export du {last}. Il était attendu "
    f"un export plus récent. {EXPORT_AGAIN}",
)
EXPORT_IN_FUTURE = Refusal(
    "export_in_future",
    "Date d'export dans le futur",
    "Le fichier dit avoir été exporté le {found}, après son dépôt ({received}) ; il était attendu une date passée. "
    f"Déposez-le à nouveau une fois cette date passée, ou r{EXPORT_AGAIN[1:]}",
    retry_may_help=True,
)
EXPORT_DATE_UNREADABLE = Refusal(
    "export_date_unreadable",
    "Date d'export illisible",
    "La date d'export du fichier, « {found} », n'est pas lisible ; il était attendu une date de la forme 15/09/2026 "
    f"ou 15/09/2026 18:30:00. {EXPORT_AGAIN}",
)
NO_PUPIL = Refusal(
    "no_pupil",
    "Aucun élève dans le fichier",
    f"Le fichier ne contient aucun élève ; il était attendu tous les élèves de l'établissement. {EXPORT_AGAIN}",
)
NO_STRUCTURES = Refusal(
    "no_structures",
    "Aucune classe dans le fichier",
    "Le fichier ne dit pas dans quelle classe sont les élèves, et les présents ne s'y distinguent pas des absents ; il "
    f"était attendu le bloc STRUCTURES, avec la classe de chaque élève. {EXPORT_AGAIN}",
)
ESTABLISHMENT_UNKNOWN = Refusal(
    "establishment_unknown",
    "Établissement inconnu de CPro",
    "L'établissement {expected} n'a pas encore de base dans CPro. Contactez l'assistance, puis déposez le fichier à "
    "nouveau.",
    retry_may_help=True,
)
FILE_MISSING = Refusal(
    "file_missing",
    "Fichier déposé introuvable",
    "Le fichier déposé n'est plus dans l'espace de stockage, ou n'y est plus le même qu'à son dépôt, comme il était "
    "attendu. Déposez-le à nouveau.",
    retry_may_help=True,
)
CONFIRMATION_EXPIRED = Refusal(
    "confirmation_expired",
    "Confirmation attendue trop longtemps",
    "L'import attendait une confirmation et personne ne l'a donnée en {days} jours : il a été annulé, rien n'a été "
    f"modifié et le fichier déposé a été effacé. {EXPORT_AGAIN}",
    retry_may_help=True,
)
PROCESSING_ERROR = Refusal(
    "processing_error",
    "Erreur pendant le traitement",
    "Le traitement s'est arrêté sur une erreur interne ; rien n'a été modifié. Déposez le fichier à nouveau, et "
    "contactez l'assistance si l'erreur se répète (import {import_id}).",
    retry_may_help=True,
)

ALL: tuple[Refusal, ...] = (
    EMPTY_FILE, NOT_XML_NOR_ZIP, WRONG_KIND, ZIP_CORRUPT, ZIP_ENCRYPTED, ZIP_NESTED, ZIP_UNSAFE_PATH, ZIP_WITHOUT_XML,
    ZIP_SEVERAL_FILES, EXPANSION_LIMIT, XML_MALFORMED, XML_OVERSIZED, DOCTYPE_FORBIDDEN, ENCODING_UNKNOWN,
    ENCODING_MISMATCH, UAI_MISSING, UAI_OF_ANOTHER_SCHOOL, EXPORT_OUTDATED, EXPORT_IN_FUTURE, EXPORT_DATE_UNREADABLE,
    NO_PUPIL, NO_STRUCTURES, ESTABLISHMENT_UNKNOWN, FILE_MISSING, CONFIRMATION_EXPIRED,
    PROCESSING_ERROR,
)  # fmt: skip
BY_CODE = {refusal.code: refusal for refusal in ALL}
