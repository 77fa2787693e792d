"""What support is answered about authorisations and replays. Pupils are named here: support compares them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, model_validator

from cpro_transfer.domain.authorisations import Authorisation, AuthorisationState
from cpro_transfer.domain.candidates import Candidate, Difference, Likeness, Sheet
from cpro_transfer.entrypoints.authorisation_models import AuthorisationOut
from cpro_transfer.entrypoints.models import EstablishmentOut
from cpro_transfer.entrypoints.tickets import Ticket
from cpro_transfer.handlers.replaying import Candidates, Replay, Saying


class WaitingAuthorisationOut(AuthorisationOut):
    """Une autorisation à exécuter, avec ce qui manque pour cela."""

    origin: EstablishmentOut
    destination: EstablishmentOut
    ticket: str | None = Field(default=None, description="Celui sous lequel elle est déjà traitée")
    missing: list[str] = Field(
        description="Ce qui manque : `origin_not_opted_in`, `destination_not_opted_in`, `pupil_not_left`, "
        "`no_candidate`, `replay_unfinished`, `authorisation_expired`, `tenant_unavailable`"
    )


def waiting_out(
    found: Authorisation, missing: Sequence[str], *, names: Mapping[str, str], now: datetime
) -> WaitingAuthorisationOut:
    """An authorisation of the queue."""
    return WaitingAuthorisationOut(
        **AuthorisationOut.of(found, now).model_dump(),
        origin=_establishment(found.origin_uai, names),
        destination=_establishment(found.terms.destination_uai, names),
        ticket=found.ticket,
        missing=list(missing),
    )


class SheetOut(BaseModel):
    """Un élève, tel que son établissement l'écrit."""

    pupil_id: UUID | None = Field(default=None, description="Absent d'un élève à créer")
    family_name: str
    usage_name: str | None
    first_name: str
    birth_date: date
    ine: str | None
    division: str | None
    active: bool

    @classmethod
    def of(cls, sheet: Sheet) -> Self:
        """The sheet."""
        who = sheet.identity
        return cls(
            pupil_id=sheet.pupil_id, family_name=who.family_name, usage_name=who.usage_name,
            first_name=who.first_name, birth_date=who.birth_date, ine=sheet.ine, division=sheet.division,
            active=sheet.active,
        )  # fmt: skip


class CandidateOut(BaseModel):
    """Un élève de l'établissement d'accueil qui peut être celui qui part."""

    pupil: SheetOut
    reason: Likeness = Field(description="Pourquoi il est proposé")
    differs: list[Difference] = Field(description="Ce qui diffère entre les deux fiches")

    @classmethod
    def of(cls, candidate: Candidate) -> Self:
        """The candidate."""
        return cls(pupil=SheetOut.of(candidate.sheet), reason=candidate.likeness, differs=list(candidate.differs))


class CandidatesOut(BaseModel):
    """L'élève qui part, et ceux qui peuvent être lui, du plus probable au moins probable."""

    authorisation_id: UUID
    origin: EstablishmentOut
    destination: EstablishmentOut
    pupil: SheetOut
    candidates: list[CandidateOut]


def candidates_out(found: Candidates, names: Mapping[str, str]) -> CandidatesOut:
    """The candidates of an authorisation."""
    return CandidatesOut(
        authorisation_id=found.authorisation.id,
        origin=_establishment(found.authorisation.origin_uai, names),
        destination=_establishment(found.authorisation.terms.destination_uai, names),
        pupil=SheetOut.of(found.leaver),
        candidates=[CandidateOut.of(candidate) for candidate in found.found],
    )


class ReplayIn(BaseModel):
    """L'exécution d'une autorisation, pour un élève de l'établissement d'accueil ou pour un élève à y créer."""

    authorisation_id: UUID
    pupil_id: UUID | None = Field(default=None, description="L'élève choisi parmi les candidats")
    create: bool = Field(
        strict=True, default=False, description="Créer l'élève d'après la fiche de l'établissement d'origine"
    )
    ticket: Ticket
    dry_run: bool = Field(
        strict=True, default=True, description="Montrer ce qui serait publié et transféré, sans rien écrire"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.pupil_id is None) != self.create:
            raise ValueError("either pupil_id or create")
        return self


class SayingOut(BaseModel):
    """Un événement publié de nouveau."""

    establishment: str
    type: str
    match_key: str
    pupil_id: UUID | None = Field(description="Absent d'un élève qui serait créé")

    @classmethod
    def of(cls, saying: Saying) -> Self:
        """The event."""
        return cls(establishment=saying.uai, type=saying.type, match_key=saying.match_key, pupil_id=saying.pupil_id)


class ReplayOut(BaseModel):
    """Ce qui est fait, ou serait fait."""

    authorisation_id: UUID
    state: AuthorisationState
    dry_run: bool
    ticket: str
    origin: EstablishmentOut
    destination: EstablishmentOut
    pupil: SheetOut
    arrival: SheetOut = Field(description="L'élève qui reçoit les données, existant ou créé")
    creates_pupil: bool
    events: list[SayingOut]
    records: dict[str, int] = Field(description="Ce qui serait transféré, par nature")


def replay_out(found: Replay, asked: ReplayIn, *, names: Mapping[str, str], now: datetime) -> ReplayOut:
    """What a replay did, or would do."""
    arrival = SheetOut.of(found.arrival or found.leaver)
    if found.arrival is None:
        arrival = arrival.model_copy(update={"pupil_id": found.says[1].pupil_id, "division": None, "active": True})
    return ReplayOut(
        authorisation_id=found.authorisation.id,
        state=found.authorisation.state(now),
        dry_run=not found.done,
        ticket=asked.ticket,
        origin=_establishment(found.authorisation.origin_uai, names),
        destination=_establishment(found.authorisation.terms.destination_uai, names),
        pupil=SheetOut.of(found.leaver),
        arrival=arrival,
        creates_pupil=found.arrival is None,
        events=[SayingOut.of(saying) for saying in found.says],
        records=dict(found.records),
    )


def _establishment(uai: str, names: Mapping[str, str]) -> EstablishmentOut:
    return EstablishmentOut(uai=uai, name=names.get(uai))
