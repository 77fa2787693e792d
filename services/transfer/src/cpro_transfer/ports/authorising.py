"""Authorisations, and the pupils they are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.authorisations import Authorisation, Doors, Terms
from cpro_transfer.domain.candidates import Sheet
from cpro_transfer.domain.support import Order
from cpro_transfer.ports.reading import Situation


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of recording an authorisation."""

    authorisation: Authorisation
    anew: bool
    """Not: the same was recorded before."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What support has chosen for an authorisation."""

    ticket: str
    pupil_id: UUID
    """At the destination; of a pupil who is to be created, the id to give."""
    creates: bool


class Authorisations(Protocol):
    """The authorisations in the transfer database. Raises what `errors` says of them."""

    async def record(self, uai: str, pupil_id: UUID, terms: Terms, order: Order) -> Recorded:
        """Let these terms hold for the pupil, in place of any others."""

    async def revoke(self, uai: str, pupil_id: UUID, order: Order) -> Authorisation | None:
        """Take back what holds for the pupil; None if nothing does."""

    async def find(self, authorisation_id: UUID) -> Authorisation | None:
        """One of them."""

    async def choose(self, authorisation_id: UUID, choice: Choice, order: Order) -> Authorisation:
        """Note what support chose. Of several at once the first one's stands; the same again changes nothing."""

    async def give_up(self, authorisation: Authorisation, reason: Reason, order: Order) -> None:
        """Forget what was chosen, for it could not be carried out."""

    async def note_replayed(self, authorisation: Authorisation, order: Order) -> Authorisation:
        """Both events are in the establishments' outboxes."""


@dataclass(frozen=True, slots=True)
class PupilHere:
    """A pupil as their own establishment has them, with that establishment's word on transfers."""

    sheet: Sheet
    source: EnrolmentSource
    ine_status: IneStatus
    records_moved: bool
    """Inactive, and the records have left."""
    doors: Doors


class AuthorisedPupils(Protocol):
    """The establishments' databases, as authorisations and replays need them.

    Raises, besides what is said below:
        TenantUnknownError: no such establishment.
        RetryableError: its database does not answer.
    """

    async def doors(self, uai: str) -> Doors:
        """The establishment's word on transfers."""

    async def pupil(self, uai: str, pupil_id: UUID) -> PupilHere | None:
        """The pupil; None if it has no such pupil."""

    async def like(self, uai: str, leaver: Sheet) -> list[Sheet]:
        """Pupils who share an INE, a birth date or a family name with the leaver."""

    async def records(self, uai: str, pupil_id: UUID) -> Mapping[str, int]:
        """How many records of each kind the pupil has."""

    async def say_left(self, authorisation: Authorisation) -> None:
        """Publish again, under the authorisation's key, that the pupil has left the origin.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed.
        """

    async def say_arrived(self, authorisation: Authorisation) -> None:
        """Publish again, under the same key, that the chosen pupil is at the destination; create them first if asked.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed.
        """


class Situations(Protocol):
    """What the join knows around pupils."""

    async def situations(self, uai: str, pupil_ids: Sequence[UUID]) -> "Mapping[UUID, Situation]":
        """By pupil; those never heard of are left out."""


class Tenants(Protocol):
    """Which establishments have a database."""

    async def knows(self, uai: str) -> bool:
        """Whether this one has, ready for use."""
