"""What an administrator asks for: an import of a file, to go on, to stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from cpro_contracts import problems
from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_platform.errors import RefusedError
from cpro_platform.logs import get_logger
from cpro_siecle_import import errors
from cpro_siecle_import.domain.jobs import MAY_BE_APPLIED, Job, Mode, Phase, State
from cpro_siecle_import.ports import Establishments, Jobs, Upload, UploadStore

_log = get_logger(__name__)


@dataclass(slots=True)
class Received:
    """A file that was uploaded and stored, under the id that an import of it will have."""

    job_id: UUID
    upload: Upload
    became_import: bool = False


@asynccontextmanager
async def received(
    uai: str, chunks: AsyncIterator[bytes], *, establishments: Establishments, uploads: UploadStore
) -> AsyncIterator[Received]:
    """Store an upload, for an import to be asked for in the block; if none becomes of it, it is removed again.

    Raises:
        RefusedError: nothing was sent, or the school has no database here.
    """
    if not await establishments.known(uai):
        raise RefusedError(
            problems.ESTABLISHMENT_UNKNOWN,
            f"L'établissement {uai} n'a pas de base dans CPro ; contactez l'assistance.",
            f"Establishment {uai} has no database in CPro; contact support.",
        )
    job_id = uuid4()
    upload = await uploads.keep(f"{uai}/{job_id}", chunks)
    if not upload.size:
        await uploads.remove(upload.object_key)
        raise RefusedError(
            errors.UPLOAD_EMPTY,
            "Le corps de la requête est vide ; il était attendu le fichier des élèves (zip ou XML).",
            "The body of the request is empty; the pupil file (zip or XML) was expected.",
        )
    crash_points.reach("upload.kept")
    file = Received(job_id, upload)
    try:
        yield file
    except RefusedError:
        # Only then is it certain that no job names it. After another fault the sweep looks before it removes.
        await uploads.remove(upload.object_key)
        raise
    crash_points.reach("upload.entered")
    if not file.became_import:
        await uploads.remove(upload.object_key)


async def request_import(
    uai: str, file: Received, *, mode: Mode, force: bool, by: str, jobs: Jobs, clock: Clock
) -> Job:
    """Ask for the import of a file that was received; or return the import that this very file already is."""
    job = await jobs.open(
        Job(
            id=file.job_id,
            uai=uai,
            mode=mode,
            state=State.QUEUED,
            phase=Phase.WAITING,
            file_sha256=file.upload.sha256,
            file_bytes=file.upload.size,
            object_key=file.upload.object_key,
            requested_by=by,
            requested_at=clock.now(),
        ),
        force=force,
    )
    file.became_import = job.id == file.job_id
    _log.info("import.requested", uai=uai, import_id=str(job.id), same_file=not file.became_import)
    return job


async def confirm(uai: str, job_id: UUID, *, by: str, jobs: Jobs, clock: Clock) -> Job:
    """Let a waiting import go on.

    Raises:
        RefusedError: there is no such import, or it is not waiting.
    """
    job = await jobs.confirm(uai, job_id, by, clock.now())
    if job is None:
        state = (await found(uai, job_id, jobs=jobs)).state
        raise RefusedError(
            errors.NOT_AWAITING_CONFIRMATION,
            f"L'import est dans l'état « {state} » ; seul un import en attente de confirmation peut être confirmé.",
            f"The import is “{state}”; only one that awaits confirmation can be confirmed.",
            state=state,
        )
    _log.info("import.confirmed", uai=uai, import_id=str(job_id))
    return job


async def cancel(uai: str, job_id: UUID, *, by: str, jobs: Jobs, clock: Clock) -> Job:
    """Cancel an import. A running one stops at its next step; once it is being applied it is too late.

    Who gets a job back can rely on it: nothing of the import is, or will be, applied.

    Raises:
        RefusedError: there is no such import, it is over, or it is being applied.
    """
    job = await jobs.cancel(uai, job_id, by, clock.now())
    if job is None:
        current = await found(uai, job_id, jobs=jobs)
        if current.phase in MAY_BE_APPLIED:
            raise RefusedError(
                errors.NOT_CANCELLABLE,
                "L'import est en cours d'application dans la base : il ne peut plus être annulé.",
                "The import is being applied: it can no longer be cancelled.",
                state=current.state,
            )
        raise RefusedError(
            errors.NOT_CANCELLABLE,
            f"L'import est dans l'état « {current.state} » : il ne peut plus être annulé.",
            f"The import is “{current.state}”: it can no longer be cancelled.",
            state=current.state,
        )
    _log.info("import.cancelled", uai=uai, import_id=str(job_id), state=str(job.state))
    return job


async def found(uai: str, job_id: UUID, *, jobs: Jobs) -> Job:
    """An import of this school.

    Raises:
        RefusedError: there is none.
    """
    job = await jobs.find(uai, job_id)
    if job is None:
        raise RefusedError(
            errors.IMPORT_UNKNOWN,
            "Cet établissement n'a pas d'import de ce numéro.",
            "This establishment has no such import.",
        )
    return job
