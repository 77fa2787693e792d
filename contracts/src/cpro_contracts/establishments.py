"""What an establishment says of itself: its sheet and its opt-in.

Two kinds of fact under one compacted topic: each has its own key, else the compaction would keep only the later of
the two (docs/decisions/0002-one-key-per-establishment-fact.md).
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import AwareDatetime, Field

from cpro_contracts import topics
from cpro_contracts.envelope import Event
from cpro_contracts.identifiers import Uai


class RosterSource(StrEnum):
    """How an establishment keeps its list of pupils."""

    SIECLE = "siecle"
    MANUAL = "manual"


class EstablishmentUpdated(Event):
    """The sheet was saved. `name` is the public name of the establishment."""

    type: ClassVar[str] = "cpro.establishment.updated.v1"
    topic: ClassVar[str] = topics.ESTABLISHMENT

    uai: Uai
    name: str
    revision: int = Field(gt=0)
    occurred_at: AwareDatetime

    def key(self) -> str:
        return f"{self.uai}/sheet"

    def subject(self) -> str:
        return self.uai


class TransferOptInChanged(Event):
    """The establishment opened or closed its doors to transfers. `revision` is the tenant's."""

    type: ClassVar[str] = "cpro.establishment.transfer-opt-in-changed.v1"
    topic: ClassVar[str] = topics.ESTABLISHMENT

    uai: Uai
    enabled: bool
    roster_source: RosterSource
    revision: int = Field(gt=0)
    occurred_at: AwareDatetime

    def key(self) -> str:
        return f"{self.uai}/transfer-opt-in"

    def subject(self) -> str:
        return self.uai
