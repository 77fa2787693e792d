"""What happens to a pupil's enrolment in one establishment. Published from the tenant's outbox."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from cpro_contracts import topics
from cpro_contracts.envelope import Event
from cpro_contracts.identifiers import IneStatus, Uai


class EnrolmentSource(StrEnum):
    """Where the establishment has this pupil from."""

    SIECLE = "siecle"
    MANUAL = "manual"
    REPLAY = "replay"
    """Published again by support under an authorisation."""


class FormerKey(BaseModel):
    """Under which match key the same state was told before the match secret was rotated.

    What was decided about the pupil under it (moved, undone, cancelled by support) stands under the new one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    match_key: str = Field(min_length=1, max_length=200)
    revision: int = Field(gt=0)
    """The revision of that state."""
    records_moved: bool
    """The pupil had left, and the records had moved already."""


class PupilEvent(Event):
    """A change of a pupil's state in one establishment.

    `revision` grows with every change in that establishment: of two events under one match key and UAI the higher
    one is the truth, whatever the order of their arrival.
    """

    topic: ClassVar[str] = topics.PUPIL

    match_key: str = Field(min_length=1, max_length=200)
    uai: Uai
    pupil_id: UUID
    revision: int = Field(gt=0)
    occurred_at: AwareDatetime
    source: EnrolmentSource
    ine_status: IneStatus
    import_id: UUID | None = None
    formerly: FormerKey | None = None

    def key(self) -> str:
        return self.match_key

    def subject(self) -> str:
        return self.uai


class PupilCreated(PupilEvent):
    """The pupil is active in the establishment, which did not know them under this match key."""

    type: ClassVar[str] = "cpro.pupil.created.v1"


class PupilReactivated(PupilEvent):
    """The pupil was inactive in the establishment and is active again."""

    type: ClassVar[str] = "cpro.pupil.reactivated.v1"


class PupilDeactivated(PupilEvent):
    """The pupil has left the establishment. `left_at` is absent where the file no longer names the pupil."""

    type: ClassVar[str] = "cpro.pupil.deactivated.v1"

    left_at: datetime | None = None


class PupilWithdrawn(PupilEvent):
    """The pupil no longer goes by this match key here (the INE was corrected). Not a departure."""

    type: ClassVar[str] = "cpro.pupil.withdrawn.v1"
