"""What the use cases need from the outside, by role."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from cpro_media.domain.images import ImageKind, Rendition, StoredImage


class Decoder(Protocol):
    """Turns an untrusted file into what is kept of it."""

    async def decode(self, data: bytes) -> Rendition:
        """The rendition of an acceptable image.

        Raises:
            RefusedImageError: it is not acceptable.
        """


class ObjectGoneError(Exception):
    """There is no object under this key, or no more."""


class Objects(Protocol):
    """The object store."""

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Write an object, whole or not at all."""

    async def get(self, key: str) -> bytes:
        """The object's bytes.

        Raises:
            ObjectGoneError: there is none.
        """

    async def exists(self, key: str) -> bool:
        """Whether there is an object under this key."""

    def pages(self) -> AsyncIterator[Sequence[str]]:
        """The keys of all objects, a page at a time."""

    async def remove_many(self, keys: Sequence[str]) -> None:
        """Remove objects; removing what is not there changes nothing."""


class ImagesChange(Protocol):
    """One transaction on the images of an establishment."""

    async def current(self, uai: str, kind: ImageKind) -> StoredImage | None:
        """The image as it is now, locked until the transaction ends."""

    async def save(self, image: StoredImage) -> None:
        """Put the image in the place of the one that is there."""

    async def delete(self, uai: str, kind: ImageKind) -> None:
        """Leave the place empty."""

    async def intend_removal(self, keys: Sequence[str], due_at: datetime) -> None:
        """Note that these objects are to be removed from `due_at` on, unless the note is taken back."""

    async def forget_removal(self, keys: Sequence[str]) -> bool:
        """Take notes back. False if one was no longer there: the object may be gone."""

    async def due_removals(self, at: datetime, limit: int) -> Sequence[str]:
        """Objects whose removal is due, locked until the transaction ends; those that another sweeps are skipped."""


class Images(Protocol):
    """The images of all establishments."""

    def begin(self) -> AbstractAsyncContextManager[ImagesChange]:
        """A transaction: committed when the block is left, rolled back when it raises."""

    async def find(self, uai: str, kind: ImageKind) -> StoredImage | None:
        """The image as it is now."""

    async def count_due_removals(self, at: datetime) -> int:
        """How many notes are due."""

    async def unknown_among(self, keys: Sequence[str]) -> Sequence[str]:
        """Those of the keys that neither an image nor a note refers to, all at one instant."""

    def pages_of_keys(self) -> AsyncIterator[Sequence[str]]:
        """The keys that images refer to, a page at a time."""

    async def refers_to(self, key: str) -> bool:
        """Whether an image refers to this key now."""
