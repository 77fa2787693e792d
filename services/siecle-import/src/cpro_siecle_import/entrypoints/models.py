"""The bodies of answers."""

from datetime import date, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from cpro_siecle_import.domain import english, findings, refusals
from cpro_siecle_import.domain.english import sentence_of
from cpro_siecle_import.domain.export import SCHOOLS_TIME, school_year_of
from cpro_siecle_import.domain.guard import FRENCH, StopReason, sentence_for
from cpro_siecle_import.domain.jobs import Counts, Job, Mode, Phase, State
from cpro_siecle_import.domain.retention import Retention
from cpro_siecle_import.ports import StoredChange, StoredFinding

_ID = "2f0b6c1e-6f0a-4b0e-9d51-0a2f7c8e4d11"
_COUNTS: dict[str, JsonValue] = {
    "present": 1482, "created": 412, "updated": 37, "deactivated": 380, "reactivated": 2, "unchanged": 1031,
    "not_arrived": 3, "ignored": 1, "rejected": 2, "warnings": 44,
}  # fmt: skip

_LocalTime = Annotated[
    datetime,
    # A date-time of JSON Schema would have an offset; the file of SIECLE has none.
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$",
            "description": "Date et heure de l'export, à l'heure de l'établissement, sans fuseau",
        }
    ),
]


class CountsOut(BaseModel):
    """Les chiffres d'un import, en élèves ; `warnings` en remarques."""

    present: int = Field(description="Élèves présents d'après le fichier")
    created: int
    updated: int
    deactivated: int
    reactivated: int
    unchanged: int
    not_arrived: int = Field(description="Ni classe ni date de sortie : rien n'est changé pour eux")
    ignored: int = Field(description="Sortis que l'établissement ne connaissait pas")
    rejected: int
    warnings: int

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """What is answered for the figures."""
        return cls(**{name: getattr(counts, name) for name in Counts.__dataclass_fields__})


class ProgressOut(BaseModel):
    """Où en est l'import. Les octets sont ceux du XML ; ce qui ne peut pas encore être connu est `null`."""

    phase: Phase
    bytes_read: int
    bytes_expected: int | None
    pupils_read: int
    pupils_per_second: float | None = Field(default=None, description="Rythme de la lecture, mesuré depuis son début")
    seconds_left: float | None = Field(
        default=None, description="Temps de lecture restant à ce rythme ; null hors de la lecture"
    )


class ReasonOut(BaseModel):
    """Pourquoi un import attend une confirmation."""

    code: StopReason
    sentence: str


class RefusalOut(BaseModel):
    """Pourquoi un fichier est refusé : un code stable, ce qui a été trouvé, ce qui était attendu et que faire."""

    code: str
    title: str
    detail: str


