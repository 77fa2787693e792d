"""What the commands about dead letters and replays of event logs say, in the language of the terminal."""

from dataclasses import dataclass

from cpro_transfer.entrypoints.support_cli.words import SPOKEN as COMMON


@dataclass(frozen=True, slots=True)
class LetterWords:
    """All of it in one language."""

    help_letters: str
    help_list: str
    help_consumers: str
    help_show: str
    help_replay: str
    help_discard: str
    help_ids: str
    help_topic: str
    help_cause: str
    help_state: str
    help_limit: str
    help_ticket: str
    help_reason: str
    help_execute: str
    count_columns: tuple[str, ...]
    letter_columns: tuple[str, ...]
    consumer_columns: tuple[str, ...]
    limit: str
    none: str
    would_settle: str
    settled: str
    superseded: str
    left: str
    to_execute: str
    one_way: str
    replaying: str
    unreadable: str


_FRENCH = LetterWords(
    help_letters="Les messages qui n'ont pas pu être traités.",
    help_list="Combien il y en a, par sujet et cause, et les plus récents.",
    help_consumers="Les consommateurs : qui tourne, qui s'est arrêté, et leur limite d'échecs.",
    help_show="Un message, avec ses en-têtes et son contenu.",
    help_replay="Remettre des messages sur leur sujet, tels quels, une fois la cause corrigée.",
    help_discard="Écarter des messages, avec un motif.",
    help_ids="Les identifiants des messages ; sans eux, --topic et --cause.",
    help_topic="Le sujet où ils ont été lus.",
    help_cause="La classe de l'erreur.",
    help_state="waiting, replayed, discarded ou superseded.",
    help_limit="Combien de messages montrer.",
    help_ticket="Numéro du ticket.",
    help_reason="Pourquoi ils n'ont plus d'importance.",
    help_execute="Le faire ; sans cette option, dire seulement ce qui serait fait.",
    count_columns=("Sujet", "Cause", "État", "Nombre", "Du", "Au"),
    letter_columns=("Message", "Mis de côté", "Sujet", "Cause", "Type", "UAI", "État"),
    consumer_columns=("Groupe", "État", "Membres", "Restent à traiter", "Mis de côté"),
    limit="Arrêt après {in_a_row} échecs de suite, ou plus de {percent} % des {window} derniers messages.",
    none="Aucun message.",
    would_settle="{number} messages seraient concernés.",
    settled="{number} messages traités.",
    superseded="{number} dépassés par un message plus récent, non rejoués.",
    left="{number} attendent encore.",
    to_execute="Rien n'a été fait. Pour le faire : --execute",
    one_way="Donnez des identifiants, ou --topic et --cause.",
    replaying="Traitement",
    unreadable="Contenu illisible : {why}",
)
_ENGLISH = LetterWords(
    help_letters="The messages that could not be handled.",
    help_list="How many there are, by topic and cause, and the newest.",
    help_consumers="The consumers: who runs, who has stopped, and their limit of failures.",
    help_show="A message, with its headers and its payload.",
    help_replay="Give messages back to their topic, as they were, once the cause is mended.",
    help_discard="Let messages be, with a reason.",
    help_ids="The letters' ids; without them, --topic and --cause.",
    help_topic="The topic they were read from.",
    help_cause="The class of the error.",
    help_state="waiting, replayed, discarded or superseded.",
    help_limit="How many letters to show.",
    help_ticket="The ticket's number.",
    help_reason="Why they do not matter any more.",
    help_execute="Do it; without this, only say what would be done.",
    count_columns=("Topic", "Cause", "State", "Number", "From", "To"),
    letter_columns=("Letter", "Set aside", "Topic", "Cause", "Type", "UAI", "State"),
    consumer_columns=("Group", "State", "Members", "Behind", "Set aside"),
    limit="They stop after {in_a_row} failures in a row, or more than {percent} % of the last {window} messages.",
    none="No letter.",
    would_settle="{number} letters would be settled.",
    settled="{number} letters settled.",
    superseded="{number} superseded by a newer message, not replayed.",
    left="{number} are still waiting.",
    to_execute="Nothing was done. To do it: --execute",
    one_way="Give ids, or --topic and --cause.",
    replaying="Settling",
    unreadable="Unreadable payload: {why}",
)
SPOKEN = _FRENCH if COMMON.language == "fr" else _ENGLISH
