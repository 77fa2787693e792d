"""When this service's problems are met, and what to do about them."""

from cpro_platform.http import Guidance, Guide
from cpro_transfer import refusals
from cpro_transfer.entrypoints import support_problems
from cpro_transfer.handlers import dead_letters, replaying_events

_TRANSFER = {"transfer_id": "5f0c1a52-9d7e-4a53-8d2a-0f9c6a7b1e10"}
_PUPIL = "c1e0a9d4-2b7f-4c53-9e11-6a0f4b8d2c37"
_NEW_ONE = (
    "L'établissement d'origine doit recueillir une nouvelle autorisation.",
    "The school of origin must collect a new authorisation.",
)

_OF_TERMS: Guide = {
    refusals.DESTINATION_UNKNOWN: Guidance(
        "L'établissement d'accueil désigné n'a pas de base dans CPro.",
        "The destination that is named has no database in CPro.",
        "Vérifiez l'UAI du nouvel établissement ; s'il n'utilise pas CPro, rien ne peut y être transféré.",
        "Check the UAI of the new school; if it does not use CPro, nothing can be transferred there.",
    ),
    refusals.SAME_ESTABLISHMENT: Guidance(
        "L'UAI d'accueil est celui de l'établissement qui autorise.",
        "The UAI of the destination is that of the school that authorises.",
        "Indiquez l'UAI du nouvel établissement de l'élève.",
        "Give the UAI of the pupil's new school.",
    ),
    refusals.DATE_IN_FUTURE: Guidance(
        "La date de l'autorisation n'est pas encore venue.",
        "The date of the authorisation is yet to come.",
        "Indiquez le jour où l'autorisation a été donnée.",
        "Give the day on which the authorisation was given.",
    ),
    refusals.TOO_OLD: Guidance(
        "Donnée à cette date, l'autorisation a déjà expiré.",
        "Given on that date, the authorisation has expired already.",
        "Recueillez une nouvelle autorisation.",
        "Collect a new authorisation.",
    ),
    refusals.GUARDIAN_REQUIRED: Guidance(
        "L'élève avait moins de 18 ans à la date de l'autorisation, donnée par lui seul.",
        "The pupil was under 18 on the date of the authorisation, and alone gave it.",
        "Recueillez l'autorisation d'un responsable légal.",
        "Collect the authorisation of a legal guardian.",
    ),
    refusals.NAMED_TWICE: Guidance(
        "Le même élève figure plusieurs fois dans la demande ; ce code n'est donné que dans `outcomes`.",
        "The same pupil is in the request more than once; this code is only found in `outcomes`.",
        "Désignez chaque élève une seule fois par demande.",
        "Name each pupil once a request.",
    ),
    refusals.PUPIL_NOT_LEFT: Guidance(
        "L'élève est encore actif dans l'établissement d'origine.",
        "The pupil is still active at the school of origin.",
        "Attendez l'import SIECLE qui constatera son départ.",
        "Wait for the SIECLE import that shows the departure.",
    ),
    refusals.RECORDS_MOVED: Guidance(
        "Les données de l'élève ont déjà quitté l'établissement.",
        "The pupil's records have already left the establishment.",
        "Il n'y a rien à faire : consultez le transfert terminé.",
        "There is nothing to do: look at the completed transfer.",
    ),
    refusals.TRANSFER_AUTOMATIC: Guidance(
        "Les deux établissements utilisent SIECLE et l'élève a un INE ; `reason` dit ce que le transfert attend.",
        "Both schools use SIECLE and the pupil has an INE; `reason` says what the transfer waits for.",
        "N'autorisez rien : le transfert se fera de lui-même.",
        "Authorise nothing: the transfer happens by itself.",
        {"reason": "not_arrived"},
    ),
    refusals.TRANSFER_UNDER_WAY: Guidance(
        "Un transfert automatique de cet élève est prévu ou en cours.",
        "An automatic transfer of this pupil is planned or under way.",
        "Attendez la fin de ce transfert (`transfer_id`).",
        "Wait for the end of that transfer (`transfer_id`).",
        _TRANSFER,
    ),
    refusals.AUTHORISATION_BEGUN: Guidance(
        "Les données sont en cours de transfert, ou transférées, à ce titre.",
        "The records are being moved, or have moved, under this authorisation.",
        "L'autorisation ne peut plus être modifiée ni retirée ; l'assistance peut défaire le transfert terminé.",
        "It can't be changed or revoked any more; support can undo the completed transfer.",
        _TRANSFER,
    ),
}

