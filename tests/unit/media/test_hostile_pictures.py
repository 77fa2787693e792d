"""Each hostile picture ends as its row says: refused with one code, or accepted and clean. None costs much.

`make hostile-images` shows the worst of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from PIL import Image

from cpro_media.config import DecoderSettings
from cpro_media.domain.images import MAX_BYTES, STORED_SIDE_PIXELS, THUMBNAIL_SIDE_PIXELS, Picture, Refusal
from cpro_test_support.depth import in_part
from cpro_test_support.hostile_pictures import ACCEPTED, HostilePicture, hostile_pictures
from cpro_test_support.hostile_pictures.hostile_picture import BYTES, SECRET
from cpro_test_support.measured_decoding import Decoding, measured
from cpro_test_support.pictures import a_logo, decoded, encoded

MOST_SECONDS = 2.0
"""Of processor time: other work on the machine stretches the time on the wall, which is only shown."""
MOST_MEGABYTES = 256.0
AT_LEAST = 150
# The service's memory limit; twice its time, so that a slow picture is seen as slow and not as refused.
SETTINGS = DecoderSettings(processor_seconds=4)


@dataclass
class Costs:
    """What was decoded so far; shows its worst."""

    decodings: dict[str, Decoding] = field(default_factory=dict)

    def decode(self, name: str, data: bytes) -> Decoding:
        decoding = measured(data, SETTINGS)
        if decoding.processor_seconds > MOST_SECONDS:  # a busy machine stretches this too, though less
            decoding = measured(data, SETTINGS)
        self.decodings[name] = decoding
        return decoding

    def __str__(self) -> str:
        found = self.decodings
        accepted = sum(decoding.refusal is None for decoding in found.values())
        slowest = max(found, key=lambda name: found[name].processor_seconds)
        waited = max(found, key=lambda name: found[name].seconds)
        largest = max(found, key=lambda name: found[name].megabytes)
        return (
            f"hostile images: count={len(hostile_pictures())} decoded={len(found)} accepted_and_clean={accepted} "
            f"worst_processor_seconds={found[slowest].processor_seconds:.2f} ({slowest}) "
            f"worst_wall_seconds={found[waited].seconds:.2f} ({waited}) "
            f"worst_mb={found[largest].megabytes:.0f} ({largest})"
        )


@pytest.fixture(scope="module")
def costs() -> Iterator[Costs]:
    found = Costs()
    yield found
    print(f"\n{found}")  # noqa: T201 - `make hostile-images` shows it


def is_clean(picture: Picture, longest_side: int) -> None:
    """Nothing but a picture in sRGB, of the size that is said."""
    image = decoded(picture.data)
    assert image.format in {"PNG", "JPEG"}
    assert picture.content_type == f"image/{image.format.lower()}"
    assert image.size == (picture.width, picture.height)
    assert max(image.size) <= longest_side
    assert image.mode in {"RGB", "RGBA"}
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert not image.getexif()
    assert getattr(image, "n_frames", 1) == 1
    assert_only_what_draws(picture.data)
    for trace in (SECRET, b"<script", b"PK\x03\x04evil", b"<?php", b"Exif", b"ICC_PROFILE", b"xmpmeta"):
        assert trace not in picture.data


def assert_only_what_draws(data: bytes) -> None:
    """Read without the code under test: only the chunks or segments that a picture can't do without."""
    if data.startswith(b"\x89PNG"):
        at, names = 8, set()
        while at < len(data):
            names.add(data[at + 4 : at + 8])
            at += 12 + int.from_bytes(data[at : at + 4])
        assert names == {b"IHDR", b"IDAT", b"IEND"}
        return
    at, markers = 2, set()
    while data[at + 1] != 0xDA:
        markers.add(data[at + 1])
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    assert markers == {0xE0, 0xDB, 0xC0, 0xC4}
    assert data[4:20] == b"\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


@pytest.mark.parametrize("picture", in_part(hostile_pictures(), share=9), ids=lambda picture: picture.name)
def test_a_hostile_picture_ends_as_its_row_says_and_costs_little(picture: HostilePicture, costs: Costs) -> None:
    data = picture.make()
    if picture.outcome == BYTES:
        assert len(data) > MAX_BYTES  # never reaches the decoder; the service refuses it in `test_hostile_uploads`
        return
    assert len(data) <= MAX_BYTES

    decoding = costs.decode(picture.name, data)

    assert (decoding.refusal or ACCEPTED) == picture.outcome
    assert not decoding.died, "refused by its death rather than by a rule"
    assert decoding.processor_seconds <= MOST_SECONDS
    assert decoding.megabytes <= MOST_MEGABYTES
    if decoding.rendition is not None:
        is_clean(decoding.rendition.image, STORED_SIDE_PIXELS)
        is_clean(decoding.rendition.thumbnail, THUMBNAIL_SIDE_PIXELS)


def test_the_catalogue_is_large_and_has_every_outcome() -> None:
    assert len(hostile_pictures()) >= AT_LEAST
    outcomes = {picture.outcome for picture in hostile_pictures()}
    assert outcomes == {ACCEPTED, BYTES, *(refusal.value for refusal in Refusal)}


def test_what_is_clean_is_told_from_what_is_not() -> None:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    data = encoded(a_logo(), "JPEG", exif=exif)
    with pytest.raises(AssertionError):
        is_clean(Picture("image/jpeg", data, 320, 200), STORED_SIDE_PIXELS)
