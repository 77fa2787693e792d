"""The process that decodes one untrusted image: bytes on standard input, a line of JSON and two pictures on the output.

Run as `python -I -m cpro_media.adapters.decoding_process <memory bytes> <processor seconds>`. It sets its own limits
before it reads a byte, opens no file, and answers with a refusal or with the rendition; anything else that it does is a
death that the parent sees.
"""

import json
import resource
import sys
from collections.abc import Mapping
from io import BytesIO
from math import ceil
from typing import Any

from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from cpro_media.adapters.colours import ToSrgb
from cpro_media.domain import formats, jpeg
from cpro_media.domain.images import (
    MAX_BYTES,
    STORED_SIDE_PIXELS,
    THUMBNAIL_SIDE_PIXELS,
    Picture,
    Refusal,
    RefusedImageError,
)
from cpro_media.domain.structure import Format, Structure

_JPEG_QUALITY = 90
_BAND_ROWS = 32
# Named one by one: `Image.open` would try others, and take a JPEG with previews for something else.
_DECODERS: Mapping[Format, type[ImageFile.ImageFile]] = {
    Format.PNG: PngImagePlugin.PngImageFile,
    Format.JPEG: JpegImagePlugin.JpegImageFile,
    Format.WEBP: WebPImagePlugin.WebPImageFile,
}
_TURNS: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each Exif orientation."""


def limit(memory_bytes: int, seconds: int) -> None:
    """Bound what this process can take: address space, processor time, no file written, no core left behind."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def render(data: bytes) -> tuple[Picture, Picture]:
    """The image as it is kept, and its thumbnail.

    Raises:
        RefusedImageError: it is not acceptable.
    """
    structure = formats.examine(data)
    try:
        return _rendered(structure)
    except (MemoryError, RefusedImageError):
        raise
    except Exception:  # noqa: BLE001 - decoders raise whatever they like on a damaged file
        raise RefusedImageError(Refusal.DAMAGED) from None


def _rendered(structure: Structure) -> tuple[Picture, Picture]:
    image, turn = _reduced_in_srgb(structure)
    image.thumbnail((STORED_SIDE_PIXELS, STORED_SIDE_PIXELS), Image.Resampling.LANCZOS)
    if turn is not None:
        image = image.transpose(turn)
    output = Format.JPEG if structure.format is Format.JPEG else Format.PNG
    thumbnail = image.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE_PIXELS, THUMBNAIL_SIDE_PIXELS), Image.Resampling.LANCZOS)
    return _encoded(image, output), _encoded(thumbnail, output)


def _reduced_in_srgb(structure: Structure) -> tuple[Image.Image, Image.Transpose | None]:
    """The image in sRGB, a large one reduced by a whole factor, and how it is turned upright.

    Band by band: a second full-size copy never exists, and the first is given back when this returns.
    """
    opened = _loaded(structure)
    colours = ToSrgb(opened, sixteen_bits=structure.sixteen_bits)
    factor = jpeg.reduction(*opened.size)
    rows = factor * _BAND_ROWS
    reduced = Image.new(colours.mode, (ceil(opened.width / factor), ceil(opened.height / factor)))
    for top in range(0, opened.height, rows):
        band = opened.crop((0, top, opened.width, min(top + rows, opened.height)))
        # The fewer pixels, the less work for a profile; but colours that are numbers of a palette have no average.
        small = colours(band.reduce(factor)) if colours.can_be_averaged else colours(band).reduce(factor)
        reduced.paste(small, (0, top // factor))
    return reduced, _turn(opened)


def _loaded(structure: Structure) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and refuses instead of warning
    opened = _DECODERS[structure.format](BytesIO(structure.essence))
    if opened.size != (structure.width, structure.height):
        raise RefusedImageError(Refusal.DAMAGED)
    fraction = jpeg.decoded_fraction(*opened.size)
    opened.draft(None, (opened.width // fraction, opened.height // fraction))
    opened.load()
    return opened


def _turn(opened: Image.Image) -> Image.Transpose | None:
    """What the camera's Exif orientation asks for; nothing where that can't be read."""
    try:
        return _TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a damaged Exif block is no reason to refuse a good picture
        return None


def _encoded(image: Image.Image, form: Format) -> Picture:
    image.info.clear()  # what the encoder would carry over: comments, profiles, Exif
    buffer = BytesIO()
    options: dict[str, Any] = {"quality": _JPEG_QUALITY} if form is Format.JPEG else {}
    image.save(buffer, form.value, **options)
    return Picture(f"image/{form.value.lower()}", buffer.getvalue(), image.width, image.height)


def main() -> None:
    """Decode what comes on standard input."""
    limit(int(sys.argv[1]), int(sys.argv[2]))
    answer: dict[str, object]
    pictures = b""
    try:
        image, thumbnail = render(sys.stdin.buffer.read(MAX_BYTES))
        pictures = image.data + thumbnail.data
        answer = {"image": _described(image), "thumbnail": _described(thumbnail)}
    except RefusedImageError as refused:
        answer = {"refused": refused.refusal.value}
    except MemoryError:
        answer = {"refused": Refusal.TOO_DEMANDING.value}
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n" + pictures)
    sys.stdout.buffer.flush()


def _described(picture: Picture) -> dict[str, object]:
    return {
        "content_type": picture.content_type,
        "length": len(picture.data),
        "width": picture.width,
        "height": picture.height,
    }


if __name__ == "__main__":
    main()
