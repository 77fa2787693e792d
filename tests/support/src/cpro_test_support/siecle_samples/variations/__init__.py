"""Every way in which schools' files differ from the plain one, each with what the import must make of it."""

from collections.abc import Iterable

from cpro_test_support.siecle_samples.files import SampleFile
from cpro_test_support.siecle_samples.variations.encodings import ENCODINGS
from cpro_test_support.siecle_samples.variations.expected import End, Expected, Variation, Written, written
from cpro_test_support.siecle_samples.variations.forms import FORMS
from cpro_test_support.siecle_samples.variations.headers import HEADERS
from cpro_test_support.siecle_samples.variations.lines import CLASSES, DATES, NAMES
from cpro_test_support.siecle_samples.variations.numbers import NUMBERS
from cpro_test_support.siecle_samples.variations.packaging import PACKAGING

ALL: tuple[Variation, ...] = (*PACKAGING, *ENCODINGS, *HEADERS, *FORMS, *NUMBERS, *NAMES, *DATES, *CLASSES)
BY_NAME = {variation.name: variation for variation in ALL}
_PUPILS_OF_EACH = 2


def positions(variations: Iterable[Variation]) -> list[tuple[Variation, int]]:
    """The variations, each with a pupil of its own, the next one left free for those that concern two."""
    return [(variation, number * _PUPILS_OF_EACH) for number, variation in enumerate(variations)]


def vary(file: SampleFile, variations: Iterable[Variation]) -> SampleFile:
    """Apply the variations to the file, in their order: where two deform the same, the last one counts."""
    for variation, at in positions(variations):
        variation.apply(file, at)
    return file


__all__ = ["ALL", "BY_NAME", "End", "Expected", "Variation", "Written", "positions", "vary", "written"]
