"""The import of a national pupil file: asked for, done, or refused."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime

from cpro_contracts import topics
from cpro_contracts.envelope import Event
from cpro_contracts.identifiers import Uai


class _SiecleImportEvent(Event):
    topic: ClassVar[str] = topics.SIECLE_IMPORT

    import_id: UUID
    uai: Uai
    occurred_at: AwareDatetime

    def key(self) -> str:
        return self.uai

    def subject(self) -> str:
        return self.uai


class SiecleImportRequested(_SiecleImportEvent):
    """A file was stored and waits for a worker. Also published again when an import is confirmed."""

    type: ClassVar[str] = "cpro.siecle-import.requested.v1"
    topic: ClassVar[str] = topics.SIECLE_IMPORT_JOBS


class SiecleImportCompleted(_SiecleImportEvent):
    """The file was applied, and every event that follows from it is published."""

    type: ClassVar[str] = "cpro.siecle-import.completed.v1"

    created: int
    updated: int
    deactivated: int
    reactivated: int
    unchanged: int
    rejected: int


class SiecleImportFailed(_SiecleImportEvent):
    """The file was refused, and nothing of it applied. `code` is of the closed list of problems."""

    type: ClassVar[str] = "cpro.siecle-import.failed.v1"

    code: str
