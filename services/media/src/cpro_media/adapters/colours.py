"""The colours of an opened picture, brought to sRGB of eight bits.

An embedded profile (Adobe RGB, Display P3, a press's CMYK, a grey scale) is followed when it can be read and is of the
picture's own kind; where there is none, or a broken one, the numbers are taken as sRGB, as browsers do.
"""

from io import BytesIO

from PIL import Image, ImageCms

_SIXTEEN_BIT_MODES = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_PROFILE_SPACES = {"RGB": "RGB", "RGBA": "RGB", "P": "RGB", "L": "GRAY", "LA": "GRAY", "1": "GRAY", "CMYK": "CMYK"}
_AVERAGED_MODES = {"RGB", "RGBA", "L", "LA", "CMYK"}
_UNREADABLE = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


class ToSrgb:
    """Converts parts of one picture. What the profile asks for is worked out once."""

    def __init__(self, image: Image.Image, *, sixteen_bits: bool) -> None:
        self.is_transparent = bool(image.has_transparency_data)
        if sixteen_bits:
            _halve_transparency(image)
        self._space = "GRAY" if image.mode in _SIXTEEN_BIT_MODES else _PROFILE_SPACES.get(image.mode, "")
        self._transform = _transform(image.info.get("icc_profile"), self._space, transparent=self.is_transparent)

        self.can_be_averaged = image.mode in _AVERAGED_MODES and "transparency" not in image.info

    @property
    def mode(self) -> str:
        """Of what comes out."""
        return "RGBA" if self.is_transparent else "RGB"

    def __call__(self, part: Image.Image) -> Image.Image:
        """The part in sRGB, with alpha where the picture has transparency."""
        if part.mode in _SIXTEEN_BIT_MODES:
            part = _in_eight_bits(part)
        if self._transform is None:
            return part.convert(self.mode)
        if self._space == "CMYK":
            return ImageCms.applyTransform(part, self._transform) or part
        drawn = part.convert(self.mode)
        if self._space == "RGB":
            return ImageCms.applyTransform(drawn, self._transform) or drawn
        coloured = ImageCms.applyTransform(drawn.convert("L"), self._transform) or drawn
        if self.is_transparent:
            coloured.putalpha(drawn.getchannel("A"))
        return coloured


def _transform(profile: bytes | None, space: str, *, transparent: bool) -> ImageCms.ImageCmsTransform | None:
    if not profile:
        return None
    mode = {"RGB": "RGBA" if transparent else "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(space)
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if mode is None or source.profile.xcolor_space.strip() != space:
            return None
        outcome = "RGBA" if mode == "RGBA" else "RGB"
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, outcome)
    except _UNREADABLE:
        return None  # a profile that can't be read: the colours are taken as they are


def _in_eight_bits(part: Image.Image) -> Image.Image:
    reduced = part.point(lambda value: value * (1 / 257)).convert("L")
    if (transparent := part.info.get("transparency")) is not None:
        reduced.info["transparency"] = transparent
    return reduced


def _halve_transparency(image: Image.Image) -> None:
    """The colour that a file of sixteen bits declares transparent, as it is after the decoder took eight of them."""
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    elif isinstance(transparent, int):
        image.info["transparency"] = transparent // 257
