"""All hostile pictures."""

from functools import lru_cache

from cpro_test_support.hostile_pictures.animations import animations
from cpro_test_support.hostile_pictures.bombs import bombs
from cpro_test_support.hostile_pictures.colours import colours
from cpro_test_support.hostile_pictures.damage import damage
from cpro_test_support.hostile_pictures.hostile_picture import HostilePicture
from cpro_test_support.hostile_pictures.metadata import metadata
from cpro_test_support.hostile_pictures.other_types import other_types
from cpro_test_support.hostile_pictures.truncations import truncations

_FAMILIES = (truncations, bombs, other_types, animations, colours, metadata, damage)


@lru_cache
def hostile_pictures() -> tuple[HostilePicture, ...]:
    """Every one of them, always in the same order, each under a name of its own."""
    found = tuple(picture for family in _FAMILIES for picture in family())
    assert len({picture.name for picture in found}) == len(found)
    return found
