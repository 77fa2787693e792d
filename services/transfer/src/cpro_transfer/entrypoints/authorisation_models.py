"""What administrators send and are answered about transfers that can't be automatic. Descriptions are in French."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_contracts.transfers import Reason
from cpro_platform.errors import RefusedError
from cpro_transfer import refusals
from cpro_transfer.domain.authorisations import (
    Authorisation,
    AuthorisationState,
    CollectedBy,
    GivenBy,
    Outlook,
    Terms,
    outlook,
    told,
)
from cpro_transfer.domain.explanation import Explanation
from cpro_transfer.domain.matching import JOINED_SOURCES
from cpro_transfer.domain.sentences import next_step, sentence
from cpro_transfer.entrypoints.dates import WrittenDay
from cpro_transfer.entrypoints.models import EstablishmentOut, PupilOut
from cpro_transfer.ports.authorising import Recorded
from cpro_transfer.ports.reading import FormerPupil

# Read as it is written, so that what is wrong with it is told under its own code.
WrittenUai = Annotated[
    str,
    StringConstraints(max_length=40),
    Field(description="UAI de l'établissement d'accueil", examples=["0750680G"]),
]


class AuthorisationIn(BaseModel):
    """L'autorisation recueillie pour un élève."""

    destination_uai: WrittenUai
    given_by: GivenBy = Field(description="Qui autorise : l'élève, un responsable légal, ou les deux")
    given_on: WrittenDay = Field(description="Le jour où l'autorisation a été donnée", examples=["2026-09-14"])
    collected_by: CollectedBy = Field(description="Qui l'a recueillie dans l'établissement")

    def terms(self) -> Terms:
        """What is allowed.

        Raises:
            RefusedError: `invalid_uai`.
        """
        try:
            uai = parse_uai(self.destination_uai)
        except MalformedUaiError as malformed:
            raise refusals.malformed_uai(self.destination_uai) from malformed
        return Terms(uai, self.given_by, self.given_on, self.collected_by)


class PupilAuthorisationIn(AuthorisationIn):
    """L'autorisation d'un des élèves d'une demande."""

    pupil_id: UUID

    def readable_terms(self) -> Terms | RefusedError:
        """What is allowed, or why it can't be read."""
        try:
            return self.terms()
        except RefusedError as refused:
            return refused


class AuthorisationsIn(BaseModel):
    """Les autorisations de plusieurs élèves."""

    authorisations: list[PupilAuthorisationIn] = Field(min_length=1, max_length=200)


class AuthorisationOut(BaseModel):
    """Une autorisation enregistrée."""

    id: UUID
    pupil_id: UUID
    destination_uai: str
    given_by: GivenBy
    given_on: date
    collected_by: CollectedBy
    recorded_at: datetime
    expires_on: date = Field(description="Dernier jour de validité")
    state: AuthorisationState

    @classmethod
    def of(cls, found: Authorisation, now: datetime) -> "AuthorisationOut":
        """The authorisation, as it stands now."""
        terms = found.terms
        return cls(
            id=found.id, pupil_id=found.origin_pupil_id, destination_uai=terms.destination_uai,
            given_by=terms.given_by, given_on=terms.given_on, collected_by=terms.collected_by,
            recorded_at=found.recorded_at, expires_on=found.expires_on, state=found.state(now),
        )  # fmt: skip


class RefusalOut(BaseModel):
    """Pourquoi l'autorisation d'un élève est refusée."""

    code: str
    status: int
    title: str
    detail: str
    reason: Reason | None = None


class OutcomeOut(BaseModel):
    """Le résultat pour un des élèves : l'un ou l'autre."""

    pupil_id: UUID
    authorisation: AuthorisationOut | None = None
    refusal: RefusalOut | None = None

    @classmethod
    def of(cls, pupil_id: UUID, outcome: Recorded | RefusedError, *, now: datetime, language: str) -> "OutcomeOut":
        """What came of it."""
        if isinstance(outcome, RefusedError):
            english = language == "en"
            refusal = RefusalOut(
                code=outcome.problem.code,
                status=outcome.problem.status,
                title=outcome.problem.title(language),
                detail=outcome.detail_en if english else outcome.detail_fr,
                reason=_reason_in(outcome.extensions),
            )
            return cls(pupil_id=pupil_id, refusal=refusal)
        return cls(pupil_id=pupil_id, authorisation=AuthorisationOut.of(outcome.authorisation, now))


def _reason_in(extensions: Mapping[str, Any]) -> Reason | None:
    return Reason(extensions["reason"]) if "reason" in extensions else None


class OutcomesOut(BaseModel):
    """Le résultat pour chaque élève, dans l'ordre de la demande."""

    outcomes: list[OutcomeOut]


class TransferablePupilOut(BaseModel):
    """Un élève désactivé dont les données sont encore dans l'établissement."""

    pupil: PupilOut
    birth_date: date
    division: str | None
    leaving_date: date | None
    records: dict[str, int] = Field(description="Nombre d'enregistrements par nature")
    automatic: bool = Field(description="Un transfert automatique est attendu ou en cours : ne pas sélectionner")
    outlook: Outlook = Field(description="Transfert automatique attendu, en cours, ou impossible")
    code: Reason
    explanation: str
    next_step: str = Field(description="Ce qui changera la situation, en une phrase")
    authorisation: AuthorisationOut | None = Field(default=None, description="La dernière enregistrée pour cet élève")
    destination: EstablishmentOut | None = Field(default=None, description="L'établissement désigné, s'il y en a un")


def transferable_out(
    pupil: FormerPupil,
    explanation: Explanation | None,
    authorisation: Authorisation | None,
    *,
    names: Mapping[str, str],
    now: datetime,
    language: str,
) -> TransferablePupilOut:
    """A former pupil with what to expect. Without an explanation the join has never heard of the pupil."""
    by_hand = pupil.source not in JOINED_SOURCES
    unheard_of = Reason.NOT_FROM_SIECLE if by_hand else Reason.NOT_YET_ANNOUNCED
    reason, _ = told(explanation.reason if explanation else unheard_of, None, authorisation, now)
    expected = outlook(reason)
    uai = authorisation.terms.destination_uai if authorisation else None
    return TransferablePupilOut(
        pupil=PupilOut(id=pupil.pupil_id, family_name=pupil.family_name, first_name=pupil.first_name),
        birth_date=pupil.birth_date,
        division=pupil.division,
        leaving_date=pupil.leaving_date,
        records=dict(pupil.records),
        automatic=expected is not Outlook.IMPOSSIBLE,
        outlook=expected,
        code=reason,
        explanation=sentence(reason, language),
        next_step=next_step(reason, language),
        authorisation=AuthorisationOut.of(authorisation, now) if authorisation else None,
        destination=EstablishmentOut(uai=uai, name=names.get(uai)) if uai else None,
    )


def with_authorisation(explanation: Explanation, latest: Authorisation | None, *, now: datetime) -> Explanation:
    """The explanation, with what the pupil's latest authorisation changes about it."""
    reason, since = told(explanation.reason, explanation.since, latest, now)
    return replace(explanation, reason=reason, since=since or explanation.since)
