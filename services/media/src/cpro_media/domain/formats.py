"""What a file is, decided from its bytes: never from its name or from what the sender says.

The whole structure is walked, so that a file which is a picture and something else besides (a polyglot: bytes after
the picture's end) is found before anything decodes it, and so that what decoding would take is known beforehand. The
decoder then only gets to see the essential parts: texts, previews and the rest never reach it.
"""

from cpro_media.domain import jpeg, png, webp
from cpro_media.domain.images import MAX_PIXELS, MAX_SCANNED_SAMPLES, MAX_WORKING_BYTES, Refusal, RefusedImageError
from cpro_media.domain.structure import Format, Structure


def examine(data: bytes) -> Structure:
    """The structure of a file that is one still picture from the first byte to the last, within the limits.

    Raises:
        RefusedImageError: it is empty, of another type, animated, damaged, too large, or goes on after its end.
    """
    structure = _walked(data)
    if not structure.pixels:
        raise RefusedImageError(Refusal.DAMAGED)
    if structure.pixels > MAX_PIXELS:
        raise RefusedImageError(Refusal.TOO_MANY_PIXELS)
    if structure.working_bytes > MAX_WORKING_BYTES or structure.scanned_samples > MAX_SCANNED_SAMPLES:
        raise RefusedImageError(Refusal.TOO_DEMANDING)
    if structure.format is Format.PNG:
        png.must_be_whole(structure)
    return structure


def _walked(data: bytes) -> Structure:
    if not data:
        raise RefusedImageError(Refusal.EMPTY)
    if data.startswith(png.SIGNATURE):
        return png.walk(data)
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.walk(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return webp.walk(data)
    raise RefusedImageError(Refusal.TYPE_NOT_ACCEPTED)
