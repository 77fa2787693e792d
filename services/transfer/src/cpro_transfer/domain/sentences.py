"""Every reason in words, French and English: what is so, what would change it, and whose turn it is."""

from collections.abc import Mapping
from enum import StrEnum

from cpro_contracts.transfers import Reason


class Turn(StrEnum):
    """Who or what the records wait for."""

    NOBODY = "nobody"
    """Nothing is left to do, or to wait for."""
    TIME = "time"
    """It goes on by itself."""
    ORIGIN = "origin"
    DESTINATION = "destination"
    SUPPORT = "support"
    OPERATIONS = "operations"


SENTENCES: Mapping[Reason, tuple[str, str]] = {
    Reason.NOT_YET_ANNOUNCED: (
        "Le dernier changement de cet élève vient d'être enregistré dans l'établissement ; il n'est pas encore parvenu "
        "au service des transferts.",
        "The latest change of this pupil was saved at the school; it has not reached the transfer service yet.",
    ),
    Reason.NOT_LEFT: (
        "L'élève est encore présent dans l'établissement d'origine : ses données y restent. Elles suivront après "
        "l'import SIECLE qui constatera son départ.",
        "The pupil is still present at the school of origin: the records stay there until a SIECLE import shows the "
        "departure.",
    ),
    Reason.NOT_ARRIVED: (
        "Aucun établissement n'a encore importé cet élève. Le transfert se fera de lui-même après l'import SIECLE de "
        "l'établissement d'accueil.",
        "No establishment has imported this pupil yet. The transfer will follow the SIECLE import of the new school.",
    ),
    Reason.ORIGIN_NOT_OPTED_IN: (
        "L'établissement d'origine n'a pas activé le transfert des données (Paramètres / Transferts).",
        "The school of origin has not activated transfers (Paramètres / Transferts).",
    ),
    Reason.DESTINATION_NOT_OPTED_IN: (
        "L'établissement d'accueil n'a pas activé le transfert des données (Paramètres / Transferts).",
        "The new school has not activated transfers (Paramètres / Transferts).",
    ),
    Reason.NO_INE: (
        "L'élève n'a pas d'INE : le transfert ne peut pas être automatique. Désignez l'établissement d'accueil dans "
        "la liste des élèves transférables, puis ouvrez un ticket d'assistance.",
        "The pupil has no INE: the transfer can't be automatic. Name the new school in the list of transferable "
        "pupils, then open a support ticket.",
    ),
    Reason.INE_NOT_TRUSTED: (
        "L'INE de l'élève est erroné ou attribué à un autre élève : le transfert ne peut pas être automatique. "
        "Faites corriger l'INE dans SIECLE, ou ouvrez un ticket d'assistance.",
        "The pupil's INE is wrong or given to another pupil: the transfer can't be automatic. Have the INE corrected "
        "in SIECLE, or open a support ticket.",
    ),
    Reason.NOT_FROM_SIECLE: (
        "L'élève n'a pas été créé par un import SIECLE : le transfert ne peut pas être automatique.",
        "The pupil was not created by a SIECLE import: the transfer can't be automatic.",
    ),
    Reason.AMBIGUOUS_DESTINATION: (
        "L'élève est présent dans plusieurs établissements d'accueil à la fois. Le transfert reprendra de lui-même "
        "lorsqu'il n'en restera qu'un.",
        "The pupil is present at several new schools at once. The transfer will go on by itself once only one is left.",
    ),
    Reason.IDENTITY_MISMATCH: (
        "Le même INE désigne deux élèves dont l'identité diffère : rien n'a été transféré. Ouvrez un ticket "
        "d'assistance.",
        "The same INE names two pupils whose identities differ: nothing was transferred. Open a support ticket.",
    ),
    Reason.SETTLING: (
        "Le transfert est prévu ; un délai laisse le temps de corriger un import.",
        "The transfer is planned; a delay leaves time to correct an import.",
    ),
    Reason.IN_PROGRESS: ("Le transfert est en cours.", "The transfer is under way."),
    Reason.COMPLETED: ("Les données ont été transférées.", "The records have been transferred."),
    Reason.RETURNED: (
        "L'élève est revenu dans l'établissement d'origine avant le transfert.",
        "The pupil came back to the school of origin before the transfer.",
    ),
    Reason.UNDONE: (
        "Le transfert a été annulé par l'assistance : les données sont revenues dans l'établissement d'origine.",
        "Support has undone the transfer: the records are back at the school of origin.",
    ),
    Reason.CANCELLED_BY_SUPPORT: (
        "L'assistance a annulé ce transfert : les données restent dans l'établissement d'origine.",
        "Support has cancelled this transfer: the records stay at the school of origin.",
    ),
    Reason.RECORDS_EDITED: (
        "Des données transférées ont été modifiées depuis leur arrivée : le transfert ne peut pas être défait. "
        "L'assistance est prévenue.",
        "Transferred records were changed after their arrival: the transfer can't be undone. Support has been told.",
    ),
    Reason.CATALOGUE_INCOMPLETE: (
        "Une mise à jour technique de CPro est nécessaire avant le transfert. L'exploitation est prévenue.",
        "CPro needs a technical update before the transfer. Operations have been told.",
    ),
    Reason.SCHEMA_BEHIND: (
        "La base d'un des établissements est en cours de mise à jour. Le transfert reprendra de lui-même.",
        "The database of one of the schools is being updated. The transfer will go on by itself.",
    ),
    Reason.TENANT_UNAVAILABLE: (
        "La base d'un des établissements est momentanément indisponible : rien n'est perdu. Le transfert reprendra de "
        "lui-même.",
        "The database of one of the schools is away for now: nothing is lost. The transfer will go on by itself.",
    ),
    Reason.DIGEST_MISMATCH: (
        "La vérification des données transférées a échoué : rien n'a été supprimé. L'assistance est prévenue.",
        "The transferred records could not be verified: nothing was deleted. Support has been told.",
    ),
    Reason.LANDING_LOST: (
        "La base de l'établissement d'accueil a été restaurée à une date antérieure à l'arrivée des données. "
        "L'exploitation est prévenue : le reçu de l'établissement d'origine dit ce qui manque.",
        "The database of the new school was restored to a time before the records arrived. Operations have been told: "
        "the receipt of the school of origin says what is missing.",
    ),
    Reason.ATTACHMENT_UNREADABLE: (
        "Une pièce jointe ne peut pas être lue : rien n'a été transféré. L'assistance est prévenue.",
        "An attachment can't be read: nothing was transferred. Support has been told.",
    ),
    Reason.LANDING_REFUSED: (
        "La base de l'établissement d'accueil refuse les données : rien n'a été transféré. L'assistance est prévenue.",
        "The database of the new school refuses the records: nothing was transferred. Support has been told.",
    ),
    Reason.INE_WITHDRAWN: (
        "L'INE de l'élève a été corrigé dans l'établissement : le transfert suit désormais le nouvel INE.",
        "The pupil's INE was corrected at the school: the transfer now follows the new one.",
    ),
    Reason.AUTHORISATION_AWAITING_SUPPORT: (
        "L'autorisation est enregistrée ; le transfert attend l'assistance.",
        "The authorisation is recorded; the transfer waits for support.",
    ),
    Reason.AUTHORISATION_REVOKED: ("L'autorisation a été retirée.", "The authorisation was revoked."),
    Reason.AUTHORISATION_EXPIRED: ("L'autorisation a expiré.", "The authorisation has expired."),
}


