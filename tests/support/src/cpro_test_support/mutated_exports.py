"""Good exports, damaged at random: bytes, tags, blocks, declarations, archives. All chance comes from one generator."""

import zipfile
from collections.abc import Callable
from functools import lru_cache
from random import Random

from cpro_test_support.hostile_files import Target
from cpro_test_support.siecle_samples import generate_pupils, siecle_xml, zipped
from cpro_test_support.siecle_samples.files import XML_NAME

LARGEST_BYTES = 2_000_000
"""Mutations that repeat stop here: size alone is for the hostile files."""
SCHOOL = Target()
_MOST_MUTATIONS = 6
_TOKENS = (
    b"<", b">", b"/>", b"</", b"&", b";", b'"', b"'", b"=", b"\x00", b"\xff", b"\x80", b"\xed\xa0\x80", b"\xc3", b"\r", b"\t",
    b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?xml ", b"?>", b"<!DOCTYPE x>", b"<!ENTITY x 'y'>", b"&#0;", b"&#x1F600;",
    b"&#xD800;", b"&amp;", b"&lt;", b"&x;", b"&#10;", b"&#9;", b"&#13;", b"&#127;", b"&#133;", b"&#8232;", b"&#xFEFF;",
    b"<BEE_ELEVES>", b"</BEE_ELEVES>", b"<PARAMETRES/>", b"<DONNEES>", b"</DONNEES>", b"<ELEVES>", b"</ELEVES>",
    b"<ELEVE/>", b"<ELEVE ELEVE_ID='1'>", b"</ELEVE>", b"<STRUCTURES/>", b"<STRUCTURES_ELEVE/>", b"<NOM>A</NOM>",
    b"<DATE_SORTIE>31/12/9999</DATE_SORTIE>", b"<DATE_NAISS>29/02/2009</DATE_NAISS>", b"<INE_RNIE>\\N</INE_RNIE>",
    b"\\N", b"\\.", b"\\", b"\\t", b"{", b"}", b",", b" xmlns='u'", b" xmlns:p='u'", b"p:", b" ELEVE_ID='7'",
    b"encoding='UTF-8'", b"encoding='UTF-16'", b"ISO-8859-1", b"99999999999999999999", b"-1", b"x" * 101, b"1" * 19,
    "é".encode(), "é".encode("iso8859-15"), "e\u0301".encode(), "\u202e".encode(), "😀".encode(), b"\xef\xbb\xbf",
)  # fmt: skip


