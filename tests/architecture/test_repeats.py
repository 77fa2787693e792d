"""No POST is forgotten: each says what makes a repetition safe, and those that need a key take one."""

import re
from pathlib import Path
from typing import Any

from cpro_test_support import reference

PAGE = Path(__file__).parents[2] / "docs/explanation/repeats.md"
_ROW = re.compile(r"^\| `(/v1/\S+)` \| (key|own ids) \| .+ \|$", re.MULTILINE)
# Reading the documents needs no server: nothing connects before the start.
POSTS: dict[str, dict[str, Any]] = {
    path: operations["post"]
    for app in reference.services().values()
    for path, operations in app.openapi()["paths"].items()
    if "post" in operations
}
SAFE_BY = dict(_ROW.findall(PAGE.read_text()))


def takes_a_key(operation: dict[str, Any]) -> bool:
    return any(
        parameter["in"] == "header" and parameter["name"] == "Idempotency-Key"
        for parameter in operation.get("parameters", [])
    )


def test_the_page_says_of_each_post_what_makes_a_repetition_safe() -> None:
    assert POSTS
    assert set(SAFE_BY) == set(POSTS)


def test_those_that_need_a_key_take_one_and_no_others_do() -> None:
    assert {path for path, operation in POSTS.items() if takes_a_key(operation)} == {
        path for path, by in SAFE_BY.items() if by == "key"
    }


def test_those_that_take_a_key_say_what_they_answer_because_of_it() -> None:
    for path, by in SAFE_BY.items():
        if by == "key":
            told = str(POSTS[path]["responses"]["422"]) + str(POSTS[path]["responses"]["409"])
            assert "idempotency_key_reused" in told
            assert "idempotency_key_in_use" in told
