"""What the commands about replays of event logs say, in the language of the terminal."""

from dataclasses import dataclass

from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON


@dataclass(frozen=True, slots=True)
class ReplayWords:
    """All of it in one language."""

    help_events: str
    help_pupil: str
    help_import: str
    help_from: str
    help_to: str
    help_rate: str
    help_ticket: str
    help_resume: str
    help_execute: str
    help_cancel: str
    no_ticket: str
    cancel_which: str
    counting: str
    publishing: str
    columns: tuple[str, str]
    summary: str
    to_execute: str
    in_trouble: str
    goes_on: str


_FRENCH = ReplayWords(
    help_events="Compter, puis publier de nouveau, des événements : établissements, élève, import ou période.",
    help_pupil="L'identifiant d'un élève, dans un établissement.",
    help_import="L'identifiant d'un import, dans un établissement.",
    help_from="Publiés à partir de cette date (heure de ce poste).",
    help_to="Publiés avant cette date ; maintenant, par défaut.",
    help_rate="Événements par seconde, au plus.",
    help_ticket="Numéro du ticket.",
    help_resume="Revenir à un rejeu déjà demandé.",
    help_execute="Publier ; sans cette option, compter seulement.",
    help_cancel="Arrêter le rejeu donné par --resume.",
    no_ticket="Donnez le ticket : --ticket",
    cancel_which="Donnez le rejeu à arrêter : --resume",
    counting="Comptage des établissements",
    publishing="Publication",
    columns=("Événement", "Nombre"),
    summary="{published} événements publiés sur {expected}, {schools} établissements, rejeu {id} : {state}.",
    to_execute="Rien n'a été publié. Pour publier : cpro-support replay events --resume {id} --execute",
    in_trouble="La base de {number} établissements ne répond pas.",
    goes_on="Le rejeu continue de lui-même. Pour y revenir : cpro-support replay events --resume {id}",
)
_ENGLISH = ReplayWords(
    help_events="Count, then publish again, the events of establishments, a pupil, an import or a range of time.",
    help_pupil="A pupil's id, in one establishment.",
    help_import="An import's id, in one establishment.",
    help_from="Published from this date on (this machine's time).",
    help_to="Published before this date; now, by default.",
    help_rate="Events a second, at most.",
    help_ticket="The ticket's number.",
    help_resume="Come back to a replay that was asked for.",
    help_execute="Publish; without this, only count.",
    help_cancel="End the replay that --resume gives.",
    no_ticket="Give the ticket: --ticket",
    cancel_which="Give the replay to end: --resume",
    counting="Counting establishments",
    publishing="Publishing",
    columns=("Event", "Number"),
    summary="{published} of {expected} events published, {schools} establishments, replay {id}: {state}.",
    to_execute="Nothing was published. To publish: cpro-support replay events --resume {id} --execute",
    in_trouble="The databases of {number} establishments do not answer.",
    goes_on="The replay goes on by itself. To come back to it: cpro-support replay events --resume {id}",
)
SPOKEN = _FRENCH if COMMON.language == "fr" else _ENGLISH
