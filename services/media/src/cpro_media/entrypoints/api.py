"""The HTTP API: decode, call one handler, encode."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Self

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import AwareDatetime, BaseModel

from cpro_contracts import problems
from cpro_media.bootstrap import Service
from cpro_media.domain.images import MAX_BYTES, ImageKind, StoredImage
from cpro_media.entrypoints.book import BOOK
from cpro_media.entrypoints.pictures import EXTENSIONS, Answered, etag_of, with_body, without_body
from cpro_media.errors import IMAGE_MISSING, RANGE_NOT_SATISFIABLE, REFUSALS
from cpro_media.handlers import storing
from cpro_platform.auth import AdministratorOf, PlatformOrAdministrator
from cpro_platform.http import UaiPath, create_app, documented

router = APIRouter(prefix="/v1/establishments/{uai}/images", tags=["media"])

_PICTURE_RESPONSES = documented(IMAGE_MISSING, RANGE_NOT_SATISFIABLE) | {
    200: {"description": "L'image", "content": {media_type: {} for media_type in EXTENSIONS}},
    206: {
        "description": "Les parties demandées de l'image",
        "content": {media_type: {} for media_type in (*EXTENSIONS, "multipart/byteranges")},
    },
    304: {"description": "L'image n'a pas changé"},
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": "L'image : PNG, JPEG ou WebP, 5 Mo et 40 millions de pixels au plus",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
        },
    }
}


_CONDITIONS = {
    "parameters": [
        {"in": "header", "name": name, "description": description, "schema": {"type": "string"}}
        for name, description in (
            ("If-None-Match", "ETag de la version déjà reçue"),
            ("If-Modified-Since", "Date de la version déjà reçue"),
            ("Range", "Parties demandées, en octets : `bytes=0-1023`"),
            ("If-Range", "ETag de la version dont une partie a été reçue"),
        )
    ]
}
"""Read by `pictures`."""


class ImageOut(BaseModel):
    """Ce qui est connu d'une image ; `etag` est celui de ses octets."""

    content_type: str
    bytes: int
    width: int
    height: int
    etag: str
    changed_at: AwareDatetime
    changed_by: str

    @classmethod
    def of(cls, stored: StoredImage) -> Self:
        """What is answered for a stored image."""
        image = stored.image
        return cls(
            content_type=image.content_type,
            bytes=image.bytes,
            width=image.width,
            height=image.height,
            etag=etag_of(image),
            changed_at=stored.changed_at,
            changed_by=stored.changed_by,
        )


class ImagesOut(BaseModel):
    """Les images d'un établissement ; `null` quand il n'y en a pas."""

    logo: ImageOut | None
    stamp: ImageOut | None


def create(service: Service) -> FastAPI:
    """The service's application. Its lifespan opens and closes the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service:
            yield

    return create_app(
        title="CPro media",
        service="media",
        routers=[router],
        authenticator=service.authenticator,
        readiness=service.readiness,
        metrics=service.metrics,
        book=BOOK,
        http=service.config.http,
        lifespan=lifespan,
        state={"service": service},
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Wired = Annotated[Service, Depends(_service)]


@router.get("")
async def list_images(_: PlatformOrAdministrator, uai: UaiPath, service: Wired) -> ImagesOut:
    """Le logo et le cachet de l'établissement, sans leur contenu."""
    found = {kind.value: await service.images.find(uai, kind) for kind in ImageKind}
    return ImagesOut(**{kind: ImageOut.of(image) if image else None for kind, image in found.items()})


@router.put(
    "/{kind}",
    max_body_size=MAX_BYTES,
    openapi_extra=_UPLOAD,
    responses=documented(
        problems.PAYLOAD_TOO_LARGE, problems.INVALID_REQUEST, problems.INVALID_UAI, *REFUSALS.values()
    ),
)
async def store_image(
    *,
    principal: AdministratorOf,
    uai: UaiPath,
    kind: ImageKind,
    request: Request,
    service: Wired,
    response: Response,
) -> ImageOut:
    """Enregistre l'image, à la place de la précédente. Son type est déterminé d'après son contenu."""
    stored = await storing.store_image(
        uai,
        kind,
        await request.body(),
        by=principal.subject,
        decoder=service.decoder,
        images=service.images,
        objects=service.objects,
        clock=service.clock,
    )
    response.headers["ETag"] = etag_of(stored.image)
    return ImageOut.of(stored)


@router.head("/{kind}", include_in_schema=False)
@router.get("/{kind}", response_class=Response, responses=_PICTURE_RESPONSES, openapi_extra=_CONDITIONS)
async def read_image(
    _: PlatformOrAdministrator, uai: UaiPath, kind: ImageKind, request: Request, service: Wired
) -> Response:
    """L'image elle-même."""
    return await _picture(request, service, uai, kind, thumbnail=False)


@router.head("/{kind}/thumbnail", include_in_schema=False)
@router.get("/{kind}/thumbnail", response_class=Response, responses=_PICTURE_RESPONSES, openapi_extra=_CONDITIONS)
async def read_thumbnail(
    _: PlatformOrAdministrator, uai: UaiPath, kind: ImageKind, request: Request, service: Wired
) -> Response:
    """Une vignette de l'image, de 256 pixels au plus de côté."""
    return await _picture(request, service, uai, kind, thumbnail=True)


@router.delete("/{kind}", status_code=204)
async def delete_image(_: AdministratorOf, uai: UaiPath, kind: ImageKind, service: Wired) -> None:
    """Supprime l'image. La supprimer de nouveau ne change rien."""
    await storing.delete_image(uai, kind, images=service.images, objects=service.objects, clock=service.clock)


async def _picture(request: Request, service: Service, uai: str, kind: ImageKind, *, thumbnail: bool) -> Response:
    known = await storing.find_image(uai, kind, images=service.images)
    answer = without_body(request, _answered(service, known, thumbnail=thumbnail))
    if answer is not None:
        return answer
    read, data = await storing.read_image(
        uai, kind, thumbnail=thumbnail, images=service.images, objects=service.objects
    )
    return with_body(request, _answered(service, read, thumbnail=thumbnail), data)


def _answered(service: Service, stored: StoredImage, *, thumbnail: bool) -> Answered:
    name = f"{stored.kind}-{stored.uai}{'-thumbnail' if thumbnail else ''}"
    return Answered(stored.picture(thumbnail=thumbnail), stored.changed_at, service.clock.now(), name)
