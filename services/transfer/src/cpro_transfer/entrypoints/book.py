"""The book of this service: what the OpenAPI document says beside the routes."""

from cpro_platform.http import ApiBook
from cpro_transfer.entrypoints import repair_examples, school_examples, subject_examples, support_examples
from cpro_transfer.entrypoints.problem_guide import PROBLEMS

BOOK = ApiBook(
    description="Le transfert des données des élèves entre établissements : suivi, explications, autorisations, "
    "assistance.",
    tags={
        "transfers": "Les transferts d'un établissement, et les autorisations de ceux qui ne sont pas automatiques.",
        "support": "Ce que l'assistance voit et fait, sous un ticket.",
        "audit": "Qui a fait quoi, quand, sous quel ticket.",
    },
    operations={
        **school_examples.OPERATIONS,
        **support_examples.OPERATIONS,
        **repair_examples.OPERATIONS,
        **subject_examples.OPERATIONS,
    },
    problems=PROBLEMS,
    parameters={
        "authorisation_id": "L'autorisation",
        "cause": "Seulement les messages de cette cause",
        "direction": "Les départs ou les arrivées",
        "enabled": "L'accord dont l'effet est demandé",
        "letter_id": "Le message",
        "order": "L'ordre de la liste",
        "pupil_id": "L'élève, tel que l'établissement le désigne",
        "replay_id": "Le rejeu",
        "since": "Depuis quand compter les transferts terminés",
        "state": "Seulement les messages dans cet état",
        "status": "Seulement les transferts dans cet état",
        "topic": "Seulement les messages de ce sujet",
        "transfer_id": "Le transfert",
    },
    closed_lists={
        "AuthorisationState": "Où en est une autorisation, ce jour.",
        "CollectedBy": "Qui, dans l'établissement, l'a recueillie : une fonction, jamais un nom.",
        "Condition": "Ce qu'il faut pour un transfert (le manuel : « Prérequis »).",
        "Difference": "Ce qui diffère entre les deux fiches.",
        "Direction": "Le sens, vu de l'établissement qui demande.",
        "GivenBy": "Qui autorise (le manuel : « l'élève et/ou les responsables légaux »).",
        "Kind": "Ce qui peut différer. Une liste fermée.",
        "LetterState": "Ce qu'est devenu un message en échec. Seul ce qui attend peut être traité, une seule fois.",
        "Likeness": "Pourquoi un élève est proposé, de la meilleure raison à la moins bonne.",
        "Outlook": "Si les données partiront d'elles-mêmes.",
        "PupilOrder": "L'ordre d'une liste d'anciens élèves ; ensuite par nom.",
        "ReplayState": "Où en est un rejeu. Il est compté avant que rien ne soit publié.",
        "TransferState": "Où en est un transfert.",
        "Turn": "Qui, ou quoi, les données attendent.",
    },
)
