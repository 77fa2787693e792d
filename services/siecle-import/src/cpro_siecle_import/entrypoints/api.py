"""The HTTP API: decode, call one handler, encode."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.datastructures import UploadFile

from cpro_contracts import problems
from cpro_platform.auth import AdministratorOf
from cpro_platform.errors import RefusedError
from cpro_platform.http import (
    IDEMPOTENCY,
    Language,
    Links,
    Once,
    Page,
    UaiPath,
    create_app,
    decode_cursor,
    documented,
    encode_cursor,
    read_cursor,
)
from cpro_platform.http.languages import headers_of
from cpro_siecle_import import errors, handlers
from cpro_siecle_import.bootstrap import Service
from cpro_siecle_import.domain.findings import Severity
from cpro_siecle_import.domain.jobs import AT_REST, Job, Mode
from cpro_siecle_import.entrypoints import rejections_csv
from cpro_siecle_import.entrypoints.book import BOOK
from cpro_siecle_import.entrypoints.models import FindingOut, ImportOut, PupilChangeOut
from cpro_siecle_import.entrypoints.negotiation import chosen
from cpro_siecle_import.ports import StoredFinding

_READ_BYTES = 256 * 1024
_CSV_ROWS_AT_A_TIME = 1_000
_JSON, _CSV, _EVENT_STREAM = "application/json", "text/csv", "text/event-stream"
_ANY_BYTES = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/zip": _ANY_BYTES,
            "application/xml": _ANY_BYTES,
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": _ANY_BYTES["schema"]}}
            },
        },
    }
}
_UNKNOWN = documented(errors.IMPORT_UNKNOWN)

Limit = Annotated[int, Query(ge=1, le=500)]


def create(service: Service) -> FastAPI:
    """The service's application. Its lifespan opens and closes the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    app = create_app(
        title="CPro SIECLE import",
        service="siecle-import",
        routers=[_uploads(service.config.max_upload_bytes), router],
        authenticator=service.authenticator,
        readiness=service.readiness,
        metrics=service.metrics,
        book=BOOK,
        http=service.config.http,
        lifespan=lifespan,
        state={"service": service, "kept_answers": service.kept_answers},
    )
    app.add_exception_handler(_AlreadyToldError, _already_told)
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Wired = Annotated[Service, Depends(_service)]


async def _job(_: AdministratorOf, uai: UaiPath, import_id: UUID, service: Wired) -> Job:
    return await handlers.found(uai, import_id, jobs=service.jobs)


FoundJob = Annotated[Job, Depends(_job)]

router = APIRouter(prefix="/v1/establishments/{uai}/siecle-imports", tags=["siecle-imports"])


def _uploads(max_upload_bytes: int) -> APIRouter:
    """The one route whose body may be large: it is counted while it is read."""
    uploads = APIRouter(prefix="/v1/establishments/{uai}/siecle-imports", tags=["siecle-imports"])
    uploads.add_api_route(
        "",
        upload,
        methods=["POST"],
        status_code=202,
        response_model=ImportOut,
        max_body_size=max_upload_bytes,
        openapi_extra=_BODY,
        responses=documented(
            problems.ESTABLISHMENT_UNKNOWN,
            problems.PAYLOAD_TOO_LARGE,
            problems.INVALID_REQUEST,
            problems.INVALID_UAI,
            errors.UPLOAD_EMPTY,
            *IDEMPOTENCY,
            errors.UPLOAD_FIELD_MISSING,
        ),
    )
    return uploads


async def upload(
    *,
    principal: AdministratorOf,
    uai: UaiPath,
    request: Request,
    service: Wired,
    language: Language,
    once: Once,
    mode: Mode = Mode.APPLY,
    force: Annotated[bool, Query(description="Refaire l'import même si ce fichier a déjà été déposé")] = False,
) -> Response:
    """Dépose le fichier des élèves (zip ou XML). `mode=preview` montre d'abord ce que l'import ferait.

    Le même fichier dans le même mode est le même import : un envoi répété n'en crée pas un second. Avec `force`,
    envoyez une `Idempotency-Key` pour qu'il en soit de même.
    """
    received = handlers.received(uai, _chunks(request), establishments=service.establishments, uploads=service.uploads)
    async with received as file:

        async def act() -> ImportOut:
            job = await handlers.request_import(
                uai, file, mode=mode, force=force, by=principal.subject, jobs=service.jobs, clock=service.clock
            )
            return _shown(job, service, language)

        return await once(act, by=principal, status=202, headers=_location, content=file.upload.sha256.encode())


