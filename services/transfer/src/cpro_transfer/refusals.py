"""What authorisations and replays are refused for, as the API says it: stable codes, French and English."""

from uuid import UUID

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_contracts.transfers import Reason
from cpro_platform.errors import RefusedError
from cpro_transfer.domain.authorisations import Authorisation, AuthorisationState, TermsRefusal
from cpro_transfer.domain.sentences import sentence

DESTINATION_UNKNOWN = ProblemCode(
    "destination_unknown", 422, "Établissement d'accueil inconnu de CPro", "Destination not known to CPro"
)
SAME_ESTABLISHMENT = ProblemCode(
    "same_establishment", 422, "L'établissement d'accueil est le vôtre", "The destination is the school of origin"
)
DATE_IN_FUTURE = ProblemCode(
    "authorisation_date_in_future", 422, "Autorisation datée dans le futur", "Authorisation dated in the future"
)
TOO_OLD = ProblemCode("authorisation_too_old", 422, "Autorisation trop ancienne", "Authorisation too old")
GUARDIAN_REQUIRED = ProblemCode(
    "guardian_required", 422, "L'autorisation d'un responsable légal est requise", "A legal guardian must authorise"
)
NAMED_TWICE = ProblemCode("pupil_named_twice", 422, "Élève désigné deux fois", "Pupil named twice")
PUPIL_NOT_LEFT = ProblemCode("pupil_not_left", 409, "L'élève est encore présent", "The pupil is still present")
RECORDS_MOVED = ProblemCode(
    "records_already_moved", 409, "Les données ont déjà été transférées", "The records have already moved"
)
TRANSFER_AUTOMATIC = ProblemCode("transfer_is_automatic", 409, "Le transfert est automatique", "Transfer is automatic")
TRANSFER_UNDER_WAY = ProblemCode(
    "transfer_under_way", 409, "Un transfert est déjà prévu ou en cours", "A transfer is planned or under way"
)
AUTHORISATION_BEGUN = ProblemCode(
    "authorisation_begun", 409, "Le transfert autorisé a commencé", "The authorised transfer has begun"
)
AUTHORISATION_REVOKED = ProblemCode("authorisation_revoked", 409, "Autorisation retirée", "Authorisation revoked")
AUTHORISATION_EXPIRED = ProblemCode("authorisation_expired", 409, "Autorisation expirée", "Authorisation expired")
AUTHORISATION_TAKEN = ProblemCode(
    "authorisation_taken", 409, "Autorisation déjà prise en charge", "Authorisation already in hand"
)
CANDIDATE_UNKNOWN = ProblemCode(
    "candidate_unknown", 404, "Élève inconnu de l'établissement d'accueil", "Pupil not known at the destination"
)
CANDIDATE_NOT_PRESENT = ProblemCode(
    "candidate_not_present", 409, "L'élève n'est plus présent dans l'établissement d'accueil",
    "The pupil is not present at the destination",
)  # fmt: skip
CANDIDATES_EXIST = ProblemCode(
    "candidates_exist", 409, "L'établissement d'accueil a déjà cet élève", "The destination already has this pupil"
)
ORIGIN_NOT_OPTED_IN = ProblemCode(
    "origin_not_opted_in", 409, "Transferts désactivés à l'origine", "Transfers are off at the origin"
)
DESTINATION_NOT_OPTED_IN = ProblemCode(
    "destination_not_opted_in", 409, "Transferts désactivés à l'accueil", "Transfers are off at the destination"
)

SUBJECT_UNKNOWN = ProblemCode(
    "subject_unknown", 404, "Rien n'est détenu sur cet élève", "Nothing is held of this pupil"
)
ERASURE_PLAN_CHANGED = ProblemCode(
    "erasure_plan_changed", 409, "Ce qui serait effacé n'est pas ce qui a été confirmé",
    "What would be erased is not what was confirmed",
)  # fmt: skip
TICKET_MALFORMED = ProblemCode("ticket_malformed", 422, "Numéro de ticket invalide", "Invalid ticket number")

