"""The import speaks French, and English to who prefers it; its lists can be followed by their links."""

import csv
import io
from dataclasses import replace
from typing import Any

import httpx
import pytest

from cpro_siecle_import.domain import english, findings, refusals
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils


def roster(count: int) -> list[SamplePupil]:
    return list(generate_pupils(count, 1, school_year=YEAR))


async def _asked(school: School, path: str, language: str, accept: str = "application/json") -> httpx.Response:
    answer = await school.client.get(path, headers={"Accept-Language": language, "Accept": accept})
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == (language, "Accept-Language")
    return answer


async def test_a_refusal_is_told_in_both_languages_wherever_an_import_is_shown(school: School) -> None:
    refused = await school.imports(b"<?xml version='1.0'?>\n<BEE_ELEVES>")
    path = f"/siecle-imports/{refused['id']}"

    french, in_english = [(await _asked(school, path, one)).json()["refusal"] for one in ("fr", "en")]
    listed = (await _asked(school, "/siecle-imports", "en")).json()["items"][0]["refusal"]
    followed = await _asked(school, f"{path}/events", "en", "text/event-stream")

    refusal = refusals.BY_CODE[french["code"]]
    assert french["title"] == refusal.title
    assert (in_english["title"], in_english["detail"]) == english.refusal_in_english(refusal, french["detail"])
    assert in_english["title"] != french["title"]
    assert listed == in_english
    assert in_english["title"] in followed.text


@pytest.mark.parametrize(
    ("language", "severity", "heading"), [("fr", "Avertissement", "Explication"), ("en", "Warning", "Explanation")]
)
async def test_remarks_are_told_in_both_languages_on_the_page_and_in_the_table(
    school: School, language: str, severity: str, heading: str
) -> None:
    first, second = roster(2)
    done = await school.imports(school.file([replace(first, ine=None), second]))
    path = f"/siecle-imports/{done['id']}/rejections"

    page = (await _asked(school, path, language)).json()
    table = await _asked(school, path, language, "text/csv")

    sentence = english.sentence_of(findings.INE_ABSENT, None, language)
    rows = list(csv.DictReader(io.StringIO(table.content.decode("utf-8-sig")), delimiter=";"))
    assert [one["sentence"] for one in page["items"]] == [sentence]
    assert [row[heading] for row in rows] == [sentence]
    assert severity in rows[0].values()


async def test_the_lists_of_an_import_are_followed_by_their_links(school: School) -> None:
    done = await school.imports(school.file(roster(5)))
    again = await school.imports(school.file(roster(6)))

    changes = await _followed(school, f"/siecle-imports/{done['id']}/changes?kind=created&limit=2")
    imports = await _followed(school, "/siecle-imports?limit=1")

    assert len({change["pupil_id"] for change in changes}) == len(changes) == 5
    assert [one["id"] for one in imports] == [again["id"], done["id"]]


async def _followed(school: School, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    address: str | None = path
    while address:
        answer = await school.client.get(address if address == path else f"http://test{address}")
        found += answer.json()["items"]
        address = answer.links.get("next", {}).get("url")
    return found