def _location(shown: ImportOut) -> dict[str, str]:
    return {"Location": f"/v1/establishments/{shown.uai}/siecle-imports/{shown.id}"}


@router.get("")
async def list_imports(
    _: AdministratorOf,
    uai: UaiPath,
    service: Wired,
    language: Language,
    links: Links,
    cursor: str | None = None,
    limit: Limit = 50,
) -> Page[ImportOut]:
    """Les imports de l'établissement, du plus récent au plus ancien."""
    jobs = await service.jobs.page(uai, before=_position(cursor), limit=limit + 1)
    page = jobs[:limit]
    return links.page(
        items=[_shown(job, service, language) for job in page],
        next_cursor=encode_cursor(page[-1].requested_at.isoformat(), str(page[-1].id)) if len(jobs) > limit else None,
    )


@router.get("/{import_id}", responses=_UNKNOWN)
async def read_import(_: AdministratorOf, job: FoundJob, service: Wired, language: Language) -> ImportOut:
    """Où en est un import : état, progression, chiffres, refus ou raisons d'attendre une confirmation."""
    return _shown(job, service, language)


class _AlreadyToldError(Exception):
    """The caller has seen the last that there is to see. Answered with 204, at which a browser stops asking again."""


async def _already_told(_request: Request, _error: Exception) -> Response:
    return Response(status_code=204)


async def _seen_revision(
    job: FoundJob,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[str | None, Header(description="Dernier événement reçu, à la reconnexion")] = None,
) -> int | None:
    chosen(accept, (_EVENT_STREAM,))
    seen = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,18}", last_event_id) else None
    if seen == job.revision and job.state in AT_REST:
        raise _AlreadyToldError
    return seen


@router.get(
    "/{import_id}/events",
    response_class=EventSourceResponse,
    responses=documented(errors.IMPORT_UNKNOWN, errors.NOT_ACCEPTABLE)
    | {204: {"description": "Rien de nouveau depuis `Last-Event-ID`, et rien à venir"}},
)
async def follow_import(
    _: AdministratorOf,
    job: FoundJob,
    seen: Annotated[int | None, Depends(_seen_revision)],
    service: Wired,
    language: Language,
) -> AsyncIterator[ServerSentEvent]:
    """La progression au fil de l'eau, jusqu'à la fin de l'import ou jusqu'à ce qu'il attende une confirmation.

    Un commentaire toutes les 15 secondes garde la connexion ouverte. À la reconnexion, `Last-Event-ID` évite de
    recevoir à nouveau ce qui a été vu.
    """
    async with aclosing(service.followers.follow(job, seen_revision=seen)) as followed:
        async for current in followed:
            shown = _shown(current, service, language).model_dump(mode="json")
            yield ServerSentEvent(event="progress", id=str(current.revision), data=shown)


@router.get(
    "/{import_id}/rejections",
    response_model=Page[FindingOut],
    responses=documented(errors.IMPORT_UNKNOWN, errors.NOT_ACCEPTABLE)
    | {200: {"content": {_CSV: {"schema": {"type": "string"}}}}},
)
async def list_rejections(
    *,
    _: AdministratorOf,
    job: FoundJob,
    request: Request,
    service: Wired,
    language: Language,
    links: Links,
    severity: Severity | None = None,
    cursor: str | None = None,
    limit: Limit = 200,
) -> Page[FindingOut] | Response:
    """Les élèves rejetés et les avertissements : en JSON par pages, ou en CSV complet (`Accept: text/csv`)."""
    if chosen(request.headers.get("accept"), (_JSON, _CSV)) == _CSV:
        headers = {"Content-Disposition": f'attachment; filename="rejets-{job.uai}-{job.id}.csv"'} | headers_of(
            language
        )
        # Read before the answer begins: a database that is away is answered with 503, not with half a table.
        first = await _csv_rows(service, job, severity, after=0)
        lines = _csv_lines(service, job, severity, first, language)
        return StreamingResponse(lines, media_type=f"{_CSV}; charset=utf-8", headers=headers)
    position = decode_cursor(cursor, types=(int,))
    found = await service.rosters.findings(
        job.uai, job.id, severity=severity, after=int(position[0]) if position else 0, limit=limit + 1
    )
    page = found[:limit]
    return links.page(
        items=[FindingOut.of(finding, language) for finding in page],
        next_cursor=encode_cursor(page[-1].ordinal) if len(found) > limit else None,
    )


