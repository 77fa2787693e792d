"""What the OpenAPI document says beside the routes: names, words and examples of requests, answers and problems."""

import json

from cpro_platform.http import Answer, ApiBook, Guidance, Guide, Operation, as_json, page, shown
from cpro_siecle_import import errors
from cpro_siecle_import.entrypoints.models import FindingOut, ImportOut, PupilChangeOut

_IMPORTS = "/v1/establishments/{uai}/siecle-imports"
_ONE = f"{_IMPORTS}/{{import_id}}"
_BY = "administrateur-0752387M"
_ASKED = {
    "id": "2f0b6c1e-6f0a-4b0e-9d51-0a2f7c8e4d11", "uai": "0752387M", "mode": "apply", "state": "queued",
    "progress": {"phase": "waiting", "bytes_read": 0, "bytes_expected": None, "pupils_read": 0},
    "file_sha256": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab", "file_bytes": 61204,
    "school_year": None, "exported_at": None, "reference_date": None, "counts": None, "awaiting": [], "refusal": None,
    "requested_by": _BY, "requested_at": "2026-09-16T07:02:11Z", "started_at": None, "finished_at": None,
    "confirmed_by": None, "confirmed_at": None, "cancel_requested": False,
    "upload_available_until": "2026-10-16T07:02:11Z", "upload_removed_at": None,
}  # fmt: skip
_PROGRESS = {"phase": "done", "bytes_read": 1280334, "bytes_expected": 1280334, "pupils_read": 1868}
_READ = {
    "progress": _PROGRESS,
    "school_year": 2026, "exported_at": "2026-09-15T18:30:12", "reference_date": "2026-09-15",
    "started_at": "2026-09-16T07:02:11Z", "finished_at": "2026-09-16T07:02:13Z",
    "counts": {
        "present": 1482, "created": 412, "updated": 37, "deactivated": 380, "reactivated": 2, "unchanged": 1031,
        "not_arrived": 3, "ignored": 1, "rejected": 2, "warnings": 44,
    },
}  # fmt: skip
_QUEUED = shown(ImportOut, _ASKED)
_COMPLETED = shown(ImportOut, {**_ASKED, **_READ, "state": "completed"})
_AWAITING = shown(
    ImportOut,
    {
        **_ASKED, **_READ, "state": "awaiting_confirmation", "finished_at": None,
        "awaiting": [
            {
                "code": "mass_deactivation",
                "sentence": "L'import désactiverait 380 élèves, une part inhabituelle de ceux de l'établissement. "
                "Vérifiez la liste, puis confirmez s'ils sont bien partis, ou annulez.",
            }
        ],
    },
)  # fmt: skip
_REFUSED = shown(
    ImportOut,
    {
        **_ASKED, "state": "failed", "started_at": "2026-09-16T07:02:11Z", "finished_at": "2026-09-16T07:02:12Z",
        "progress": {**_PROGRESS, "pupils_read": 0},
        "refusal": {
            "code": "uai_of_another_school", "title": "Fichier d'un autre établissement",
            "detail": "Le fichier est celui de l'établissement 0750680G ; il était attendu celui de 0752387M. Vérifiez "
            "l'établissement choisi dans SIECLE avant l'export, ou le compte avec lequel vous êtes connecté.",
        },
    },
)  # fmt: skip
_CANCELLED = shown(
    ImportOut,
    {
        **_ASKED, "state": "cancelled", "finished_at": "2026-09-16T07:05:00Z", "cancel_requested": True,
        "upload_available_until": None, "upload_removed_at": "2026-09-16T07:05:01Z",
    },
)  # fmt: skip
_FINDING = shown(
    FindingOut,
    {
        "severity": "rejection", "code": "birth_date_missing", "line": 1204, "siecle_id": "1482203",
        "sentence": "La date de naissance manque : l'élève n'est ni importé ni modifié ; complétez la fiche dans "
        "SIECLE, puis refaites l'export.",
        "family_name": "EXEMPLE", "first_name": "Camille", "ine": None, "found": None,
    },
)  # fmt: skip
_CHANGE = shown(
    PupilChangeOut,
    {
        "kind": "deactivated", "pupil_id": "7f0f6f0e-55d5-4e0a-9d4b-5f0cf5b8a1c2", "siecle_id": "1482203",
        "family_name": "EXEMPLE", "first_name": "Camille", "birth_date": "2009-03-14", "division": "2MELEC",
        "reason": "left", "record_count": 14, "before": {"leaving_date": None}, "after": {"leaving_date": "2026-09-10"},
    },
)  # fmt: skip
_CSV = (
    "\ufeffLigne;Gravité;Identifiant SIECLE;Nom;Prénom;INE;Explication;Code\r\n"
    "1204;Élève rejeté;1482203;EXEMPLE;Camille;;La date de naissance manque : l'élève n'est ni importé ni modifié ; "
    "complétez la fiche dans SIECLE, puis refaites l'export.;birth_date_missing\r\n"
)
_STREAM = f"event: progress\nid: 7\ndata: {json.dumps(_COMPLETED, ensure_ascii=False)}\n\n"
_FILE = "(les octets d'ExportXML_ElevesSansAdresses.zip)"
_WORDS = ("Content-Language", "Vary")

