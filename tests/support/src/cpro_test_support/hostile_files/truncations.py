"""Uploads and downloads that stopped: the same random places every time."""

import random
from collections.abc import Iterator

from cpro_test_support.hostile_files.hostile_file import HostileFile, Make, Target, files
from cpro_test_support.siecle_samples import zipped

_EACH = 25
_SEED = 20260915


def _xml_cut(share: float, **options: str) -> Make:
    def make(target: Target) -> bytes:
        content = target.xml(**options).rstrip()
        return content[: max(1, int(len(content) * share))]

    return make


def _zip_cut(share: float) -> Make:
    def make(target: Target) -> bytes:
        content = zipped({"ElevesSansAdresses.xml": target.xml()})
        return content[: max(4, int(len(content) * share))]

    return make


def _zip_with_a_hole(share: float, size: int) -> Make:
    """Some bytes are missing in the middle, as after a resumed download."""

    def make(target: Target) -> bytes:
        content = zipped({"ElevesSansAdresses.xml": target.xml()})
        at = 60 + int((len(content) - 200) * share)
        return content[:at] + content[at + size :]

    return make


def _cut_by_one(target: Target) -> bytes:
    return target.xml().rstrip()[:-1]


def truncations() -> Iterator[HostileFile]:
    """See the module."""
    places = random.Random(_SEED)
    for index in range(_EACH):
        share = places.random()
        yield from files("cut", [(f"xml-{index:02}-at-{share:.4f}", "xml_malformed", _xml_cut(share))])
    for index in range(_EACH):
        share = places.random()
        yield from files(
            "cut", [(f"utf-8-{index:02}-at-{share:.4f}", "xml_malformed", _xml_cut(share, encoding="UTF-8"))]
        )
    for index in range(_EACH):
        share = places.random()
        yield from files("cut", [(f"zip-{index:02}-at-{share:.4f}", "zip_corrupt", _zip_cut(share))])
    for index in range(10):
        share, size = places.random(), places.randrange(1, 50)
        yield from files("hole", [(f"zip-{index:02}-at-{share:.4f}", "zip_corrupt", _zip_with_a_hole(share, size))])
    yield from files("cut", [("xml-before-its-last-byte", "xml_malformed", _cut_by_one)])