_OF_REPLAYS: Guide = {
    refusals.AUTHORISATION_REVOKED: Guidance(
        "L'autorisation a été retirée.", "The authorisation was revoked.", *_NEW_ONE
    ),
    refusals.AUTHORISATION_EXPIRED: Guidance(
        "L'autorisation n'est plus valable.", "The authorisation has expired.", *_NEW_ONE
    ),
    refusals.AUTHORISATION_TAKEN: Guidance(
        "L'autorisation est traitée sous un autre ticket, ou pour un autre élève.",
        "The authorisation is in hand under another ticket, or for another pupil.",
        "Reprenez le ticket et l'élève indiqués, ou laissez faire qui l'a prise en charge.",
        "Take the ticket and the pupil that are named, or leave it to who has it in hand.",
        {"ticket": "CPRO-10482", "pupil_id": _PUPIL},
    ),
    refusals.CANDIDATE_UNKNOWN: Guidance(
        "L'établissement d'accueil n'a pas d'élève de cet identifiant.",
        "The destination has no pupil of this id.",
        "Choisissez un élève de la liste des candidats.",
        "Choose a pupil of the candidates.",
    ),
    refusals.CANDIDATE_NOT_PRESENT: Guidance(
        "L'élève choisi n'est plus actif dans l'établissement d'accueil.",
        "The chosen pupil is no longer active at the destination.",
        "Choisissez un élève actif : lui seul peut recevoir des données.",
        "Choose an active pupil: only one can be given records.",
    ),
    refusals.CANDIDATES_EXIST: Guidance(
        "Un élève est à créer, alors que l'établissement d'accueil a déjà celui-ci (`pupil_ids`).",
        "A pupil is to be created, but the destination has this one already (`pupil_ids`).",
        "Choisissez l'élève existant au lieu d'en créer un second.",
        "Choose the pupil who is there instead of creating a second one.",
        {"pupil_ids": [_PUPIL]},
    ),
    refusals.ORIGIN_NOT_OPTED_IN: Guidance(
        "L'établissement d'origine n'a pas activé le transfert des données.",
        "The school of origin has not activated transfers.",
        "Demandez-lui de l'activer (« Paramètres / Transferts »), puis réessayez.",
        "Ask it to activate them (“Paramètres / Transferts”), then try again.",
    ),
    refusals.DESTINATION_NOT_OPTED_IN: Guidance(
        "L'établissement d'accueil n'a pas activé le transfert des données.",
        "The destination has not activated transfers.",
        "Demandez-lui de l'activer (« Paramètres / Transferts »), puis réessayez.",
        "Ask it to activate them (“Paramètres / Transferts”), then try again.",
    ),
    refusals.TICKET_MALFORMED: Guidance(
        "Le numéro de ticket n'a pas la forme de ceux de l'outil de tickets.",
        "The ticket number has not the form of the ticket tool's.",
        "Indiquez-le tel que l'outil de tickets l'écrit : CPRO-10482, par exemple.",
        "Give it as the ticket tool writes it: CPRO-10482, for example.",
    ),
}

