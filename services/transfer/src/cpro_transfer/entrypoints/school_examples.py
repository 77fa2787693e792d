"""What the OpenAPI document says of the schools' operations beside the routes: names, words and examples."""

from collections.abc import Mapping

from cpro_contracts.transfers import Reason
from cpro_platform.http import Answer, Operation, as_json, page, shown
from cpro_transfer.domain.sentences import next_step, sentence, turn
from cpro_transfer.entrypoints.audit_api import OwnAuditOut
from cpro_transfer.entrypoints.authorisation_models import AuthorisationOut, OutcomesOut, TransferablePupilOut
from cpro_transfer.entrypoints.models import ExplanationOut, TransferOut, TransferWithReceipts
from cpro_transfer.entrypoints.outlook_api import OutlookOut

SCHOOL = "/v1/establishments/{uai}"
WORDS = ("Content-Language", "Vary")
TRANSFER_ID = "5f0c1a52-9d7e-4a53-8d2a-0f9c6a7b1e10"
PUPIL_ID = "7f0f6f0e-55d5-4e0a-9d4b-5f0cf5b8a1c2"
ARRIVAL_ID = "c1e0a9d4-2b7f-4c53-9e11-6a0f4b8d2c37"
AUTHORISATION_ID = "3d9b7c10-4e2a-4f6b-8a55-1c0e9f7d6b21"
_PUPIL = {"id": PUPIL_ID, "family_name": "EXEMPLE", "first_name": "Camille"}
_OTHER = {"uai": "0750680G", "name": "Lycée polyvalent Louise-Michel"}


def in_words(reason: Reason) -> dict[str, object]:
    """What is said of a reason in French."""
    return {
        "explanation": sentence(reason, "fr"), "waits_for": turn(reason), "next_step": next_step(reason, "fr"),
    }  # fmt: skip


_DONE = {
    "id": TRANSFER_ID, "direction": "outgoing", "state": "completed", "since": "2026-09-16T07:02:15Z",
    **in_words(Reason.COMPLETED), "explanation": None, "pupil": _PUPIL, "other_establishment": _OTHER,
    "planned_at": "2026-09-16T07:02:13Z", "called_for_at": "2026-09-16T07:02:13Z",
    "state_changed_at": "2026-09-16T07:02:15Z", "finished_at": "2026-09-16T07:02:15Z",
    "completed_at": "2026-09-16T07:02:15Z", "records": 14,
}  # fmt: skip
_COMPLETED = shown(TransferOut, _DONE)
_HELD = shown(
    TransferOut,
    {
        **_DONE, "state": "held", "reason": "identity_mismatch", **in_words(Reason.IDENTITY_MISMATCH),
        "finished_at": None, "completed_at": None, "records": None,
    },
)  # fmt: skip
_CHAIN = {"sequence": 42, "hash": "9f2c" * 16, "previous_hash": "07aa" * 16}
_RECEIPT = {
    "tables": {"report": {"count": 6, "digest": "5b1e" * 16}, "assessment": {"count": 8, "digest": "c0de" * 16}},
    "origin_opt_in": {"enabled": True, "roster_source": "siecle", "revision": 1042},
    "destination_opt_in": {"enabled": True, "roster_source": "siecle", "revision": 877},
    "origin_import_id": "2f0b6c1e-6f0a-4b0e-9d51-0a2f7c8e4d11",
    "destination_import_id": "88d0f4c2-5a1b-4e0f-9c3d-7b6a5e4f3d20",
    "written_at": "2026-09-16T07:02:15Z",
}  # fmt: skip
_WITH_RECEIPTS = shown(
    TransferWithReceipts,
    {**_DONE, "receipts": {"outgoing": {**_RECEIPT, "chain": _CHAIN}, "incoming": _RECEIPT}},
)
_LOST = shown(
    TransferWithReceipts,
    {
        **_DONE, "reason": "landing_lost", **in_words(Reason.LANDING_LOST),
        "receipts": {"outgoing": {**_RECEIPT, "chain": _CHAIN}}, "missing": {"report": 6, "assessment": 8},
    },
)  # fmt: skip
_WAITING = shown(
    ExplanationOut,
    {
        "pupil_id": PUPIL_ID, "direction": "outgoing", "code": "not_arrived", **in_words(Reason.NOT_ARRIVED),
        "since": "2026-09-16T07:02:13Z",
        "conditions": {
            "has_trusted_ine": True, "has_left_origin": True, "origin_opted_in": True, "has_arrived": False,
            "destination_opted_in": False,
        },
    },
)  # fmt: skip