class ImportOut(BaseModel):
    """Un import du fichier des élèves."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID, "uai": "0752387M", "mode": "apply", "state": "completed",
                    "progress": {
                        "phase": "done", "bytes_read": 1280334, "bytes_expected": 1280334, "pupils_read": 1868,
                    },
                    "file_sha256": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
                    "file_bytes": 61204, "school_year": 2026, "exported_at": "2026-09-15T18:30:12",
                    "reference_date": "2026-09-15", "counts": _COUNTS, "awaiting": [], "refusal": None,
                    "requested_by": "administrateur-0752387M", "requested_at": "2026-09-16T07:02:11Z",
                    "started_at": "2026-09-16T07:02:11Z", "finished_at": "2026-09-16T07:02:13Z",
                    "confirmed_by": None, "confirmed_at": None, "cancel_requested": False,
                    "upload_available_until": "2026-10-16T07:02:11Z", "upload_removed_at": None,
                }
            ]
        }
    )  # fmt: skip

    id: UUID
    uai: str
    mode: Mode
    state: State
    progress: ProgressOut
    file_sha256: str
    file_bytes: int
    school_year: int | None = Field(description="Année de début : 2026 pour 2026-2027")
    reference_date: date | None = Field(description="Date à laquelle la présence est jugée")
    counts: CountsOut | None
    awaiting: list[ReasonOut] = Field(description="Pourquoi l'import attend une confirmation")
    refusal: RefusalOut | None
    requested_by: str
    requested_at: AwareDatetime
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    confirmed_by: str | None
    confirmed_at: AwareDatetime | None
    cancel_requested: bool
    upload_available_until: AwareDatetime | None = Field(
        description="Le fichier est conservé au moins jusque-là ; null si l'import est annulé ou le fichier effacé"
    )
    upload_removed_at: AwareDatetime | None = Field(description="Le fichier est effacé ; les chiffres restent")

    @classmethod
    def of(cls, job: Job, retention: Retention, language: str) -> Self:
        """What is answered for a job, in `fr` or `en`."""
        return cls(
            id=job.id,
            uai=job.uai,
            mode=job.mode,
            state=job.state,
            progress=_progress(job),
            file_sha256=job.file_sha256,
            file_bytes=job.file_bytes,
            school_year=job.school_year,
            exported_at=job.exported_at,
            reference_date=job.reference_date,
            counts=None if job.counts is None else CountsOut.of(job.counts),
            awaiting=[_reason(code, job, language) for code in job.stop_reasons],
            refusal=_refusal(job, language),
            requested_by=job.requested_by,
            requested_at=job.requested_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            confirmed_by=job.confirmed_by,
            confirmed_at=job.confirmed_at,
            cancel_requested=job.cancel_requested_by is not None,
            upload_available_until=retention.available_until(job),
            upload_removed_at=job.upload_removed_at,
        )


class FindingOut(BaseModel):
    """Une remarque sur une ligne du fichier : l'élève est rejeté, ou importé avec un avertissement."""

    severity: findings.Severity
    code: str
    sentence: str
    line: int | None
    siecle_id: str | None
    family_name: str | None
    first_name: str | None
    ine: str | None
    found: str | None

    @classmethod
    def of(cls, stored: StoredFinding, language: str) -> Self:
        """What is answered for a remark, in `fr` or `en`."""
        kind = findings.BY_CODE[stored.code]
        return cls(
            severity=findings.Severity(stored.severity),
            code=stored.code,
            sentence=sentence_of(kind, stored.found, language),
            line=stored.line,
            siecle_id=stored.siecle_id,
            family_name=stored.family_name,
            first_name=stored.first_name,
            ine=stored.ine,
            found=stored.found,
        )


class PupilChangeOut(BaseModel):
    """Ce qu'un import change, ou changerait, pour un élève. `before` et `after` n'ont que ce qui diffère."""

    kind: str
    pupil_id: UUID | None
    siecle_id: str | None
    family_name: str
    first_name: str
    birth_date: date
    division: str | None
    reason: str | None = Field(description="`left` : sorti à sa date de sortie ; `absent` : ne figure plus au fichier")
    record_count: int | None = Field(description="Nombre de bilans, fiches, évaluations… d'un élève désactivé")
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def of(cls, stored: StoredChange) -> Self:
        """What is answered for a change."""
        return cls(**{name: getattr(stored, name) for name in cls.model_fields})


def _progress(job: Job) -> ProgressOut:
    return ProgressOut(
        phase=job.phase,
        bytes_read=job.bytes_read,
        bytes_expected=job.bytes_expected,
        pupils_read=job.pupils_read,
        pupils_per_second=None if job.pupils_per_second is None else round(job.pupils_per_second, 1),
        seconds_left=None if job.seconds_left is None else round(job.seconds_left, 1),
    )


def _reason(code: str, job: Job, language: str) -> ReasonOut:
    reason, counts = StopReason(code), job.counts or Counts()
    sentence = sentence_for(
        reason,
        deactivated=counts.deactivated,
        present=counts.present,
        found_year=job.school_year,
        current_year=school_year_of(job.requested_at.astimezone(SCHOOLS_TIME).date()),
        words=english.STOPS if language == "en" else FRENCH,
    )
    return ReasonOut(code=reason, sentence=sentence)


def _refusal(job: Job, language: str) -> RefusalOut | None:
    if job.refusal_code is None:
        return None
    refusal = refusals.BY_CODE[job.refusal_code]
    title, detail = refusal.title, job.refusal_detail or ""
    if language == "en":
        title, detail = english.refusal_in_english(refusal, detail)
    return RefusalOut(code=refusal.code, title=title, detail=detail)
