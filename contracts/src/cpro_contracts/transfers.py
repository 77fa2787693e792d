"""The life of a transfer, and the closed list of reasons why one does not happen yet."""

from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field

from cpro_contracts import topics
from cpro_contracts.envelope import Event
from cpro_contracts.identifiers import Uai


class Reason(StrEnum):
    """Why records wait, were held or will not move. A closed list: there is no "unknown"."""

    NOT_YET_ANNOUNCED = "not_yet_announced"
    NOT_LEFT = "not_left"
    NOT_ARRIVED = "not_arrived"
    ORIGIN_NOT_OPTED_IN = "origin_not_opted_in"
    DESTINATION_NOT_OPTED_IN = "destination_not_opted_in"
    NO_INE = "no_ine"
    INE_NOT_TRUSTED = "ine_not_trusted"
    NOT_FROM_SIECLE = "not_from_siecle"
    AMBIGUOUS_DESTINATION = "ambiguous_destination"
    IDENTITY_MISMATCH = "identity_mismatch"
    SETTLING = "settling"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    RETURNED = "returned"
    UNDONE = "undone"
    CANCELLED_BY_SUPPORT = "cancelled_by_support"
    RECORDS_EDITED = "records_edited"
    CATALOGUE_INCOMPLETE = "catalogue_incomplete"
    SCHEMA_BEHIND = "schema_behind"
    TENANT_UNAVAILABLE = "tenant_unavailable"
    DIGEST_MISMATCH = "digest_mismatch"
    LANDING_LOST = "landing_lost"
    ATTACHMENT_UNREADABLE = "attachment_unreadable"
    LANDING_REFUSED = "landing_refused"
    INE_WITHDRAWN = "ine_withdrawn"
    AUTHORISATION_AWAITING_SUPPORT = "authorisation_awaiting_support"
    AUTHORISATION_REVOKED = "authorisation_revoked"
    AUTHORISATION_EXPIRED = "authorisation_expired"


class TransferEvent(Event):
    """A step in the life of a transfer. The destination is absent where it is not known which one it is."""

    topic: ClassVar[str] = topics.TRANSFER

    transfer_id: UUID
    match_key: str
    origin_uai: Uai
    origin_pupil_id: UUID
    origin_revision: int
    destination_uai: Uai | None = None
    destination_pupil_id: UUID | None = None
    occurred_at: AwareDatetime

    def key(self) -> str:
        return self.origin_uai

    def subject(self) -> str:
        return self.origin_uai


class TransferPlanned(TransferEvent):
    """Both halves are there and both establishments opted in: the records are about to move."""

    type: ClassVar[str] = "cpro.transfer.planned.v1"


class TransferCompleted(TransferEvent):
    """Every record is at the destination, verified, and gone from the origin."""

    type: ClassVar[str] = "cpro.transfer.completed.v1"

    records: int = Field(ge=0)


class TransferHeld(TransferEvent):
    """The transfer waits until a fact changes or a person looks."""

    type: ClassVar[str] = "cpro.transfer.held.v1"

    reason: Reason


class TransferCancelled(TransferEvent):
    """What called for the transfer no longer holds. Nothing has moved."""

    type: ClassVar[str] = "cpro.transfer.cancelled.v1"

    reason: Reason


class TransferUndone(TransferEvent):
    """Support moved the records back to where they came from."""

    type: ClassVar[str] = "cpro.transfer.undone.v1"

    ticket: str


class _AuthorisationEvent(Event):
    topic: ClassVar[str] = topics.TRANSFER

    authorisation_id: UUID
    origin_uai: Uai
    origin_pupil_id: UUID
    destination_uai: Uai
    occurred_at: AwareDatetime

    def key(self) -> str:
        return self.origin_uai

    def subject(self) -> str:
        return self.origin_uai


class TransferAuthorised(_AuthorisationEvent):
    """The pupil or the guardians allow a transfer that can't be automatic."""

    type: ClassVar[str] = "cpro.transfer.authorised.v1"


class TransferAuthorisationRevoked(_AuthorisationEvent):
    """The authorisation was taken back before it was carried out."""

    type: ClassVar[str] = "cpro.transfer.authorisation-revoked.v1"
