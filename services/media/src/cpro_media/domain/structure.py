"""What the walk through a picture's file finds, whatever the format, and how its numbers are read."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from cpro_media.domain.images import MAX_PARTS, Refusal, RefusedImageError

Part = TypeVar("Part")


class Format(StrEnum):
    """The accepted formats, by the name that the decoder gives them."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WEBP"


@dataclass(frozen=True, slots=True)
class Structure:
    """A picture's file, walked from the first byte to the last.

    `essence` is the file without what is not needed to draw it. `working_bytes` is what a decoder holds at once,
    `scanned_samples` how many samples it goes over in all the passes of a picture that is stored in several.
    """

    format: Format
    width: int
    height: int
    essence: bytes
    working_bytes: int
    scanned_samples: int = 0
    sixteen_bits: bool = False

    @property
    def pixels(self) -> int:
        """How many the picture has, as its head says."""
        return self.width * self.height


def unpack(form: str, data: bytes, offset: int) -> tuple[Any, ...]:
    """The numbers at an offset.

    Raises:
        RefusedImageError: the data end before.
    """
    try:
        return struct.unpack_from(form, data, offset)
    except struct.error:
        raise RefusedImageError(Refusal.DAMAGED) from None


def few(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of a file, as long as there are not so many that going through them is an attack."""
    for number, part in enumerate(parts):
        if number == MAX_PARTS:
            raise RefusedImageError(Refusal.TOO_DEMANDING)
        yield part


def must_be_sound(is_sound: bool) -> None:
    """Refuse as damaged what is not sound."""
    if not is_sound:
        raise RefusedImageError(Refusal.DAMAGED)


def must_end(data: bytes, end: int) -> None:
    """Refuse what breaks off before `end`, or goes on after it."""
    must_be_sound(end <= len(data))
    if data[end:].strip(b"\x00"):  # some cameras fill up to a whole sector
        raise RefusedImageError(Refusal.TRAILING_DATA)
