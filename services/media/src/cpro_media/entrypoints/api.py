"""The HTTP API: decode, call one handler, encode."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Self

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import AwareDatetime, BaseModel

from cpro_contracts import problems
from cpro_media import handlers
from cpro_media.bootstrap import Service
from cpro_media.domain.images import MAX_BYTES, ImageKind, StoredImage
from cpro_media.errors import IMAGE_MISSING, REFUSALS
from cpro_platform.auth import AdministratorOf, PlatformOrAdministrator
from cpro_platform.http import IfNoneMatch, UaiPath, create_app, documented, is_not_modified

router = APIRouter(prefix="/v1/establishments/{uai}/images", tags=["media"])

_EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg"}
_PICTURE_RESPONSES = documented(IMAGE_MISSING) | {
    200: {"description": "L'image", "content": {media_type: {} for media_type in _EXTENSIONS}},
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


class ImageOut(BaseModel):
    """What is known of an image; `etag` is that of its bytes."""

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
            etag=_etag(image.sha256),
            changed_at=stored.changed_at,
            changed_by=stored.changed_by,
        )


class ImagesOut(BaseModel):
    """The images of an establishment; null where there is none."""

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
    stored = await handlers.store_image(
        uai,
        kind,
        await request.body(),
        by=principal.subject,
        decoder=service.decoder,
        images=service.images,
        objects=service.objects,
        clock=service.clock,
    )
    response.headers["ETag"] = _etag(stored.image.sha256)
    return ImageOut.of(stored)


@router.get("/{kind}", response_class=Response, responses=_PICTURE_RESPONSES)
async def read_image(
    _: PlatformOrAdministrator, uai: UaiPath, kind: ImageKind, service: Wired, if_none_match: IfNoneMatch = None
) -> Response:
    """L'image elle-même."""
    return await _picture(service, uai, kind, if_none_match, thumbnail=False)


@router.get("/{kind}/thumbnail", response_class=Response, responses=_PICTURE_RESPONSES)
async def read_thumbnail(
    _: PlatformOrAdministrator, uai: UaiPath, kind: ImageKind, service: Wired, if_none_match: IfNoneMatch = None
) -> Response:
    """Une vignette de l'image, de 256 pixels au plus de côté."""
    return await _picture(service, uai, kind, if_none_match, thumbnail=True)


@router.delete("/{kind}", status_code=204)
async def delete_image(_: AdministratorOf, uai: UaiPath, kind: ImageKind, service: Wired) -> None:
    """Supprime l'image. La supprimer de nouveau ne change rien."""
    await handlers.delete_image(uai, kind, images=service.images, objects=service.objects, clock=service.clock)


async def _picture(
    service: Service, uai: str, kind: ImageKind, if_none_match: str | None, *, thumbnail: bool
) -> Response:
    known = await handlers.find_picture(uai, kind, thumbnail=thumbnail, images=service.images)
    if is_not_modified(if_none_match, _etag(known.sha256)):
        return Response(status_code=304, headers=_headers(known.sha256))
    picture, data = await handlers.read_image(
        uai, kind, thumbnail=thumbnail, images=service.images, objects=service.objects
    )
    name = f"{kind}-{uai}{'-thumbnail' if thumbnail else ''}.{_EXTENSIONS[picture.content_type]}"
    headers = _headers(picture.sha256) | {
        "Content-Disposition": f'inline; filename="{name}"',
        # Should a browser ever be led to take it for a document: nothing in it may run.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(data, media_type=picture.content_type, headers=headers)


def _headers(sha256: str) -> dict[str, str]:
    # Kept, but asked for each time: the address stays the same when the image is replaced.
    return {"ETag": _etag(sha256), "Cache-Control": "private, no-cache"}


def _etag(sha256: str) -> str:
    return f'"{sha256}"'
