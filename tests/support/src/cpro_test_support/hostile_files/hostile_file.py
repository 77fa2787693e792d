"""What a hostile file is, and the good export that most of them are made from."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cpro_test_support.siecle_samples import SamplePupil, generate_pupils, siecle_xml
from cpro_test_support.siecle_samples.files import EXPORTED_AT

XML_NAME = b"ElevesSansAdresses.xml"
CHUNK_BYTES = 64 * 1024
"""What the reader takes at a time: what lies across this border is read in two pieces."""
_PUPILS = 40


@dataclass(frozen=True, slots=True)
class Target:
    """The school that the files are uploaded to, and the export that it could have made."""

    uai: str = "0752387M"
    exported_at: datetime = EXPORTED_AT
    school_year: int = 2026

    @property
    def pupils(self) -> list[SamplePupil]:
        """Its pupils, the same in every file."""
        return list(_pupils(self.school_year))

    def xml(self, **options: Any) -> bytes:
        """A good export, with every switch of the generator."""
        settings: dict[str, Any] = {"exported_at": self.exported_at, "school_year": self.school_year, **options}
        return siecle_xml(settings.pop("uai", self.uai), settings.pop("pupils", self.pupils), **settings)


@lru_cache
def _pupils(school_year: int) -> tuple[SamplePupil, ...]:
    return tuple(generate_pupils(_PUPILS, 1, school_year=school_year))


Make = Callable[[Target], bytes]
Row = tuple[str, str, Make]
"""A name, the expected codes parted by `|`, and the function that makes the file."""


@dataclass(frozen=True, slots=True)
class HostileFile:
    """A file that no school may import.

    More than one code is expected only where the library that finds the fault may call it by either name.
    """

    name: str
    codes: frozenset[str]
    make: Make


def files(family: str, rows: Iterable[Row]) -> Iterator[HostileFile]:
    """The files of one family."""
    for name, codes, make in rows:
        yield HostileFile(f"{family}/{name}", frozenset(codes.split("|")), make)


def after(content: bytes, mark: bytes, added: bytes) -> bytes:
    """The content with something put behind the first `mark`."""
    at = content.index(mark) + len(mark)
    return content[:at] + added + content[at:]


def swapped(content: bytes, old: bytes, new: bytes) -> bytes:
    """The content with the first `old` replaced, which must be there."""
    assert old in content
    return content.replace(old, new, 1)


def in_content(added: bytes) -> Make:
    """A good export with something more at the start of its content."""
    return lambda target: after(target.xml(), b"<DONNEES>", added)


def in_pupils(added: bytes) -> Make:
    """A good export with something more before its first pupil."""
    return lambda target: after(target.xml(), b"<ELEVES>", added)


def in_name(added: bytes, **options: Any) -> Make:
    """A good export with something more in the first pupil's family name."""
    return lambda target: after(target.xml(**options), b"<NOM_DE_FAMILLE>", added)


def literally(content: bytes) -> Make:
    """The same bytes for every school."""
    return lambda _: content


def noise(size: int, seed: int) -> bytes:
    """Bytes that nothing can compress or read."""
    return random.Random(seed).randbytes(size)
