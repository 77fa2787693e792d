"""What the OpenAPI document says of support's operations beside the routes: names, words and examples."""

from collections.abc import Mapping

from cpro_contracts.transfers import Reason
from cpro_platform.http import Answer, Operation, as_json, page, shown
from cpro_transfer.domain.sentences import sentence
from cpro_transfer.entrypoints.audit_api import FullAuditOut
from cpro_transfer.entrypoints.consumers_api import ConsumersOut
from cpro_transfer.entrypoints.reconciliation_models import ReconciliationOut
from cpro_transfer.entrypoints.replay_models import CandidatesOut, ReplayOut, WaitingAuthorisationOut
from cpro_transfer.entrypoints.school_examples import (
    ACT,
    ARRIVAL_ID,
    AUTHORISATION,
    AUTHORISATION_ID,
    PUPIL_ID,
    TRANSFER_ID,
    WORDS,
)
from cpro_transfer.entrypoints.statistics_models import StatisticsOut
from cpro_transfer.entrypoints.support_transfers_api import SupportTransferOut

_SUPPORT = "/v1/support"
_TICKET = "CPRO-10482"
_ORIGIN = {"uai": "0752387M", "name": "Lycée professionnel Jean-Jaurès"}
_DESTINATION = {"uai": "0750680G", "name": "Lycée polyvalent Louise-Michel"}
_DONE = {
    "id": TRANSFER_ID, "state": "completed", "reason": None, "explanation": None,
    "origin": {**_ORIGIN, "pupil_id": PUPIL_ID}, "destination": {**_DESTINATION, "pupil_id": ARRIVAL_ID},
    "planned_at": "2026-09-16T07:02:13Z", "since": "2026-09-16T07:02:15Z", "tried_again_at": None,
    "completed_at": "2026-09-16T07:02:15Z", "records": 14, "undoes": None, "ticket": None,
}  # fmt: skip
_NOT_DONE = {**_DONE, "completed_at": None, "records": None}
_COMPLETED = shown(SupportTransferOut, _DONE)
_HELD = shown(
    SupportTransferOut,
    {
        **_NOT_DONE, "state": "held", "reason": "identity_mismatch",
        "explanation": sentence(Reason.IDENTITY_MISMATCH, "fr"),
    },
)  # fmt: skip
_PLANNED = shown(SupportTransferOut, {**_NOT_DONE, "state": "planned"})
_CANCELLED = shown(
    SupportTransferOut,
    {
        **_NOT_DONE, "state": "cancelled", "reason": "cancelled_by_support",
        "explanation": sentence(Reason.CANCELLED_BY_SUPPORT, "fr"),
    },
)  # fmt: skip
_UNDO = shown(
    SupportTransferOut,
    {
        **_NOT_DONE, "id": "b7a4d2f1-0c3e-4a8b-9f60-2d5e1c7a9b34", "state": "planned",
        "origin": {**_DESTINATION, "pupil_id": ARRIVAL_ID}, "destination": {**_ORIGIN, "pupil_id": PUPIL_ID},
        "undoes": TRANSFER_ID, "ticket": _TICKET,
    },
)  # fmt: skip
_ACT = as_json(essai={"ticket": _TICKET, "dry_run": True}, pour_de_bon={"ticket": _TICKET})

