"""The process that decodes one untrusted image: bytes on standard input, a line of JSON and two pictures on the output.

Run as `python -I -m cpro_media.adapters.decoding_process <memory bytes> <seconds>`. It sets its own limits before it
reads a byte, opens no file, and answers with a refusal or with the rendition; anything else that it does is a death
that the parent sees.
"""

import json
import resource
import sys
from io import BytesIO
from math import ceil
from typing import Any

from PIL import ExifTags, Image, ImageCms

from cpro_media.domain import formats
from cpro_media.domain.formats import Format
from cpro_media.domain.images import (
    MAX_PIXELS,
    STORED_SIDE_PIXELS,
    THUMBNAIL_SIDE_PIXELS,
    Picture,
    Refusal,
    RefusedImageError,
)

_JPEG_QUALITY = 90
_BAND_ROWS = 128
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each Exif orientation."""
_SIXTEEN_BIT_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}


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
    form = formats.examine(data)
    opened = _open(data, form)
    # JPEG can be decoded at a fraction of its size, for a fraction of the memory.
    opened.draft(None, (STORED_SIDE_PIXELS, STORED_SIDE_PIXELS))
    try:
        opened.load()
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - decoders raise whatever they like on a damaged file
        raise RefusedImageError(Refusal.DAMAGED) from None
    image = _reduced_in_srgb(opened)
    image.thumbnail((STORED_SIDE_PIXELS, STORED_SIDE_PIXELS), Image.Resampling.LANCZOS)
    image = _upright(image, opened)
    output = Format.JPEG if form is Format.JPEG else Format.PNG
    thumbnail = image.copy()
    thumbnail.thumbnail((THUMBNAIL_SIDE_PIXELS, THUMBNAIL_SIDE_PIXELS), Image.Resampling.LANCZOS)
    return _encoded(image, output), _encoded(thumbnail, output)


def _open(data: bytes, form: Format) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, below, and refuses instead of warning
    try:
        opened = Image.open(BytesIO(data), formats=[form.value])
    except Exception:  # noqa: BLE001 - decoders raise whatever they like on a damaged file
        raise RefusedImageError(Refusal.DAMAGED) from None
    if opened.width * opened.height > MAX_PIXELS:
        raise RefusedImageError(Refusal.TOO_MANY_PIXELS)
    # A JPEG's other frames are a camera's previews, which are not read; the other formats' are an animation.
    if form is not Format.JPEG and getattr(opened, "n_frames", 1) > 1:
        raise RefusedImageError(Refusal.ANIMATED)
    return opened


def _upright(image: Image.Image, original: Image.Image) -> Image.Image:
    """Turned as the camera's Exif orientation says; left as it is where that can't be read."""
    try:
        turn = _TURNS.get(original.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a damaged Exif block is no reason to refuse a good picture
        turn = None
    return image if turn is None else image.transpose(turn)


def _reduced_in_srgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, large ones reduced by a whole factor. Band by band: a second full-size copy never exists."""
    factor = max(1, max(image.size) // STORED_SIDE_PIXELS)
    rows = factor * _BAND_ROWS
    size = (ceil(image.width / factor), ceil(image.height / factor))
    reduced = Image.new("RGBA" if image.has_transparency_data else "RGB", size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        reduced.paste(_in_srgb(band).reduce(factor), (0, top // factor))
    return reduced


def _in_srgb(image: Image.Image) -> Image.Image:
    """The colours in sRGB, eight bits each, with alpha where the image has transparency."""
    transparent = image.has_transparency_data
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_MODES:
        image = image.point(lambda value: value * (1 / 257)).convert("L")
        profile = None
    if profile and image.mode in {"RGB", "CMYK"}:
        image = _converted(image, profile)
    return image.convert("RGBA" if transparent else "RGB")


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a profile that can't be read: the colours are taken as they are


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
        image, thumbnail = render(sys.stdin.buffer.read())
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
