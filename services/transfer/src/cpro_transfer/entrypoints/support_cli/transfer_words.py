"""What `cpro-support transfers` and `audit` say, in the language of the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass

from cpro_transfer.entrypoints.support_cli.words import SPOKEN


@dataclass(frozen=True, slots=True)
class TransferWords:
    """All of it in one language."""

    help: str
    help_list: str
    help_show: str
    help_retry: str
    help_cancel: str
    help_undo: str
    help_audit: str
    help_state: str
    help_uai: str
    help_limit: str
    help_ticket: str
    help_execute: str
    help_yes: str
    help_transfer: str
    columns: tuple[str, ...]
    audit_columns: tuple[str, ...]
    touched_columns: tuple[str, str, str]
    fields: Mapping[str, str]
    would: Mapping[str, str]
    done: Mapping[str, str]
    how_to_execute: str
    confirm: str
    not_confirmed: str
    more_touched: str
    nothing: str


_FRENCH = TransferWords(
    help="Les transferts : voir, réessayer, annuler, défaire.",
    help_list="Les transferts, du plus récent au plus ancien.",
    help_show="Un transfert, et ce que l'assistance en a fait.",
    help_retry="Essayer tout de suite un transfert retenu ou reporté.",
    help_cancel="Annuler un transfert qui n'est pas encore arrivé.",
    help_undo="Défaire un transfert terminé : les données reviennent.",
    help_audit="Ce qui a été fait, par qui, sous quel ticket.",
    help_state="Seulement dans cet état : planned, held, completed…",
    help_uai="Seulement ceux de cet établissement.",
    help_limit="Nombre de lignes, au plus.",
    help_ticket="Le numéro du ticket, comme CPRO-10482.",
    help_execute="Le faire ; sans cette option, dire seulement ce qui serait fait.",
    help_yes="Ne pas demander confirmation.",
    help_transfer="Seulement de ce transfert.",
    columns=("Transfert", "État", "Raison", "De", "Vers", "Depuis"),
    audit_columns=("Quand", "Qui", "Acte", "Ticket", "Transfert", "De", "Vers"),
    touched_columns=("Table", "Enregistrement", "Changement"),
    fields={
        "id": "Transfert", "state": "État", "explanation": "Raison", "origin": "De", "destination": "Vers",
        "planned_at": "Prévu le", "since": "Depuis", "tried_again_at": "Prochain essai",
        "completed_at": "Terminé le", "records": "Enregistrements", "undoes": "Défait", "ticket": "Ticket",
    },
    would={
        "retry": "Le transfert {id} serait essayé tout de suite : {schools}.",
        "cancel": "Le transfert {id} serait annulé : {schools}.",
        "undo": "Les données du transfert {id} reviendraient : {schools}.",
    },
    done={
        "retry": "Le transfert {id} va être essayé.",
        "cancel": "Annulation demandée ; état du transfert {id} : {state}.",
        "undo": "Le retour est prévu : transfert {id}.",
    },
    how_to_execute="Rien n'a été changé. Pour le faire : --execute",
    confirm="{would} Continuer ?",
    not_confirmed="Rien n'a été changé.",
    more_touched="et {number} autres.",
    nothing="Rien.",
)  # fmt: skip
_ENGLISH = TransferWords(
    help="Transfers: look, retry, cancel, undo.",
    help_list="The transfers, newest first.",
    help_show="One transfer, and what support has done to it.",
    help_retry="Try a held or postponed transfer at once.",
    help_cancel="Cancel a transfer that has not landed.",
    help_undo="Take a completed transfer back: the records return.",
    help_audit="What was done, by whom, under which ticket.",
    help_state="Only in this state: planned, held, completed…",
    help_uai="Only those of this establishment.",
    help_limit="Rows, at most.",
    help_ticket="The ticket's number, like CPRO-10482.",
    help_execute="Do it; without this, only say what would be done.",
    help_yes="Do not ask for confirmation.",
    help_transfer="Only of this transfer.",
    columns=("Transfer", "State", "Reason", "From", "To", "Since"),
    audit_columns=("When", "Who", "Act", "Ticket", "Transfer", "From", "To"),
    touched_columns=("Table", "Record", "Change"),
    fields={
        "id": "Transfer", "state": "State", "explanation": "Reason", "origin": "From", "destination": "To",
        "planned_at": "Planned", "since": "Since", "tried_again_at": "Tried again", "completed_at": "Completed",
        "records": "Records", "undoes": "Undoes", "ticket": "Ticket",
    },
    would={
        "retry": "Transfer {id} would be tried at once: {schools}.",
        "cancel": "Transfer {id} would be cancelled: {schools}.",
        "undo": "The records of transfer {id} would return: {schools}.",
    },
    done={
        "retry": "Transfer {id} is about to be tried.",
        "cancel": "Cancellation asked for; state of transfer {id}: {state}.",
        "undo": "The return is planned: transfer {id}.",
    },
    how_to_execute="Nothing was changed. To do it: --execute",
    confirm="{would} Go on?",
    not_confirmed="Nothing was changed.",
    more_touched="and {number} more.",
    nothing="Nothing.",
)  # fmt: skip

WORDS = _FRENCH if SPOKEN.language == "fr" else _ENGLISH
