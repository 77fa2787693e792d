"""What the OpenAPI document says of dead letters and of replays of event logs: names, words and examples."""

from collections.abc import Mapping

from cpro_platform.http import Answer, Operation, as_json, page, shown
from cpro_transfer.entrypoints.dead_letter_models import LetterCountOut, LetterInFull, LetterOut, SettledOut
from cpro_transfer.entrypoints.event_replay_models import EventReplayOut, SchoolReplayOut
from cpro_transfer.entrypoints.school_examples import PUPIL_ID

_LETTERS = "/v1/support/dead-letters"
_REPLAYS = "/v1/support/event-replays"
_TICKET = "CPRO-10482"
_LETTER_ID = "d4c1b2a0-3e5f-4a7b-8c9d-0e1f2a3b4c5d"
_LETTER = {
    "id": _LETTER_ID, "state": "waiting", "topic": "cpro.pupil", "partition": 3, "offset": 18422,
    "set_aside_at": "2026-09-16T07:03:00Z", "cause": "PoisonMessageError", "detail": "cpro.pupil.created.v1: uai",
    "group": "cpro-transfer-join", "event_type": "cpro.pupil.created.v1", "uai": "0752387M", "replay_of": None,
    "settled_at": None, "settled_by": None, "ticket": None, "reason": None,
}  # fmt: skip
_IN_FULL = shown(
    LetterInFull,
    {
        **_LETTER, "headers": [{"name": "ce_type", "value": "cpro.pupil.created.v1"}], "fields": None,
        "unreadable": "cpro.pupil.created.v1: uai: string_pattern_mismatch", "size_bytes": 312,
    },
)  # fmt: skip
_COUNT = {
    "topic": "cpro.pupil", "cause": "PoisonMessageError", "state": "waiting", "number": 3,
    "oldest": "2026-09-16T07:01:00Z", "newest": "2026-09-16T07:03:00Z",
}  # fmt: skip
_SETTLED = {"dry_run": False, "settled": 2, "superseded": 1, "left": 0, "counts": [_COUNT]}
_REPLAY_ID = "e5d2c3b1-4f60-4b8c-9dae-1f203b4c5d6e"
_REPLAY = {
    "id": _REPLAY_ID, "state": "counted", "establishments": ["0752387M"], "pupil_id": None, "import_id": None,
    "published_from": None, "published_to": None, "events_per_second": 500, "ticket": _TICKET,
    "requested_by": "assistance-07", "requested_at": "2026-09-20T09:00:00Z", "started_by": None, "started_at": None,
    "cancelled_by": None, "finished_at": None, "schools": 1, "schools_left": 1, "in_trouble": 0, "expected": 412,
    "published": 0, "counts": {"cpro.pupil.created.v1": 412},
}  # fmt: skip
_COUNTED = shown(EventReplayOut, _REPLAY)
_COUNTING = shown(EventReplayOut, {**_REPLAY, "state": "counting", "expected": 0, "counts": {}})
_RUNNING = shown(
    EventReplayOut,
    {**_REPLAY, "state": "running", "started_by": "assistance-07", "started_at": "2026-09-20T09:05:00Z"},
)
_CANCELLED = shown(
    EventReplayOut,
    {**_REPLAY, "state": "cancelled", "cancelled_by": "assistance-07", "finished_at": "2026-09-20T09:06:00Z"},
)
_SCHOOL = shown(
    SchoolReplayOut,
    {
        "uai": "0752387M", "expected": 412, "published": 412, "counts": {"cpro.pupil.created.v1": 412}, "done": True,
        "trouble": None,
    },
)  # fmt: skip

OPERATIONS: Mapping[str, Operation] = {
    f"GET {_LETTERS}": Operation(
        "listDeadLetters",
        "Les messages qui n'ont pas pu être traités, du plus récent au plus ancien",
        {
            200: Answer(
                "Les messages, par pages",
                as_json(page=page(shown(LetterOut, _LETTER), next_cursor="WyIyMDI2LTA5LTE2Il0"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_LETTERS}/counts": Operation(
        "countDeadLetters",
        "Combien de messages, par sujet, cause et état",
        {200: Answer("Les nombres", as_json(un_sujet=[shown(LetterCountOut, _COUNT)]))},
    ),
    f"GET {_LETTERS}/{{letter_id}}": Operation(
        "readDeadLetter",
        "Un message, avec ses en-têtes et son contenu",
        {200: Answer("Le message", as_json(illisible=_IN_FULL))},
    ),
    f"POST {_LETTERS}/replay": Operation(
        "replayDeadLetters",
        "Remettre des messages sur leur sujet, tels quels",
        {200: Answer("Ce qui a été fait, ou le serait", as_json(rejoues=shown(SettledOut, _SETTLED)))},
        request=as_json(
            choisis={"ids": [_LETTER_ID], "ticket": _TICKET, "dry_run": False},
            d_une_cause={"topic": "cpro.pupil", "cause": "PoisonMessageError", "ticket": _TICKET},
        ),
    ),
    f"POST {_LETTERS}/discard": Operation(
        "discardDeadLetters",
        "Écarter des messages, avec un motif",
        {
            200: Answer(
                "Ce qui a été fait, ou le serait",
                as_json(ecartes=shown(SettledOut, {**_SETTLED, "settled": 1, "superseded": 0})),
            )
        },
        request=as_json(
            choisis={
                "ids": [_LETTER_ID], "reason": "Envoyé par un essai de charge", "ticket": _TICKET, "dry_run": False,
            }
        ),
    ),
    f"POST {_REPLAYS}": Operation(
        "askForEventReplay",
        "Compter les événements à publier de nouveau",
        {202: Answer("Le rejeu, qui est en train d'être compté", as_json(demande=_COUNTING))},
        request=as_json(
            un_etablissement={"establishments": ["0752387M"], "ticket": _TICKET},
            un_eleve={"establishments": ["0752387M"], "pupil_id": PUPIL_ID, "ticket": _TICKET},
            une_periode={
                "published_from": "2026-09-01T00:00:00+02:00", "published_to": "2026-09-02T00:00:00+02:00",
                "ticket": _TICKET, "events_per_second": 100,
            },
        ),
    ),
    f"GET {_REPLAYS}": Operation(
        "listEventReplays",
        "Les rejeux, du plus récent au plus ancien",
        {
            200: Answer(
                "Les rejeux, par pages",
                as_json(page=page(_COUNTED, next_cursor="WyIyMDI2LTA5LTIwIl0"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"GET {_REPLAYS}/{{replay_id}}": Operation(
        "readEventReplay", "Un rejeu et où il en est", {200: Answer("Le rejeu", as_json(compte=_COUNTED))}
    ),
    f"GET {_REPLAYS}/{{replay_id}}/establishments": Operation(
        "listEventReplayEstablishments",
        "La part de chaque établissement",
        {
            200: Answer(
                "Les établissements, par pages",
                as_json(page=page(_SCHOOL, next_cursor="WyIwNzUyMzg3TSJd"), vide=page()),
                headers=("Link",),
            )
        },
    ),
    f"POST {_REPLAYS}/{{replay_id}}/start": Operation(
        "startEventReplay", "Lancer un rejeu compté", {200: Answer("Le rejeu", as_json(en_cours=_RUNNING))}
    ),
    f"POST {_REPLAYS}/{{replay_id}}/cancel": Operation(
        "cancelEventReplay", "Arrêter un rejeu", {200: Answer("Le rejeu", as_json(arrete=_CANCELLED))}
    ),
}  # fmt: skip
