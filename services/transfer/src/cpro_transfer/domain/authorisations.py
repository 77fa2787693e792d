"""Who may allow a transfer that can't be automatic, and what an authorisation is worth. Pure: no clock, no I/O.

An authorisation is never changed. Whoever changes it takes it back and gives another: so what support carries out under
`authorisation:<id>` is always exactly what was allowed under that id.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from cpro_contracts.establishments import RosterSource
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason

ADULT_YEARS = 18
_EASTWARD, _WESTWARD = timedelta(hours=12), timedelta(hours=10)
"""How far from UTC the day begins in French schools: Wallis-et-Futuna, Polynésie française."""


class GivenBy(StrEnum):
    """Who allows it (the manual: "l'élève et/ou les responsables légaux")."""

    PUPIL = "pupil"
    LEGAL_GUARDIAN = "legal_guardian"
    BOTH = "both"


class CollectedBy(StrEnum):
    """Who at the school asked for it. A function, not a name: no names are kept here."""

    HEAD = "head"
    ADMINISTRATION = "administration"
    TEACHING_STAFF = "teaching_staff"


class Ended(StrEnum):
    """What became of an authorisation that holds no longer."""

    REVOKED = "revoked"
    REPLACED = "replaced"
    EXPIRED = "expired"
    EXECUTED = "executed"


class AuthorisationState(StrEnum):
    """Where an authorisation stands, on a given day."""

    AWAITING_SUPPORT = "awaiting_support"
    REPLAYED = "replayed"
    """Support has carried it out: the join and the movers do the rest."""
    EXECUTING = "executing"
    """A mover has begun: it can't be taken back."""
    EXECUTED = "executed"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is allowed, by whom, since when."""

    destination_uai: str
    given_by: GivenBy
    given_on: date
    collected_by: CollectedBy


@dataclass(frozen=True, slots=True)
class Authorisation:
    """One authorisation, as the transfer database has it."""

    id: UUID
    origin_uai: str
    origin_pupil_id: UUID
    terms: Terms
    recorded_by: str
    recorded_at: datetime
    expires_on: date
    """The last day on which it holds."""
    ticket: str | None = None
    destination_pupil_id: UUID | None = None
    creates_pupil: bool = False
    chosen_by: str | None = None
    replayed_at: datetime | None = None
    transfer_id: UUID | None = None
    ended_at: datetime | None = None
    ended_as: Ended | None = None

    def state(self, now: datetime) -> AuthorisationState:
        """Where it stands."""
        if self.ended_as in {Ended.REVOKED, Ended.REPLACED}:
            return AuthorisationState.REVOKED
        if self.ended_as is Ended.EXECUTED:
            return AuthorisationState.EXECUTED
        if self.transfer_id is not None:
            return AuthorisationState.EXECUTING
        if self.ended_as is Ended.EXPIRED or self.expires_on < first_day(now):
            return AuthorisationState.EXPIRED
        return AuthorisationState.REPLAYED if self.replayed_at else AuthorisationState.AWAITING_SUPPORT

    def is_in_other_hands(self, ticket: str, pupil_id: UUID | None) -> bool:
        """Whether support has chosen something else for it already. `pupil_id` None: to create the pupil."""
        if self.ticket is None:
            return False
        same_pupil = self.creates_pupil if pupil_id is None else self.destination_pupil_id == pupil_id
        return self.ticket != ticket or not same_pupil


class TermsRefusal(StrEnum):
    """What is wrong with terms. The codes of the problems that the API answers."""

    SAME_ESTABLISHMENT = "same_establishment"
    DATE_IN_FUTURE = "authorisation_date_in_future"
    TOO_OLD = "authorisation_too_old"
    GUARDIAN_REQUIRED = "guardian_required"


def first_day(now: datetime) -> date:
    """The day that it is in the westernmost school: what ended before it is over everywhere."""
    return (now - _WESTWARD).date()


def last_day(now: datetime) -> date:
    """The day that it is in the easternmost school: what is later is in the future everywhere."""
    return (now + _EASTWARD).date()


def expires_on(given_on: date, lifetime_days: int) -> date:
    """The last day on which an authorisation of that day holds."""
    return given_on + timedelta(days=lifetime_days)


def is_minor(born: date, on: date) -> bool:
    """Whether somebody is under 18 on that day. Of 29 February: until 1 March."""
    return (on.year - born.year, on.month, on.day) < (ADULT_YEARS, born.month, born.day)


def refusal_of_terms(
    origin_uai: str, terms: Terms, *, born: date, now: datetime, lifetime_days: int
) -> TermsRefusal | None:
    """What is wrong with these terms for a pupil born then, if anything is."""
    if terms.destination_uai == origin_uai:
        return TermsRefusal.SAME_ESTABLISHMENT
    if terms.given_on > last_day(now):
        return TermsRefusal.DATE_IN_FUTURE
    if expires_on(terms.given_on, lifetime_days) < first_day(now):
        return TermsRefusal.TOO_OLD
    if terms.given_by is GivenBy.PUPIL and is_minor(born, terms.given_on):
        return TermsRefusal.GUARDIAN_REQUIRED
    return None


@dataclass(frozen=True, slots=True)
class Doors:
    """An establishment's own word on transfers: open or not, and where its roster comes from."""

    open: bool
    roster_source: RosterSource


