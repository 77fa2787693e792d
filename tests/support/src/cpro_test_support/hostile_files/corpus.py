"""All hostile files."""

from functools import lru_cache

from cpro_test_support.hostile_files.archives import archives
from cpro_test_support.hostile_files.broken_markup import broken_markup
from cpro_test_support.hostile_files.declarations import declarations
from cpro_test_support.hostile_files.encodings import encodings
from cpro_test_support.hostile_files.hostile_file import HostileFile
from cpro_test_support.hostile_files.other_kinds import other_kinds
from cpro_test_support.hostile_files.parameters import parameters
from cpro_test_support.hostile_files.sizes import sizes
from cpro_test_support.hostile_files.truncations import truncations
from cpro_test_support.hostile_files.zip_bombs import zip_bombs

_FAMILIES = (
    truncations, declarations, broken_markup, encodings, sizes, archives, zip_bombs, other_kinds, parameters,
)  # fmt: skip


@lru_cache
def hostile_files() -> tuple[HostileFile, ...]:
    """Every one of them, always in the same order, each under a name of its own."""
    found = tuple(file for family in _FAMILIES for file in family())
    assert len({file.name for file in found}) == len(found)
    return found