_OF_TERMS = {
    TermsRefusal.SAME_ESTABLISHMENT: (
        SAME_ESTABLISHMENT,
        "Indiquez l'UAI du nouvel établissement de l'élève.",
        "Give the UAI of the pupil's new school.",
    ),
    TermsRefusal.DATE_IN_FUTURE: (
        DATE_IN_FUTURE,
        "L'autorisation ne peut pas être datée d'un jour à venir.",
        "An authorisation can't be of a day to come.",
    ),
    TermsRefusal.TOO_OLD: (
        TOO_OLD,
        "À cette date, l'autorisation a déjà expiré : recueillez-en une nouvelle.",
        "Of that date it has expired already: collect a new one.",
    ),
    TermsRefusal.GUARDIAN_REQUIRED: (
        GUARDIAN_REQUIRED,
        "L'élève avait moins de 18 ans à cette date : un responsable légal doit autoriser le transfert.",
        "The pupil was under 18 on that date: a legal guardian must authorise the transfer.",
    ),
}


def of_terms(refusal: TermsRefusal) -> RefusedError:
    """The terms are not acceptable."""
    return RefusedError(*_OF_TERMS[refusal])


def malformed_uai(text: str) -> RefusedError:
    """The destination's UAI has not the form of one."""
    return RefusedError(
        problems.INVALID_UAI,
        f"« {text[:20]} » n'est pas un UAI : sept chiffres suivis de la lettre de contrôle qui leur correspond.",
        f'"{text[:20]}" is no UAI: seven digits followed by the control letter that they call for.',
    )


def destination_unknown(uai: str) -> RefusedError:
    """No such establishment has a database."""
    return RefusedError(
        DESTINATION_UNKNOWN, f"L'établissement {uai} n'utilise pas CPro.", f"Establishment {uai} does not use CPro."
    )


def pupil_unknown() -> RefusedError:
    """Unknown, or another school's: the two are not told apart."""
    return RefusedError(
        problems.NOT_FOUND, "Cet établissement n'a pas cet élève.", "This establishment has no such pupil."
    )


def named_twice() -> RefusedError:
    """One request, one authorisation a pupil."""
    return RefusedError(
        NAMED_TWICE, "Désignez chaque élève une seule fois par demande.", "Name each pupil once a request."
    )


def not_left() -> RefusedError:
    """Only who has left is transferred."""
    return RefusedError(
        PUPIL_NOT_LEFT,
        "Ses données restent dans l'établissement tant que l'élève y est actif.",
        "The records stay as long as the pupil is active here.",
    )


def records_moved() -> RefusedError:
    """There is nothing left to transfer."""
    return RefusedError(
        RECORDS_MOVED, "Il ne reste rien à transférer pour cet élève.", "Nothing of this pupil is left to transfer."
    )


def automatic(reason: Reason) -> RefusedError:
    """The manual: "Ne pas sélectionner les élèves dans la liste qui s'affiche"."""
    return RefusedError(
        TRANSFER_AUTOMATIC,
        "Les deux établissements utilisent SIECLE et l'élève a un INE : n'autorisez rien, le transfert se fera de "
        f"lui-même. {sentence(reason, 'fr')}",
        "Both schools use SIECLE and the pupil has an INE: authorise nothing, the transfer happens by itself. "
        f"{sentence(reason, 'en')}",
        reason=reason,
    )


def under_way(transfer_id: UUID) -> RefusedError:
    """Another transfer has the pupil."""
    return RefusedError(
        TRANSFER_UNDER_WAY,
        "Attendez la fin de ce transfert.",
        "Wait for the end of that transfer.",
        transfer_id=str(transfer_id),
    )


def begun(authorisation: Authorisation) -> RefusedError:
    """Too late to change or to take back."""
    return RefusedError(
        AUTHORISATION_BEGUN,
        "Les données sont en cours de transfert, ou transférées : l'autorisation ne peut plus être modifiée ni "
        "retirée.",
        "The records are being moved, or have moved: the authorisation can't be changed or revoked any more.",
        transfer_id=str(authorisation.transfer_id),
    )


