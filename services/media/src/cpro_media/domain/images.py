"""What an establishment's images are: which there are, what is accepted, what is kept."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MEBIBYTE = 1024 * 1024
MAX_BYTES = 5 * MEBIBYTE
"""The largest file accepted."""
MAX_PIXELS = 40_000_000
"""The largest picture decoded: a photograph of a good telephone."""
MAX_WORKING_BYTES = 200_000_000
"""What decoding may hold at once, as the file's head tells it: with the rest of its process it stays below 256 MiB."""
MAX_SCANNED_SAMPLES = 640_000_000
"""The samples in all passes of a JPEG stored in several: a photograph of 40 million pixels in the usual ten."""
MAX_PARTS = 20_000
"""Chunks or segments in a file: a large PNG has some hundreds."""
STORED_SIDE_PIXELS = 2_000
"""A longer side is scaled down to this: 17 cm at 300 dpi, more than a logo or a stamp has on any document."""
THUMBNAIL_SIDE_PIXELS = 256


class ImageKind(StrEnum):
    """The images of an establishment."""

    LOGO = "logo"
    STAMP = "stamp"
    """« Cachet »: laid over documents, so its transparency matters."""


class Refusal(StrEnum):
    """Why an image is not accepted. A closed list; each has its words in `errors`."""

    EMPTY = "image_empty"
    TYPE_NOT_ACCEPTED = "image_type_not_accepted"
    ANIMATED = "image_animated"
    TOO_MANY_PIXELS = "image_too_many_pixels"
    DAMAGED = "image_damaged"
    TRAILING_DATA = "image_trailing_data"
    TOO_DEMANDING = "image_too_demanding"
    VARIANT_NOT_ACCEPTED = "image_variant_not_accepted"


class RefusedImageError(ValueError):
    """The image is not accepted, for this reason."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture: its media type, its bytes, its size in pixels."""

    content_type: str
    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """What is kept of an accepted image: upright, in sRGB, without metadata; and the thumbnail of it."""

    image: Picture
    thumbnail: Picture


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture in the object store. `sha256` is of its bytes, in hexadecimal."""

    key: str
    sha256: str
    content_type: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An establishment's image as it is now."""

    uai: str
    kind: ImageKind
    image: StoredPicture
    thumbnail: StoredPicture
    changed_at: datetime
    changed_by: str

    @property
    def keys(self) -> tuple[str, str]:
        """The objects that it is made of."""
        return self.image.key, self.thumbnail.key

    def picture(self, *, thumbnail: bool) -> StoredPicture:
        """The image itself, or its thumbnail."""
        return self.thumbnail if thumbnail else self.image
