"""Store, read and remove the images of an establishment.

The database and the object store can't commit together, so every object has a note in the database whenever no row
refers to it: written before the object is put, taken back by the transaction that makes a row refer to it, written
again by the one that makes no row refer to it any more. What dies anywhere in between leaves an object with a note, and
`sweeping` removes it. No key is ever used twice, so a late removal can't hit an image that was stored since.
"""

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from uuid import uuid4

from cpro_media.domain.images import ImageKind, Picture, RefusedImageError, StoredImage, StoredPicture
from cpro_media.errors import image_missing, image_refused
from cpro_media.ports import Decoder, Images, ObjectGoneError, Objects
from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_platform.errors import RetryableError
from cpro_platform.logs import get_logger

LONGEST_UPLOAD = timedelta(minutes=15)
"""After this an upload that has not committed is taken for dead, and its objects are removed."""
_READ_ATTEMPTS = 3
_log = get_logger(__name__)


class UploadTooSlowError(RetryableError):
    """The sweep took the upload for dead before it committed: nothing was changed."""


async def store_image(
    uai: str, kind: ImageKind, data: bytes, *, by: str, decoder: Decoder, images: Images, objects: Objects, clock: Clock
) -> StoredImage:
    """Put an image in the place of the one that is there, if any. The same image again changes nothing.

    Readers see the old image or the new one, whole. Safe to repeat after any failure.

    Raises:
        RefusedError: the file is not an acceptable image.
    """
    try:
        rendition = await decoder.decode(data)
    except RefusedImageError as refused:
        raise image_refused(refused.refusal) from None
    current = await images.find(uai, kind)
    if current is not None and current.image.sha256 == _sha256(rendition.image):
        return current
    folder = f"images/{uai}/{kind}"
    new = StoredImage(
        uai,
        kind,
        _placed(rendition.image, folder),
        _placed(rendition.thumbnail, f"{folder}/thumbnail"),
        clock.now(),
        by,
    )
    async with images.begin() as tx:
        await tx.intend_removal(new.keys, clock.now() + LONGEST_UPLOAD)
    crash_points.reach("image.intended")
    await objects.put(new.image.key, rendition.image.data, content_type=new.image.content_type)
    await objects.put(new.thumbnail.key, rendition.thumbnail.data, content_type=new.thumbnail.content_type)
    crash_points.reach("image.put")
    async with images.begin() as tx:
        replaced = await tx.current(uai, kind)
        if not await tx.forget_removal(new.keys):
            raise UploadTooSlowError
        if replaced is not None:
            await tx.intend_removal(replaced.keys, clock.now())
        await tx.save(new)
    crash_points.reach("image.replaced")
    if replaced is not None:
        await _remove_now(replaced.keys, images=images, objects=objects)
    return new


async def read_image(
    uai: str, kind: ImageKind, *, thumbnail: bool, images: Images, objects: Objects
) -> tuple[StoredImage, bytes]:
    """An image with its bytes, or those of its thumbnail.

    Raises:
        RefusedError: there is none.
    """
    for _ in range(_READ_ATTEMPTS):
        found = await find_image(uai, kind, images=images)
        try:
            return found, await objects.get(found.picture(thumbnail=thumbnail).key)
        except ObjectGoneError:
            continue  # replaced between the two lines above: what took its place is there
    raise image_missing(kind)


async def find_image(uai: str, kind: ImageKind, *, images: Images) -> StoredImage:
    """What is known of an image, without its bytes.

    Raises:
        RefusedError: there is none.
    """
    found = await images.find(uai, kind)
    if found is None:
        raise image_missing(kind)
    return found


async def delete_image(uai: str, kind: ImageKind, *, images: Images, objects: Objects, clock: Clock) -> None:
    """Remove an image and its objects. Deleting what is not there changes nothing."""
    async with images.begin() as tx:
        deleted = await tx.current(uai, kind)
        if deleted is None:
            return
        await tx.intend_removal(deleted.keys, clock.now())
        await tx.delete(uai, kind)
    crash_points.reach("image.deleted")
    await _remove_now(deleted.keys, images=images, objects=objects)


async def _remove_now(keys: Sequence[str], *, images: Images, objects: Objects) -> None:
    """Remove objects whose removal was committed. If the store is away, the change stands and the sweep does it."""
    try:
        await objects.remove_many(keys)
    except RetryableError as error:
        _log.warning("image.removal_left_for_later", objects=len(keys), error=type(error).__name__)
        return
    async with images.begin() as tx:
        await tx.forget_removal(keys)


def _placed(picture: Picture, folder: str) -> StoredPicture:
    digest = _sha256(picture)
    return StoredPicture(
        key=f"{folder}/{digest}/{uuid4()}",
        sha256=digest,
        content_type=picture.content_type,
        bytes=len(picture.data),
        width=picture.width,
        height=picture.height,
    )


def _sha256(picture: Picture) -> str:
    return sha256(picture.data).hexdigest()