def sentence(reason: Reason, language: str) -> str:
    """The sentence for a reason, in French or English."""
    return SENTENCES[reason][1 if language == "en" else 0]


_SUPPORT = (
    "L'assistance examine le dossier ; ouvrez un ticket si cela dure.",
    "Support looks into it; open a ticket if it lasts.",
)
_OPERATIONS = (
    "L'exploitation intervient ; vous n'avez rien à faire.",
    "Operations act; nothing for you to do.",
)
_BY_ITSELF = ("Le transfert avance de lui-même ; vous n'avez rien à faire.", "It goes on by itself; nothing to do.")
_OVER = ("Plus rien n'est attendu.", "Nothing more is waited for.")
_AUTHORISE = (
    "Désignez l'établissement d'accueil dans la liste des élèves transférables, puis ouvrez un ticket d'assistance.",
    "Name the new school in the list of transferable pupils, then open a support ticket.",
)

NEXT_STEPS: Mapping[Reason, tuple[Turn, str, str]] = {
    Reason.NOT_YET_ANNOUNCED: (
        Turn.TIME,
        "Cela prend d'ordinaire quelques instants ; au-delà d'une heure, ouvrez un ticket d'assistance.",
        "That takes moments as a rule; after an hour, open a support ticket.",
    ),
    Reason.NOT_LEFT: (
        Turn.ORIGIN,
        "Un import SIECLE de l'établissement d'origine, où l'élève n'est plus.",
        "A SIECLE import of the school of origin, without the pupil.",
    ),
    Reason.NOT_ARRIVED: (
        Turn.DESTINATION,
        "Un import SIECLE de l'établissement d'accueil, où l'élève figure.",
        "A SIECLE import of the new school, with the pupil.",
    ),
    Reason.ORIGIN_NOT_OPTED_IN: (
        Turn.ORIGIN,
        "L'établissement d'origine active le transfert (Paramètres / Transferts).",
        "The school of origin activates transfers (Paramètres / Transferts).",
    ),
    Reason.DESTINATION_NOT_OPTED_IN: (
        Turn.DESTINATION,
        "L'établissement d'accueil active le transfert (Paramètres / Transferts).",
        "The new school activates transfers (Paramètres / Transferts).",
    ),
    Reason.NO_INE: (Turn.SUPPORT, *_AUTHORISE),
    Reason.INE_NOT_TRUSTED: (
        Turn.ORIGIN,
        "L'INE est corrigé dans SIECLE et importé ; sinon, un ticket d'assistance.",
        "The INE is corrected in SIECLE and imported; else a support ticket.",
    ),
    Reason.NOT_FROM_SIECLE: (
        Turn.SUPPORT,
        "Un import SIECLE où l'élève figure ; sinon, un ticket d'assistance.",
        "A SIECLE import with the pupil; else a support ticket.",
    ),
    Reason.AMBIGUOUS_DESTINATION: (
        Turn.DESTINATION,
        "Un seul des établissements garde l'élève dans son import SIECLE.",
        "Only one of the schools keeps the pupil in its SIECLE import.",
    ),
    Reason.IDENTITY_MISMATCH: (Turn.SUPPORT, *_SUPPORT),
    Reason.SETTLING: (Turn.TIME, *_BY_ITSELF),
    Reason.IN_PROGRESS: (Turn.TIME, *_BY_ITSELF),
    Reason.COMPLETED: (Turn.NOBODY, *_OVER),
    Reason.RETURNED: (Turn.NOBODY, *_OVER),
    Reason.UNDONE: (Turn.SUPPORT, *_SUPPORT),
    Reason.CANCELLED_BY_SUPPORT: (
        Turn.SUPPORT,
        "Un fait nouveau (import SIECLE, activation du transfert) ou, à défaut, un ticket d'assistance.",
        "A new fact (a SIECLE import, an opt-in); else a support ticket.",
    ),
    Reason.RECORDS_EDITED: (Turn.SUPPORT, *_SUPPORT),
    Reason.CATALOGUE_INCOMPLETE: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.SCHEMA_BEHIND: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.TENANT_UNAVAILABLE: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.DIGEST_MISMATCH: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.LANDING_LOST: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.ATTACHMENT_UNREADABLE: (Turn.OPERATIONS, *_OPERATIONS),
    Reason.LANDING_REFUSED: (Turn.SUPPORT, *_SUPPORT),
    Reason.INE_WITHDRAWN: (Turn.TIME, *_BY_ITSELF),
    Reason.AUTHORISATION_AWAITING_SUPPORT: (Turn.SUPPORT, *_SUPPORT),
    Reason.AUTHORISATION_REVOKED: (
        Turn.ORIGIN,
        "Une nouvelle autorisation est recueillie.",
        "A new authorisation is collected.",
    ),
    Reason.AUTHORISATION_EXPIRED: (
        Turn.ORIGIN,
        "Une nouvelle autorisation est recueillie.",
        "A new authorisation is collected.",
    ),
}


def next_step(reason: Reason, language: str) -> str:
    """What would change it, in French or English."""
    _, french, english = NEXT_STEPS[reason]
    return english if language == "en" else french


def turn(reason: Reason) -> Turn:
    """Who or what the records wait for."""
    return NEXT_STEPS[reason][0]