@router.get("/{import_id}/changes", responses=_UNKNOWN)
async def list_changes(
    *,
    _: AdministratorOf,
    job: FoundJob,
    service: Wired,
    links: Links,
    kind: Literal["created", "updated", "deactivated", "reactivated"] | None = None,
    cursor: str | None = None,
    limit: Limit = 200,
) -> Page[PupilChangeOut]:
    """Ce que l'import change, ou changerait une fois confirmé, élève par élève."""
    position = decode_cursor(cursor, types=(int,))
    found = await service.rosters.changes(
        job.uai, job.id, kind=kind, after=int(position[0]) if position else 0, limit=limit + 1
    )
    page = found[:limit]
    return links.page(
        items=[PupilChangeOut.of(change) for change in page],
        next_cursor=encode_cursor(page[-1].ordinal) if len(found) > limit else None,
    )


@router.post(
    "/{import_id}/confirm",
    status_code=202,
    response_model=ImportOut,
    responses=documented(errors.IMPORT_UNKNOWN, errors.NOT_AWAITING_CONFIRMATION, *IDEMPOTENCY),
)
async def confirm(
    principal: AdministratorOf, uai: UaiPath, import_id: UUID, service: Wired, language: Language, once: Once
) -> Response:
    """Confirme un import en attente. Si la base a changé depuis, il s'arrête à nouveau et montre la nouvelle liste."""

    async def act() -> ImportOut:
        job = await handlers.confirm(uai, import_id, by=principal.subject, jobs=service.jobs, clock=service.clock)
        return _shown(job, service, language)

    return await once(act, by=principal, status=202)


@router.post(
    "/{import_id}/cancel",
    status_code=202,
    response_model=ImportOut,
    responses=documented(errors.IMPORT_UNKNOWN, errors.NOT_CANCELLABLE, *IDEMPOTENCY),
)
async def cancel(
    principal: AdministratorOf, uai: UaiPath, import_id: UUID, service: Wired, language: Language, once: Once
) -> Response:
    """Annule un import. En cours, il s'arrête à sa prochaine étape ; une fois l'application commencée, c'est refusé."""

    async def act() -> ImportOut:
        job = await handlers.cancel(uai, import_id, by=principal.subject, jobs=service.jobs, clock=service.clock)
        return _shown(job, service, language)

    return await once(act, by=principal, status=202)


def _shown(job: Job, service: Service, language: str) -> ImportOut:
    return ImportOut.of(job, service.retention, language)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The file, from a raw body or from the form field `file`."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        async for chunk in request.stream():
            yield chunk
        return
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RefusedError(
                errors.UPLOAD_FIELD_MISSING,
                "Le formulaire n'a pas de fichier dans le champ « file ».",
                "The form has no file in its field “file”.",
            )
        while chunk := await file.read(_READ_BYTES):
            yield chunk


async def _csv_lines(
    service: Service, job: Job, severity: Severity | None, found: Sequence[StoredFinding], language: str
) -> AsyncIterator[str]:
    yield rejections_csv.header(language)
    while found:
        yield rejections_csv.rows(found, language)
        found = await _csv_rows(service, job, severity, after=found[-1].ordinal)


async def _csv_rows(service: Service, job: Job, severity: Severity | None, *, after: int) -> Sequence[StoredFinding]:
    return await service.rosters.findings(job.uai, job.id, severity=severity, after=after, limit=_CSV_ROWS_AT_A_TIME)


def _position(cursor: str | None) -> tuple[datetime, UUID] | None:
    position: tuple[datetime, UUID] | None = read_cursor(cursor, datetime.fromisoformat, UUID)
    return position