_SHEET = {
    "pupil_id": PUPIL_ID, "family_name": "EXEMPLE", "usage_name": None, "first_name": "Camille",
    "birth_date": "2009-03-14", "ine": None, "division": "2MELEC", "active": False,
}  # fmt: skip
_ARRIVAL = {**_SHEET, "pupil_id": ARRIVAL_ID, "division": "1MELEC", "active": True}
_SCHOOLS = {"origin": _ORIGIN, "destination": _DESTINATION}
_WAITING = shown(
    WaitingAuthorisationOut, {**AUTHORISATION, **_SCHOOLS, "ticket": None, "missing": ["destination_not_opted_in"]}
)
_CANDIDATES = shown(
    CandidatesOut,
    {
        "authorisation_id": AUTHORISATION_ID, **_SCHOOLS, "pupil": _SHEET,
        "candidates": [{"pupil": _ARRIVAL, "reason": "same_names_and_birth_date", "differs": []}],
    },
)  # fmt: skip
_KEY = f"authorisation:{AUTHORISATION_ID}"
_REPLAYED = {
    "authorisation_id": AUTHORISATION_ID, "state": "awaiting_support", "dry_run": True, "ticket": _TICKET, **_SCHOOLS,
    "pupil": _SHEET, "arrival": _ARRIVAL, "creates_pupil": False,
    "events": [
        {
            "establishment": "0752387M", "type": "cpro.pupil.deactivated.v1", "match_key": _KEY,
            "pupil_id": PUPIL_ID,
        },
        {"establishment": "0750680G", "type": "cpro.pupil.created.v1", "match_key": _KEY, "pupil_id": ARRIVAL_ID},
    ],
    "records": {"report": 6, "assessment": 8},
}  # fmt: skip
_RECONCILED = {
    "uai": "0752387M", "dry_run": False, "pupils": 1480, "transfers": 96, "on_their_way": 0, "under_way": 1,
    "come_back": False, "revisions_continue_after": None, "missing_receipts": [],
    "differences": [
        {
            "kind": "pupil_behind", "number": 1, "repaired": 1, "for_a_person": False, "pupil_ids": [PUPIL_ID],
            "transfer_ids": [],
        }
    ],
}  # fmt: skip
_STATISTICS = {
    "taken_at": "2026-09-07T08:00:00Z",
    "transfers": [
        {"state": "completed", "reason": None, "number": 61204, "oldest_seconds": None},
        {"state": "held", "reason": "identity_mismatch", "number": 12, "oldest_seconds": 432000.0},
    ],
    "landings": {
        "hours": 24.0, "number": 5310, "median_seconds": 1.4, "p95_seconds": 6.1, "p99_seconds": 21.7,
        "longest_seconds": 95.0,
    },
    "oldest_waiting": {
        "transfer_id": TRANSFER_ID, "state": "planned", "reason": None, "called_for_at": "2026-09-07T07:58:24.800Z",
        "seconds": 95.2,
    },
}  # fmt: skip
_FULL_ACT = shown(
    FullAuditOut,
    {
        **ACT, "origin_uai": "0752387M", "origin_pupil_id": PUPIL_ID, "destination_uai": "0750680G",
        "destination_pupil_id": ARRIVAL_ID,
    },
)  # fmt: skip
_CONSUMERS = shown(
    ConsumersOut,
    {
        "limit": {"in_a_row": 20, "share": 0.5, "window": 100},
        "consumers": [
            {
                "group": "cpro-transfer-join", "state": "Stable", "members": 2, "behind": 0, "waiting_letters": 1,
                "stopped": False,
            }
        ],
    },
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {
    f"GET {_SUPPORT}/statistics": Operation(
        "readTransferStatistics",
        "Les transferts par état et raison, leurs délais et le plus ancien en attente",
        {200: Answer("Les chiffres", as_json(rentree=shown(StatisticsOut, _STATISTICS)))},
    ),
    f"GET {_SUPPORT}/establishments": Operation(
        "listEstablishments",
        "Les établissements qui ont une base de données, par UAI",
        {
            200: Answer(
                "Les établissements, par pages",
                as_json(page=page({"uai": "0750680G"}, {"uai": "0752387M"}, next_cursor="WyIwNzUyMzg3TSJd")),
                headers=("Link",),
            )
        },
    ),
    f"POST {_SUPPORT}/establishments/{{uai}}/reconciliation": Operation(
        "reconcileEstablishment",
        "Comparer la base d'un établissement avec celle des transferts, et réparer celle-ci",
        {200: Answer("Les écarts", as_json(un_ecart=shown(ReconciliationOut, _RECONCILED)))},
        request=as_json(essai={"dry_run": True}, reparer={"dry_run": False}),
    ),
    f"GET {_SUPPORT}/authorisations": Operation(
        "listAuthorisations",
        "Les autorisations à exécuter, les plus anciennes d'abord",
        {
            200: Answer(
                "Les autorisations, par pages",
                as_json(page=page(_WAITING, next_cursor="WyIyMDI2LTA5LTE1Il0"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_SUPPORT}/authorisations/{{authorisation_id}}/candidates": Operation(
        "listCandidates",
        "Les élèves de l'établissement d'accueil qui peuvent être celui de l'autorisation",
        {200: Answer("Les candidats, du plus au moins probable", as_json(un_candidat=_CANDIDATES))},
    ),
    f"POST {_SUPPORT}/replays": Operation(
        "replayAuthorisation",
        "Exécuter une autorisation, sous un ticket",
        {
            200: Answer(
                "Ce qui est fait, ou serait fait",
                as_json(
                    essai=shown(ReplayOut, _REPLAYED),
                    fait=shown(ReplayOut, {**_REPLAYED, "state": "replayed", "dry_run": False}),
                ),
            )
        },
        request=as_json(
            essai={"authorisation_id": AUTHORISATION_ID, "pupil_id": ARRIVAL_ID, "ticket": _TICKET, "dry_run": True},
            creer={"authorisation_id": AUTHORISATION_ID, "create": True, "ticket": _TICKET, "dry_run": False},
        ),
    ),
    f"GET {_SUPPORT}/transfers": Operation(
        "listAllTransfers",
        "Tous les transferts, du plus récent au plus ancien",
        {
            200: Answer(
                "Les transferts, par pages",
                as_json(page=page(_COMPLETED, _HELD, next_cursor="WyIyMDI2LTA5LTE2Il0"), vide=page()),
                headers=("Link", *WORDS),
            )
        },
    ),
    f"GET {_SUPPORT}/transfers/{{transfer_id}}": Operation(
        "readAnyTransfer", "Un transfert", {200: Answer("Le transfert", as_json(retenu=_HELD), headers=WORDS)}
    ),
    f"POST {_SUPPORT}/transfers/{{transfer_id}}/retry": Operation(
        "retryTransfer",
        "Essayer tout de suite un transfert retenu ou reporté",
        {200: Answer("Le transfert", as_json(prevu=_PLANNED), headers=WORDS)},
        request=_ACT,
    ),
    f"POST {_SUPPORT}/transfers/{{transfer_id}}/cancel": Operation(
        "cancelTransfer",
        "Annuler un transfert qui n'est pas encore arrivé",
        {200: Answer("Le transfert", as_json(annule=_CANCELLED), headers=WORDS)},
        request=_ACT,
    ),
    f"POST {_SUPPORT}/transfers/{{transfer_id}}/undo": Operation(
        "undoTransfer",
        "Défaire un transfert terminé",
        {202: Answer("Le retour, un transfert lui-même", as_json(retour=_UNDO), headers=WORDS)},
        request=_ACT,
    ),
    f"GET {_SUPPORT}/audit": Operation(
        "listAudit",
        "Tout ce qui a été fait, du plus récent au plus ancien",
        {
            200: Answer(
                "Les actes, par pages", as_json(page=page(_FULL_ACT, next_cursor="WzcxXQ"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_SUPPORT}/consumers": Operation(
        "listConsumers",
        "Les consommateurs : qui tourne, qui s'est arrêté, et leur limite d'échecs",
        {200: Answer("Les consommateurs", as_json(un_groupe=_CONSUMERS))},
    ),
}  # fmt: skip