_OPERATIONS = {
    f"POST {_IMPORTS}": Operation(
        "uploadSiecleFile",
        "Déposer le fichier des élèves",
        {202: Answer("L'import, en attente d'être traité", as_json(depose=_QUEUED), headers=("Location", *_WORDS))},
        request={
            "application/zip": {"zip": _FILE},
            "application/xml": {"xml": "<?xml version='1.0' encoding='ISO-8859-15'?><BEE_ELEVES>…</BEE_ELEVES>"},
            "multipart/form-data": {"formulaire": {"file": _FILE}},
        },
    ),
    f"GET {_IMPORTS}": Operation(
        "listSiecleImports",
        "Les imports de l'établissement",
        {
            200: Answer(
                "Les imports, par pages",
                as_json(page=page(_COMPLETED, _REFUSED, next_cursor="WyIyMDI2LTA5LTE2Il0"), vide=page()),
                headers=("Link", *_WORDS),
            )
        },
    ),
    f"GET {_ONE}": Operation(
        "readSiecleImport",
        "Un import",
        {
            200: Answer(
                "Où il en est",
                as_json(termine=_COMPLETED, a_confirmer=_AWAITING, refuse=_REFUSED),
                headers=_WORDS,
            )
        },
    ),
    f"GET {_ONE}/events": Operation(
        "followSiecleImport",
        "Suivre un import",
        {
            200: Answer(
                "Un événement `progress` à chaque changement ; `data` est l'import en JSON",
                {"text/event-stream": {"termine": _STREAM}},
                headers=_WORDS,
            ),
            204: Answer("Rien de nouveau depuis `Last-Event-ID`, et rien à venir"),
        },
    ),
    f"GET {_ONE}/rejections": Operation(
        "listSiecleRejections",
        "Les rejets et les avertissements d'un import",
        {
            200: Answer(
                "En JSON par pages, ou en CSV complet",
                {**as_json(page=page(_FINDING, next_cursor="WzIwMF0"), vide=page()), "text/csv": {"tableur": _CSV}},
                headers=("Link", "Content-Disposition", *_WORDS),
            )
        },
    ),
    f"GET {_ONE}/changes": Operation(
        "listSiecleChanges",
        "Ce qu'un import change, élève par élève",
        {
            200: Answer(
                "Les changements, par pages",
                as_json(page=page(_CHANGE, next_cursor="WzIwMF0"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"POST {_ONE}/confirm": Operation(
        "confirmSiecleImport",
        "Confirmer un import",
        {
            202: Answer(
                "L'import, de nouveau en attente d'être traité",
                as_json(
                    confirme=shown(
                        ImportOut,
                        {**_ASKED, **_READ, "finished_at": None, "confirmed_by": _BY,
                         "confirmed_at": "2026-09-16T07:10:00Z"},
                    )
                ),
                headers=_WORDS,
            )
        },
    ),
    f"POST {_ONE}/cancel": Operation(
        "cancelSiecleImport",
        "Annuler un import",
        {202: Answer("L'import annulé, ou qui va l'être", as_json(annule=_CANCELLED), headers=_WORDS)},
    ),
}  # fmt: skip

_PROBLEMS: Guide = {
    errors.IMPORT_UNKNOWN: Guidance(
        "L'établissement n'a pas d'import de ce numéro.",
        "The establishment has no import of this id.",
        "Reprenez le numéro dans la liste des imports de l'établissement.",
        "Take the id from the list of the establishment's imports.",
    ),
    errors.NOT_AWAITING_CONFIRMATION: Guidance(
        "L'import n'attend pas, ou plus, de confirmation ; `state` dit où il en est.",
        "The import does not await a confirmation, or no longer; `state` says how it stands.",
        "Relisez l'import : il n'y a sans doute plus rien à confirmer.",
        "Read the import again: there is probably nothing left to confirm.",
        {"state": "completed"},
    ),
    errors.NOT_CANCELLABLE: Guidance(
        "L'import est terminé, ou en cours d'application dans la base.",
        "The import is over, or being applied to the database.",
        "Pour revenir en arrière, déposez l'export SIECLE corrigé.",
        "To go back, upload the corrected SIECLE export.",
        {"state": "completed"},
    ),
    errors.UPLOAD_EMPTY: Guidance(
        "Le corps de la requête est vide.",
        "The body of the request is empty.",
        "Envoyez le fichier des élèves, zip ou XML.",
        "Send the pupil file, zip or XML.",
    ),
    errors.UPLOAD_FIELD_MISSING: Guidance(
        "Le formulaire n'a pas de fichier dans le champ « file ».",
        "The form has no file in its field “file”.",
        "Envoyez le fichier dans le champ « file », ou seul dans le corps de la requête.",
        "Send the file in the field “file”, or alone as the body.",
    ),
    errors.NOT_ACCEPTABLE: Guidance(
        "L'en-tête Accept ne laisse aucun des formats disponibles.",
        "The Accept header leaves none of the formats that there are.",
        "Demandez l'un des formats de `available`.",
        "Ask for one of the formats in `available`.",
        {"available": ["application/json", "text/csv"]},
    ),
}

BOOK = ApiBook(
    description="L'import du fichier des élèves (SIECLE) : dépôt, suivi, rejets, confirmation.",
    tags={"siecle-imports": "L'import du fichier des élèves exporté de SIECLE."},
    operations=_OPERATIONS,
    problems=_PROBLEMS,
    parameters={
        "import_id": "L'import",
        "kind": "Seulement les changements de cette sorte",
        "mode": "`preview` montre d'abord ce que l'import ferait",
        "severity": "Seulement les rejets, ou les avertissements",
    },
    closed_lists={
        "Mode": "Ce qui est demandé : appliquer, ou montrer d'abord.",
        "Phase": "Ce que fait un import en cours.",
        "Severity": "Ce qu'est devenue la ligne.",
        "State": "Où en est un import.",
        "StopReason": "Pourquoi un import attend une confirmation.",
    },
)
