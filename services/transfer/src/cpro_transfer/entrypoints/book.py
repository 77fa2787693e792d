"""The book of this service: what the OpenAPI document says beside the routes."""

from cpro_platform.http import ApiBook
from cpro_transfer.entrypoints import repair_examples, school_examples, support_examples
from cpro_transfer.entrypoints.problem_guide import PROBLEMS

BOOK = ApiBook(
    description="Le transfert des données des élèves entre établissements : suivi, explications, autorisations, "
    "assistance.",
    tags={
        "transfers": "Les transferts d'un établissement, et les autorisations de ceux qui ne sont pas automatiques.",
        "support": "Ce que l'assistance voit et fait, sous un ticket.",
        "audit": "Qui a fait quoi, quand, sous quel ticket.",
    },
    operations={**school_examples.OPERATIONS, **support_examples.OPERATIONS, **repair_examples.OPERATIONS},
    problems=PROBLEMS,
)