def ended(state: AuthorisationState) -> RefusedError:
    """It holds no longer."""
    expired = state is AuthorisationState.EXPIRED
    return RefusedError(
        AUTHORISATION_EXPIRED if expired else AUTHORISATION_REVOKED,
        "L'établissement d'origine doit recueillir une nouvelle autorisation.",
        "The school of origin must collect a new authorisation.",
    )


def taken(authorisation: Authorisation) -> RefusedError:
    """Of two at once the first one's choice stands."""
    return RefusedError(
        AUTHORISATION_TAKEN,
        f"Elle est traitée sous le ticket {authorisation.ticket}, pour un élève déjà choisi.",
        f"It is in hand under ticket {authorisation.ticket}, for a pupil chosen already.",
        ticket=authorisation.ticket,
        pupil_id=str(authorisation.destination_pupil_id),
    )


def ticket_malformed() -> RefusedError:
    """Nothing is done without a ticket."""
    return RefusedError(
        TICKET_MALFORMED,
        "Indiquez le numéro du ticket d'assistance, tel que l'outil de tickets l'écrit : CPRO-10482, par exemple.",
        "Give the number of the support ticket, as the ticket tool writes it: CPRO-10482, for example.",
    )


def authorisation_unknown() -> RefusedError:
    """There is no such authorisation."""
    return RefusedError(problems.NOT_FOUND, "Cette autorisation n'existe pas.", "There is no such authorisation.")


def candidate_unknown() -> RefusedError:
    """The destination has no such pupil."""
    return RefusedError(
        CANDIDATE_UNKNOWN, "Choisissez un élève de la liste des candidats.", "Choose a pupil of the candidates."
    )


def candidate_not_present() -> RefusedError:
    """Records only go to who is there."""
    return RefusedError(
        CANDIDATE_NOT_PRESENT,
        "Seul un élève actif peut recevoir des données.",
        "Only an active pupil can be given records.",
    )


def candidates_exist(pupil_ids: list[str]) -> RefusedError:
    """A second pupil would be one too many."""
    return RefusedError(
        CANDIDATES_EXIST,
        "Choisissez l'élève existant au lieu d'en créer un second.",
        "Choose the pupil who is there instead of creating a second one.",
        pupil_ids=pupil_ids,
    )


_OF_REASONS = {
    Reason.ORIGIN_NOT_OPTED_IN: ORIGIN_NOT_OPTED_IN,
    Reason.DESTINATION_NOT_OPTED_IN: DESTINATION_NOT_OPTED_IN,
    Reason.NOT_LEFT: PUPIL_NOT_LEFT,
    Reason.NOT_ARRIVED: CANDIDATE_NOT_PRESENT,
    Reason.COMPLETED: RECORDS_MOVED,
}


def of_replay(reason: Reason) -> RefusedError:
    """An establishment's own database says no."""
    return RefusedError(_OF_REASONS[reason], sentence(reason, "fr"), sentence(reason, "en"))


ALL_OF_TERMS = (
    problems.NOT_FOUND, problems.INVALID_UAI, DESTINATION_UNKNOWN, SAME_ESTABLISHMENT, DATE_IN_FUTURE, TOO_OLD,
    GUARDIAN_REQUIRED, PUPIL_NOT_LEFT, RECORDS_MOVED, TRANSFER_AUTOMATIC, TRANSFER_UNDER_WAY, AUTHORISATION_BEGUN,
)  # fmt: skip
ALL_OF_REPLAYS = (
    TICKET_MALFORMED, problems.NOT_FOUND, CANDIDATE_UNKNOWN, CANDIDATE_NOT_PRESENT, CANDIDATES_EXIST,
    AUTHORISATION_BEGUN, AUTHORISATION_REVOKED, AUTHORISATION_EXPIRED, AUTHORISATION_TAKEN, ORIGIN_NOT_OPTED_IN,
    DESTINATION_NOT_OPTED_IN, PUPIL_NOT_LEFT, RECORDS_MOVED,
)  # fmt: skip