def mutated_export(random: Random) -> bytes:
    """A good export, plain or zipped, with a few mutations; now and then with none."""
    content = random.choice(_bases())
    for _ in range(random.randrange(_MOST_MUTATIONS + 1)):
        content = random.choice(_MUTATIONS)(random, content)
    if random.random() < 0.7:
        return content
    archive = zipped({XML_NAME: content}, compression=random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    for _ in range(random.randrange(_MOST_MUTATIONS + 1)):
        archive = random.choice(_OF_BYTES)(random, archive)
    return archive


@lru_cache
def _bases() -> tuple[bytes, ...]:
    few, many = SCHOOL.pupils[:4], list(generate_pupils(120, 2, with_bea_ratio=0.3, without_ine_ratio=0.1))
    left = [pupil.leaves(SCHOOL.exported_at.date()) for pupil in few]
    return (
        siecle_xml(SCHOOL.uai, few),
        siecle_xml(SCHOOL.uai, left, encoding="UTF-8", byte_order_mark=True, blocks=("STRUCTURES", "ADRESSES", "ELEVES")),
        siecle_xml(SCHOOL.uai, few, encoding="UTF-8", declared_encoding=None, legacy_names=True),
        siecle_xml(SCHOOL.uai, many),
        siecle_xml(SCHOOL.uai, many, encoding="UTF-8", blocks=("ADRESSES", "STRUCTURES", "OPTIONS", "ELEVES")),
    )  # fmt: skip


def _place(random: Random, content: bytes) -> int:
    return random.randrange(len(content) + 1)


def _stretch(random: Random, content: bytes) -> tuple[int, int]:
    """A start and an end: mostly near each other, now and then anywhere."""
    start = _place(random, content)
    if random.random() < 0.8:
        return start, min(len(content), start + random.randrange(1, 200))
    return (start, end) if start <= (end := _place(random, content)) else (end, start)


def _flip(random: Random, content: bytes) -> bytes:
    if not content:
        return content
    at = random.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def _overwrite(random: Random, content: bytes) -> bytes:
    at = _place(random, content)
    added = random.randbytes(random.randrange(1, 9))
    return content[:at] + added + content[at + len(added) :]


def _delete(random: Random, content: bytes) -> bytes:
    start, end = _stretch(random, content)
    return content[:start] + content[end:]


def _repeat(random: Random, content: bytes) -> bytes:
    start, end = _stretch(random, content)
    times = random.choice((2, 2, 3, 50, 2_000))
    room = max(1, (LARGEST_BYTES - len(content)) // max(1, end - start))
    return content[:end] + content[start:end] * min(times, room) + content[end:]


def _move(random: Random, content: bytes) -> bytes:
    start, end = _stretch(random, content)
    rest = content[:start] + content[end:]
    at = _place(random, rest)
    return rest[:at] + content[start:end] + rest[at:]


def _truncate(random: Random, content: bytes) -> bytes:
    return content[: _place(random, content)]


def _insert_token(random: Random, content: bytes) -> bytes:
    at = _place(random, content)
    return content[:at] + random.choice(_TOKENS) + content[at:]


def _insert_in_text(random: Random, content: bytes) -> bytes:
    """A token where a tag's text begins, so that most of the file stays well-formed."""
    at = content.find(b">", _place(random, content)) + 1
    return content[:at] + random.choice(_TOKENS) + content[at:]


def _blank_text(random: Random, content: bytes) -> bytes:
    start = content.find(b">", _place(random, content)) + 1
    end = content.find(b"<", start)
    return content[:start] + random.choice((b"", b" ", b"\n\t", *_TOKENS)) + content[max(start, end) :]


def _rename_tag(random: Random, content: bytes) -> bytes:
    """Another known name for a tag, everywhere or once."""
    names = (
        b"BEE_ELEVES", b"PARAMETRES", b"DONNEES", b"ELEVES", b"ELEVE", b"STRUCTURES", b"STRUCTURES_ELEVE", b"STRUCTURE",
        b"UAJ", b"HORODATAGE", b"DATE_EXPORT", b"NOM_DE_FAMILLE", b"PRENOM", b"DATE_NAISS", b"CODE_STRUCTURE", b"INE_BEA",
        b"ID_NATIONAL", b"DATE_SORTIE", b"X",
    )  # fmt: skip
    old, new = random.choice(names), random.choice(names)
    times = -1 if random.random() < 0.7 else random.randrange(1, 4)
    return content.replace(b"<" + old + b">", b"<" + new + b">", times).replace(
        b"</" + old + b">", b"</" + new + b">", times
    )


def _splice(random: Random, content: bytes) -> bytes:
    """Half of this file and half of another."""
    other = random.choice(_bases())
    return content[: _place(random, content)] + other[_place(random, other) :]


def _transcode(random: Random, content: bytes) -> bytes:
    """The bytes in another encoding, the header as it was."""
    text = content.decode(random.choice(("utf-8", "iso8859-15")), "replace")
    return text.encode(random.choice(("utf-8", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "cp500")), "replace")


_OF_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _overwrite, _delete, _repeat, _move, _truncate)
_MUTATIONS = (
    *_OF_BYTES, _insert_token, _insert_in_text, _insert_in_text, _insert_in_text, _blank_text, _blank_text, _blank_text,
    _rename_tag, _rename_tag, _splice, _transcode,
)  # fmt: skip
