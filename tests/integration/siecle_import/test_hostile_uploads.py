"""Hostile files through the whole service: refused in French, nothing of the school touched, the worker goes on."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from cpro_siecle_import.domain import refusals
from cpro_test_support.depth import slow
from cpro_test_support.hostile_files import HostileFile, Target, hostile_files
from cpro_test_support.import_world import YEAR, School

AT_ONCE = 6
OF_EACH_FAMILY, OF_EACH_CODE = 1, 2
# Each of these once did more than be refused: waited for ever, could not be failed, or overflowed a column.
NOTORIOUS = {
    "encoding/declared-nul",
    "encoding/declared-control-characters",
    "lying-zip/offset-of-63-bits",
    "lying-zip/offset-of-64-bits",
    "lying-zip/directory-offset-beyond",
    "lying-zip/file-size-of-63-bits",
    "lying-zip/file-size-of-64-bits",
    "lying-zip/packed-size-of-64-bits",
    "hole/zip-00-at-0.2396",
    "parameter/uai-endless",
    "bomb/pupils",
}
WHAT_TO_DO = ("Refaites", "Déposez", "déposez", "Vérifiez")
NOT_OF_THE_FILE = {
    "confirmation_expired",
    "export_outdated",
    "establishment_unknown",
    "file_missing",
    "processing_error",
}


def representatives(school: School) -> list[tuple[HostileFile, bytes]]:
    """The notorious ones, some of each family and some for each code, as files of this school."""
    target = Target(school.uai, school.exported_at, YEAR)
    found: list[tuple[HostileFile, bytes]] = []
    families: dict[str, int] = {}
    codes: dict[frozenset[str], int] = {}
    for file in hostile_files():
        family = file.name.split("/")[0]
        wanted = families.get(family, 0) < OF_EACH_FAMILY or codes.get(file.codes, 0) < OF_EACH_CODE
        if not (wanted or file.name in NOTORIOUS):
            continue
        content = file.make(target)
        # An empty body, and one that is too long, are refused at the door.
        if 0 < len(content) <= school.config.max_upload_bytes:
            families[family], codes[file.codes] = families.get(family, 0) + 1, codes.get(file.codes, 0) + 1
            found.append((file, content))
    return found


async def everything_in(school: School) -> dict[str, list[dict[str, Any]]]:
    """Every row of the school's database as it lies there: also one that was only written again would show."""
    tables = await school.rows("SELECT relid::regclass::text AS name FROM pg_stat_user_tables ORDER BY 1")
    return {
        table["name"]: await school.rows(f"SELECT xmin, ctid, t::text AS row FROM {table['name']} t ORDER BY ctid")
        for table in tables
    }


@slow
async def test_hostile_files_fail_with_their_code_and_leave_the_school_as_it_was(school: School) -> None:
    pupils = Target(school_year=YEAR).pupils
    await school.imports(pupils)
    hostile, before = representatives(school), await everything_in(school)
    turns = asyncio.Semaphore(AT_ONCE)

    async def ending(content: bytes) -> dict[str, Any]:
        async with turns:
            return await school.imports(content)

    ends = await asyncio.gather(*(ending(content) for _, content in hostile))

    refused = {file.name: (end["refusal"] or {}).get("code") for (file, _), end in zip(hostile, ends, strict=True)}
    assert {end["state"] for end in ends} == {"failed"}
    assert {name: code for name, code in refused.items() if code not in codes_of(name)} == {}
    assert set(refused.values()) == set(refusals.BY_CODE) - NOT_OF_THE_FILE
    assert refused.keys() >= NOTORIOUS
    assert all(any(word in sentence for word in WHAT_TO_DO) for sentence in said(ends))
    assert all(sentence.isprintable() for sentence in said(ends))
    assert await everything_in(school) == before

    school.exported_at += timedelta(hours=1)
    done = await school.imports([replace(pupils[0], division="T NEUVE"), *pupils[1:]])

    assert (done["state"], done["counts"]["updated"], done["counts"]["unchanged"]) == ("completed", 1, len(pupils) - 1)


def codes_of(name: str) -> frozenset[str]:
    (file,) = (file for file in hostile_files() if file.name == name)
    return file.codes


def said(ends: list[dict[str, Any]]) -> list[str]:
    return [end["refusal"]["detail"] for end in ends]
