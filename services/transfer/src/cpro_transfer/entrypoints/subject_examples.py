"""What the OpenAPI document says of a pupil's rights, to be told and to be erased: names, words and examples."""

from collections.abc import Mapping

from cpro_platform.http import Answer, Operation, as_json, shown
from cpro_transfer.domain.subjects import KEPT
from cpro_transfer.entrypoints.school_examples import PUPIL_ID
from cpro_transfer.entrypoints.subjects_api import ErasureOut, ExportOut

_SUBJECTS = "/v1/support/subjects"
_PUPIL = {"uai": "0752387M", "pupil_id": PUPIL_ID, "ticket": "CPRO-10482"}
_PLACE = f"0752387M/{PUPIL_ID}"
_DIGEST = "9d5ed678fe57bcca610140957afab571b4d4e3a9a5c3b1f0a1c7c2f6a1e4d0b3"
_ROWS = {_PLACE: {"report": 2, "attachment": 1, "pupil": 1}, "transfer_database": {"enrolment": 1}}
_EXPORT = shown(
    ExportOut,
    {
        "manifest": {
            "uai": "0752387M", "pupil_id": PUPIL_ID, "ticket": "CPRO-10482", "made_at": "2026-10-02T09:00:00Z",
            "sections": {f"{_PLACE}/report": {"rows": 1, "sha256": _DIGEST}},
            "attachments": [], "not_included": KEPT,
        },
        "contents": {_PLACE: {"report": [{"id": "0d1c2b3a-4958-4767-8695-a4b3c2d1e0f9", "title": "Bilan 1"}]}},
    },
)  # fmt: skip
_WOULD_GO = shown(ErasureOut, {"erased": False, "digest": _DIGEST, "rows": _ROWS, "kept": KEPT})
_GONE = shown(ErasureOut, {"erased": True, "digest": None, "rows": _ROWS, "kept": KEPT})

OPERATIONS: Mapping[str, Operation] = {
    f"POST {_SUBJECTS}/export": Operation(
        "exportSubject",
        "Tout ce qui est détenu sur un élève",
        {200: Answer("L'export, à ne remettre qu'à la personne", as_json(export=_EXPORT))},
        request=as_json(eleve=_PUPIL),
    ),
    f"POST {_SUBJECTS}/erase": Operation(
        "eraseSubject",
        "Effacer un élève, ou dire ce qui le serait",
        {200: Answer("Ce qui serait effacé, ou l'a été", as_json(annonce=_WOULD_GO, efface=_GONE))},
        request=as_json(annoncer=_PUPIL, effacer={**_PUPIL, "confirm": _DIGEST}),
    ),
}
