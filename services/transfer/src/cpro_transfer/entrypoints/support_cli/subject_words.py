"""What `cpro-support subject` says, in the language of the terminal."""

from dataclasses import dataclass

from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON


@dataclass(frozen=True, slots=True)
class SubjectWords:
    """All of it in one language."""

    help: str
    help_export: str
    help_erase: str
    help_uai: str
    help_pupil: str
    help_ticket: str
    help_out: str
    help_confirm: str
    columns: tuple[str, str]
    erased_columns: tuple[str, str, str]
    exists: str
    written: str
    stays: str
    would: str
    done: str


_FRENCH = SubjectWords(
    help="Les droits d'un élève sur ses données : les obtenir, les faire effacer.",
    help_export="Écrire dans un fichier tout ce qui est détenu sur un élève.",
    help_erase="Effacer un élève ; sans --confirm, dire seulement ce qui serait effacé.",
    help_uai="L'établissement.",
    help_pupil="L'identifiant de l'élève dans cet établissement.",
    help_ticket="Numéro du ticket.",
    help_out="Le fichier à écrire ; il ne doit pas exister.",
    help_confirm="L'empreinte donnée par la simulation : effacer exactement cela.",
    columns=("Partie", "Lignes"),
    erased_columns=("Lieu", "Table", "Lignes"),
    exists="{file} existe déjà.",
    written="Écrit dans {file}, avec les références de {files} fichiers.",
    stays="Reste : {kind} ({why}).",
    would="Rien n'a été effacé. Pour effacer exactement cela : --confirm {digest}",
    done="Effacé.",
)
_ENGLISH = SubjectWords(
    help="What a pupil may ask for: what is held of them, and that it is erased.",
    help_export="Write all that is held of a pupil into a file.",
    help_erase="Erase a pupil; without --confirm, only say what would be erased.",
    help_uai="The establishment.",
    help_pupil="The pupil's id in that establishment.",
    help_ticket="Number of the ticket.",
    help_out="The file to write; it must not exist.",
    help_confirm="The digest that the dry run gave: erase exactly that.",
    columns=("Section", "Rows"),
    erased_columns=("Place", "Table", "Rows"),
    exists="{file} is there already.",
    written="Written into {file}, with the references of {files} files.",
    stays="Stays: {kind} ({why}).",
    would="Nothing was erased. To erase exactly this: --confirm {digest}",
    done="Erased.",
)
SPOKEN = _FRENCH if COMMON.language == "fr" else _ENGLISH