_OF_TRANSFERS: Guide = {
    support_problems.NOT_RETRYABLE: Guidance(
        "Le transfert n'est ni retenu ni reporté ; `state` dit où il en est.",
        "The transfer is neither held nor postponed; `state` says how it stands.",
        "Relisez-le : il avance sans doute de lui-même.",
        "Read it again: it probably goes on by itself.",
        {"state": "completed", "reason": None},
    ),
    support_problems.NOT_CANCELLABLE: Guidance(
        "Les données sont arrivées, ou le transfert est déjà terminé ou annulé.",
        "The records have landed, or the transfer is completed or cancelled already.",
        "Un transfert terminé se défait (`undo`) au lieu de s'annuler.",
        "A completed transfer is undone (`undo`), not cancelled.",
        {"state": "completed", "reason": None},
    ),
    support_problems.UNDO_UNDER_WAY: Guidance(
        "Un retour de ce transfert est déjà prévu ou en cours.",
        "An undo of this transfer is planned or under way.",
        "Suivez ce retour dans la liste des transferts.",
        "Follow that undo in the list of transfers.",
        {"state": "completed", "reason": None},
    ),
    support_problems.UNDO_REFUSED: Guidance(
        "Le transfert n'est pas terminé, est trop ancien, ou l'établissement d'accueil a touché aux données reçues.",
        "The transfer is not completed, is too old, or the destination has touched the records that it received.",
        "`reason` dit pourquoi, `touched` quelles lignes : voyez-les avec l'établissement d'accueil.",
        "`reason` says why, `touched` which rows: look at them with the destination.",
        {
            "reason": "records_edited",
            "touched": [{"table": "report", "id": "0d1c2b3a-4958-4767-8695-a4b3c2d1e0f9", "change": "edited"}],
            "number": 1,
        },
    ),
    dead_letters.LETTER_UNKNOWN: Guidance(
        "Aucun message en échec ne porte l'un des identifiants ; rien n'a été fait.",
        "There is no dead letter of one of the ids; nothing was done.",
        "Reprenez les identifiants dans la liste des messages en échec.",
        "Take the ids from the list of dead letters.",
    ),
    dead_letters.LETTER_SETTLED: Guidance(
        "L'un des messages a déjà été rejoué ou écarté par une autre demande ; rien n'a été fait.",
        "One of the letters was replayed or discarded before by another request; nothing was done.",
        "Retirez-le de la sélection, ou renvoyez la demande d'origine avec son `request_id`.",
        "Leave it out, or send the first request again with its `request_id`.",
    ),
    replaying_events.REPLAY_UNKNOWN: Guidance(
        "Il n'y a pas de rejeu de cet identifiant.",
        "There is no replay of this id.",
        "Reprenez l'identifiant dans la liste des rejeux.",
        "Take the id from the list of replays.",
    ),
    replaying_events.REPLAY_MISCHOSEN: Guidance(
        "La sélection est vide, sans début, à l'envers, trop longue, ou ne dit pas de quel établissement ; `why` le "
        "précise.",
        "The selection is empty, has no beginning, is backwards, too long, or doesn't say which school; `why` says it.",
        "Donnez des établissements, ou une période avec son début.",
        "Give establishments, or a range of time with its beginning.",
        {"why": "nothing"},
    ),
    replaying_events.REPLAY_STATE: Guidance(
        "Le rejeu n'est pas encore compté, est terminé, ou quelqu'un d'autre l'a lancé.",
        "The replay is not counted yet, has ended, or somebody else has started it.",
        "Relisez le rejeu pour voir où il en est.",
        "Read the replay again to see how it stands.",
        {"state": "counting"},
    ),
}

_OF_SUBJECTS: Guide = {
    refusals.SUBJECT_UNKNOWN: Guidance(
        "L'établissement n'a pas d'élève de cet identifiant, ou rien n'est plus détenu sur lui.",
        "The school has no pupil of this id, or nothing is held of them any more.",
        "Vérifiez l'UAI et l'identifiant auprès de l'établissement.",
        "Check the UAI and the id with the school.",
    ),
    refusals.ERASURE_PLAN_CHANGED: Guidance(
        "Depuis l'annonce, les données de l'élève ont changé ; rien n'a été effacé.",
        "The pupil's records have changed since they were listed; nothing was erased.",
        "Relisez ce qui serait effacé, puis confirmez le nouveau `digest`.",
        "Read again what would be erased, then confirm the new `digest`.",
    ),
}

PROBLEMS: Guide = {**_OF_TERMS, **_OF_REPLAYS, **_OF_TRANSFERS, **_OF_SUBJECTS}