AUTHORISATION = {
    "id": AUTHORISATION_ID, "pupil_id": PUPIL_ID, "destination_uai": "0750680G", "given_by": "legal_guardian",
    "given_on": "2026-09-14", "collected_by": "administration", "recorded_at": "2026-09-15T09:00:00Z",
    "expires_on": "2027-09-14", "state": "awaiting_support",
}  # fmt: skip
_RECORDED = shown(AuthorisationOut, AUTHORISATION)
_TRANSFERABLE = {
    "pupil": _PUPIL, "birth_date": "2009-03-14", "division": "2MELEC", "leaving_date": "2026-09-10",
    "records": {"report": 6, "assessment": 8},
}  # fmt: skip
_NOT_AUTOMATIC = shown(
    TransferablePupilOut,
    {
        **_TRANSFERABLE, "automatic": False, "outlook": "impossible", "code": "authorisation_awaiting_support",
        **in_words(Reason.AUTHORISATION_AWAITING_SUPPORT), "authorisation": AUTHORISATION, "destination": _OTHER,
    },
)  # fmt: skip
_AUTOMATIC = shown(
    TransferablePupilOut,
    {
        **_TRANSFERABLE, "automatic": True, "outlook": "expected", "code": "not_arrived",
        **in_words(Reason.NOT_ARRIVED),
    },
)  # fmt: skip
_TERMS = {
    "destination_uai": "0750680G", "given_by": "legal_guardian", "given_on": "2026-09-14",
    "collected_by": "administration",
}  # fmt: skip
_OUTCOMES = shown(
    OutcomesOut,
    {
        "outcomes": [
            {"pupil_id": PUPIL_ID, "authorisation": AUTHORISATION},
            {
                "pupil_id": ARRIVAL_ID,
                "refusal": {
                    "code": "pupil_not_left", "status": 409, "title": "L'élève est encore présent",
                    "detail": "Ses données restent dans l'établissement tant que l'élève y est actif.",
                },
            },
        ]
    },
)  # fmt: skip
_SIDE = {"starts": 12, "under_way": 0, "stops": 0, "done": 4, "others": [{"reason": "not_arrived", "number": 31}]}
_OUTLOOK = shown(
    OutlookOut,
    {
        "uai": "0752387M", "enabled": True, "taken_at": "2026-09-16T08:00:00Z", "opt_in_revision": 1042,
        "outgoing": _SIDE, "incoming": {**_SIDE, "starts": 0, "others": []},
    },
)  # fmt: skip
ACT = {
    "occurred_at": "2026-09-20T09:12:00Z", "actor": "assistance-07", "role": "support",
    "action": "transfer.undo_asked", "ticket": "CPRO-10482", "transfer_id": TRANSFER_ID, "subject_id": None,
    "facts": {"records": 14},
}  # fmt: skip
_OWN_ACT = shown(OwnAuditOut, {**ACT, "pupil_id": PUPIL_ID})

OPERATIONS: Mapping[str, Operation] = {
    f"GET {SCHOOL}/transfers": Operation(
        "listTransfers",
        "Les transferts de l'établissement, du plus récent au plus ancien",
        {
            200: Answer(
                "Les transferts, par pages",
                as_json(page=page(_COMPLETED, _HELD, next_cursor="WyIyMDI2LTA5LTE2Il0"), vide=page()),
                headers=("Link", *WORDS),
            )
        },
    ),
    f"GET {SCHOOL}/transfers/{{transfer_id}}": Operation(
        "readTransfer",
        "Un transfert, avec les deux reçus",
        {200: Answer("Le transfert", as_json(termine=_WITH_RECEIPTS, arrivee_perdue=_LOST), headers=WORDS)},
    ),
    f"GET {SCHOOL}/pupils/{{pupil_id}}/transfer-explanation": Operation(
        "explainTransfer",
        "Pourquoi les données d'un élève attendent",
        {200: Answer("Ce qui est rempli, ce qui manque", as_json(attendu_ailleurs=_WAITING), headers=WORDS)},
    ),
    f"GET {SCHOOL}/transferable-pupils": Operation(
        "listTransferablePupils",
        "Liste des élèves transférables (non automatisable)",
        {
            200: Answer(
                "Les élèves, par pages",
                as_json(page=page(_NOT_AUTOMATIC, _AUTOMATIC, next_cursor="WyJuYW1lIl0"), vide=page()),
                headers=("Link", *WORDS),
            )
        },
    ),
    f"PUT {SCHOOL}/transfer-authorisations/{{pupil_id}}": Operation(
        "authoriseTransfer",
        "Autoriser le transfert d'un élève, ou modifier cette autorisation",
        {
            200: Answer("L'autorisation, déjà enregistrée", as_json(connue=_RECORDED)),
            201: Answer("L'autorisation, nouvelle", as_json(nouvelle=_RECORDED)),
        },
        request=as_json(autorisation=_TERMS),
    ),
    f"POST {SCHOOL}/transfer-authorisations": Operation(
        "authoriseTransfers",
        "Autoriser le transfert de plusieurs élèves, chacun pour soi",
        {200: Answer("Le résultat pour chacun", as_json(un_refus=_OUTCOMES), headers=WORDS)},
        request=as_json(
            autorisations={
                "authorisations": [{**_TERMS, "pupil_id": PUPIL_ID}, {**_TERMS, "pupil_id": ARRIVAL_ID}]
            }
        ),
    ),
    f"DELETE {SCHOOL}/transfer-authorisations/{{pupil_id}}": Operation(
        "revokeTransferAuthorisation",
        "Retirer l'autorisation de transfert d'un élève",
        {
            200: Answer(
                "L'autorisation retirée",
                as_json(retiree=shown(AuthorisationOut, {**AUTHORISATION, "state": "revoked"})),
            )
        },
    ),
    f"GET {SCHOOL}/transfer-outlook": Operation(
        "readTransferOutlook",
        "Ce que changerait l'activation du transfert, en nombre d'élèves",
        {200: Answer("Les nombres", as_json(activer=_OUTLOOK))},
    ),
    f"GET {SCHOOL}/audit": Operation(
        "listEstablishmentAudit",
        "Ce qui a été fait des transferts de l'établissement",
        {
            200: Answer(
                "Les actes, par pages", as_json(page=page(_OWN_ACT, next_cursor="WzcxXQ"), vide=page()),
                headers=("Link",),
            )
        },
    ),
}  # fmt: skip
