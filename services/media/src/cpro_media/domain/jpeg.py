"""The structure of a JPEG (ITU-T T.81, annex B; the application's segments: JFIF, Exif, ICC.1, Adobe)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cpro_media.domain.images import STORED_SIDE_PIXELS, Refusal, RefusedImageError
from cpro_media.domain.structure import Format, Structure, few, must_be_sound, must_end, unpack

SIGNATURE = b"\xff\xd8\xff"
# In the coded data FF is followed by 00 or by a restart marker; anything else is the next segment. Possessive, so that
# no run of FF makes the search go back.
_CODED = re.compile(rb"(?:[^\xff]++|\xff++[\x00\xd0-\xd7])*+")
_NEXT_MARKER = re.compile(rb"\xff++([^\x00\xd0-\xd7])")
_SOI, _EOI, _SOS, _DNL, _COMMENT = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xDE, 0xDF}
"""Lossless, hierarchical, arithmetic: no browser draws them."""
_APPLICATION = range(0xE0, 0xF0)
_ESSENTIAL_APPLICATION = ((0xE0, b"JFIF\0"), (0xE1, b"Exif\0\0"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe"))
_BYTES_A_PIXEL = 4
_BYTES_A_COEFFICIENT = 2
_BLOCK = 8


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the frame header says. `sampling` is the horizontal and vertical factor of each component."""

    is_progressive: bool
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]

    @property
    def samples(self) -> int:
        """Of all components, whole blocks."""
        widest, highest = max(h for h, _ in self.sampling), max(v for _, v in self.sampling)
        across, down = -(-self.width // (_BLOCK * widest)), -(-self.height // (_BLOCK * highest))
        return sum(across * h * down * v for h, v in self.sampling) * _BLOCK * _BLOCK


def reduction(width: int, height: int) -> int:
    """By which whole factor this picture is made smaller before anything else, to stay above the stored size."""
    return max(1, max(width, height) // STORED_SIDE_PIXELS)


def decoded_fraction(width: int, height: int) -> int:
    """The decoder can draw a JPEG at 1, ½, ¼ or ⅛ of its size, for a fraction of the memory: by which it does."""
    factor = reduction(width, height)
    return next(fraction for fraction in (8, 4, 2, 1) if fraction <= factor)


def walk(data: bytes) -> Structure:
    """The structure of what starts with the signature.

    Raises:
        RefusedImageError: it is no sound JPEG of the usual kinds.
    """
    frame: _Frame | None = None
    scans = 0
    essence = [data[:2]]
    end = 2
    for code, start, following in few(_segments(data)):
        if code in _OTHER_FRAMES:
            raise RefusedImageError(Refusal.VARIANT_NOT_ACCEPTED)
        if code in {_BASELINE, _EXTENDED, _PROGRESSIVE}:
            must_be_sound(frame is None)
            frame = _frame(code, data, start + 2)
        must_be_sound(code != _SOS or frame is not None)
        scans += code == _SOS
        if _is_essential(code, data, start + 2):
            essence.append(b"\xff" + data[start - 1 : following])  # without what fills up before the marker
        end = following
    must_end(data, end)
    if frame is None or not scans:
        raise RefusedImageError(Refusal.DAMAGED)
    return _structure(frame, scans, b"".join(essence))


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start (its length) and end of each segment; a scan goes up to the next marker."""
    end, code = 2, _SOI
    while code != _EOI:
        marker = _NEXT_MARKER.match(data, end)
        if marker is None:
            raise RefusedImageError(Refusal.DAMAGED)
        start, code = marker.end(), marker[1][0]
        must_be_sound(code not in {_SOI, _DNL})
        end = start if code == _EOI else _end_of_segment(code, data, start)
        yield code, start, end


def _end_of_segment(code: int, data: bytes, start: int) -> int:
    (length,) = unpack(">H", data, start)
    must_be_sound(length >= 2 and start + length <= len(data))
    if code != _SOS:
        return int(start + length)
    coded = _CODED.match(data, start + length)
    return coded.end() if coded else len(data)


def _is_essential(code: int, data: bytes, body: int) -> bool:
    if code in _APPLICATION:
        return any(code == known and data.startswith(name, body) for known, name in _ESSENTIAL_APPLICATION)
    return code != _COMMENT


def _frame(code: int, data: bytes, body: int) -> _Frame:
    precision, height, width, components = unpack(">BHHB", data, body)
    if precision != 8 or components not in {1, 3, 4}:
        raise RefusedImageError(Refusal.VARIANT_NOT_ACCEPTED)
    factors = [unpack(">B", data, body + 7 + 3 * number)[0] for number in range(components)]
    sampling = tuple((factor >> 4, factor & 15) for factor in factors)
    must_be_sound(all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling))
    return _Frame(code == _PROGRESSIVE, width, height, sampling)


def _structure(frame: _Frame, scans: int, essence: bytes) -> Structure:
    fraction = decoded_fraction(frame.width, frame.height)
    working = frame.width * frame.height * _BYTES_A_PIXEL // fraction**2
    in_passes = frame.is_progressive or scans > 1
    if in_passes:  # then the coefficients of the whole picture are held until the last pass
        working += frame.samples * _BYTES_A_COEFFICIENT
    scanned = frame.samples * scans if in_passes else 0
    return Structure(Format.JPEG, frame.width, frame.height, essence, working, scanned)