NEVER_BY_ITSELF = frozenset({Reason.NO_INE, Reason.INE_NOT_TRUSTED, Reason.NOT_FROM_SIECLE, Reason.UNDONE})
"""With these no transfer will ever happen by itself."""
_OF_AUTHORISATIONS = frozenset(
    {Reason.AUTHORISATION_AWAITING_SUPPORT, Reason.AUTHORISATION_REVOKED, Reason.AUTHORISATION_EXPIRED}
)
_UNDER_WAY = frozenset({Reason.IN_PROGRESS, Reason.SETTLING})
_STUCK = frozenset({Reason.IDENTITY_MISMATCH})
"""Automatic in principle, and support must decide: an authorisation is how."""


class Outlook(StrEnum):
    """Whether the records will move by themselves."""

    EXPECTED = "expected"
    UNDER_WAY = "under_way"
    IMPOSSIBLE = "impossible"


def outlook(reason: Reason) -> Outlook:
    """What to expect, given why the records are still here."""
    if reason in _UNDER_WAY:
        return Outlook.UNDER_WAY
    return Outlook.IMPOSSIBLE if reason in NEVER_BY_ITSELF | _OF_AUTHORISATIONS else Outlook.EXPECTED


def is_automatic(
    source: EnrolmentSource, ine_status: IneStatus, origin: Doors, destination: Doors, reason: Reason | None
) -> bool:
    """Whether the transfer between these two is of the manual's situation 1: nothing is to be authorised.

    Both schools are on SIECLE, the pupil has an INE that counts, and both have opted in.
    """
    if ine_status is not IneStatus.TRUSTED or source is not EnrolmentSource.SIECLE:
        return False
    if not all(doors.open and doors.roster_source is RosterSource.SIECLE for doors in (origin, destination)):
        return False
    return reason not in NEVER_BY_ITSELF | _STUCK


def told(
    reason: Reason, since: datetime | None, own: Authorisation | None, now: datetime
) -> tuple[Reason, datetime | None]:
    """What to tell of a pupil whose latest authorisation is this one, where the facts alone say `reason`."""
    if own is None or reason in _UNDER_WAY or reason is Reason.COMPLETED:
        return reason, since
    match own.state(now):
        case AuthorisationState.AWAITING_SUPPORT:
            return Reason.AUTHORISATION_AWAITING_SUPPORT, own.recorded_at
        case AuthorisationState.REVOKED:
            return Reason.AUTHORISATION_REVOKED, own.ended_at
        case AuthorisationState.EXPIRED:
            return Reason.AUTHORISATION_EXPIRED, own.ended_at or since
    return reason, since
