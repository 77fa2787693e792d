"""Tell an administrator why a pupil's records have or have not moved, in words and by a code of the closed list.

An administrator learns of another establishment only what they need: its name once the pupil is active there and both
have opted in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from cpro_contracts.identifiers import is_joined
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.matching import Enrolment, Held, Move, Waiting, arrivals_elsewhere, decide
from cpro_transfer.domain.transfers import Transfer, TransferState


class Direction(StrEnum):
    """Seen from the establishment that asks."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


class Condition(StrEnum):
    """What a transfer needs (the manual: Prérequis)."""

    HAS_TRUSTED_INE = "has_trusted_ine"
    HAS_LEFT_ORIGIN = "has_left_origin"
    ORIGIN_OPTED_IN = "origin_opted_in"
    HAS_ARRIVED = "has_arrived"
    DESTINATION_OPTED_IN = "destination_opted_in"


@dataclass(frozen=True, slots=True)
class Known:
    """An enrolment as the transfer database has it, with since when."""

    enrolment: Enrolment
    since: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, since when, and which of the conditions hold."""

    direction: Direction
    reason: Reason
    since: datetime | None
    conditions: Mapping[Condition, bool]
    transfer: Transfer | None = None
    other_uai: str | None = None
    """The other establishment, where it may be named."""


_IN_PROGRESS = frozenset({TransferState.PLANNED, TransferState.HOLDING, TransferState.COPYING, TransferState.LANDED})


def explain(
    uai: str,
    match_key: str,
    enrolments: Sequence[Known],
    opted_in: Mapping[str, datetime | None],
    transfers: Sequence[Transfer],
    *,
    now: datetime,
) -> Explanation:
    """What to tell the establishment `uai`, which has one of the `enrolments`.

    `opted_in` has the opted-in establishments, each with since when; `transfers` those of this match key, newest first.
    """
    here = next(known for known in enrolments if known.enrolment.uai == uai)
    origin = _origin_to_explain(here, enrolments)
    direction = Direction.OUTGOING if origin is here else Direction.INCOMING
    everyone = [known.enrolment for known in enrolments]
    decision = decide(match_key, origin.enrolment, everyone, frozenset(opted_in))
    arrivals = arrivals_elsewhere(origin.enrolment, everyone)
    transfer = _latest(transfers, origin.enrolment)
    reason = _reason(decision, transfer, now)
    conditions = {
        Condition.HAS_TRUSTED_INE: is_joined(match_key),
        Condition.HAS_LEFT_ORIGIN: not origin.enrolment.active,
        Condition.ORIGIN_OPTED_IN: origin.enrolment.uai in opted_in,
        Condition.HAS_ARRIVED: len(arrivals) > 0,
        Condition.DESTINATION_OPTED_IN: len(arrivals) == 1 and arrivals[0].uai in opted_in,
    }
    since = transfer.state_changed_at if _speaks(transfer, reason) and transfer else origin.since
    return Explanation(direction, reason, since, conditions, transfer, _nameable(uai, origin, decision, transfer))


def _origin_to_explain(here: Known, enrolments: Sequence[Known]) -> Known:
    """Of a pupil who is active here, the records that may still come are elsewhere; otherwise those that are here."""
    if not here.enrolment.active:
        return here
    elsewhere = [known for known in enrolments if known is not here and not known.enrolment.withdrawn]
    waiting = [known for known in elsewhere if not known.enrolment.active] or elsewhere
    return max(waiting, key=lambda known: known.since, default=here)


def _latest(transfers: Sequence[Transfer], origin: Enrolment) -> Transfer | None:
    own = (t for t in transfers if t.origin_uai == origin.uai and t.origin_revision == origin.revision)
    return next((t for t in own if t.state is not TransferState.CANCELLED), None)


def _reason(decision: Move | Held | Waiting, transfer: Transfer | None, now: datetime) -> Reason:
    if transfer is not None:
        if transfer.state is TransferState.UNDONE:
            return Reason.UNDONE
        if transfer.state is TransferState.COMPLETED:
            return Reason.COMPLETED
        if transfer.state is TransferState.HELD and transfer.reason:
            return transfer.reason
        if transfer.state is TransferState.PLANNED and transfer.due_at and transfer.due_at > now:
            return transfer.reason or Reason.SETTLING
        if transfer.state in _IN_PROGRESS:
            return transfer.reason or Reason.IN_PROGRESS
    return Reason.IN_PROGRESS if isinstance(decision, Move) else decision.reason


def _speaks(transfer: Transfer | None, reason: Reason) -> bool:
    return transfer is not None and reason not in {Reason.NOT_LEFT, Reason.NOT_ARRIVED}


def _nameable(uai: str, origin: Known, decision: Move | Held | Waiting, transfer: Transfer | None) -> str | None:
    if transfer is not None:
        destination = transfer.destination_uai if transfer.names_the_schools else None
    else:
        destination = decision.destination_uai if isinstance(decision, Move) else None
    if destination is None:
        return None
    return destination if origin.enrolment.uai == uai else origin.enrolment.uai


SENTENCES: Mapping[Reason, tuple[str, str]] = {
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
    Reason.CATALOGUE_INCOMPLETE: (
        "Une mise à jour technique de CPro est nécessaire avant le transfert. L'exploitation est prévenue.",
        "CPro needs a technical update before the transfer. Operations have been told.",
    ),
    Reason.SCHEMA_BEHIND: (
        "La base d'un des établissements est en cours de mise à jour. Le transfert reprendra de lui-même.",
        "The database of one of the schools is being updated. The transfer will go on by itself.",
    ),
    Reason.TENANT_UNAVAILABLE: (
        "La base d'un des établissements est momentanément indisponible. Le transfert reprendra de lui-même.",
        "The database of one of the schools is away for the moment. The transfer will go on by itself.",
    ),
    Reason.DIGEST_MISMATCH: (
        "La vérification des données transférées a échoué : rien n'a été supprimé. L'assistance est prévenue.",
        "The transferred records could not be verified: nothing was deleted. Support has been told.",
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
