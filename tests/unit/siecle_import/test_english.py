"""The import's words in English: one for every code, with what was found."""

import re

import pytest

from cpro_siecle_import.domain import english, findings, guard, refusals
from cpro_siecle_import.domain.refusals import FileRefusedError, Refusal

FOUND = {
    "kind": "une image", "count": 3, "limit_mb": 200, "line": 42, "declared": "UTF-16", "announced": "annonce UTF-8",
    "actual": "en ISO-8859-15", "problem": "Le fichier ne dit rien", "expected": "0752387M", "found": "0750680G",
    "last": "15/09/2026 à 18:30:00", "received": "16/09/2026", "days": 30,
    "import_id": "2f0b6c1e-6f0a-4b0e-9d51-0a2f7c8e4d11",
}  # fmt: skip


def _names(template: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", template))


def test_every_code_has_its_words_in_english() -> None:
    assert english.REFUSALS.keys() == refusals.BY_CODE.keys()
    assert english.FINDINGS.keys() == findings.BY_CODE.keys()
    assert english.STOPS.sentences.keys() == set(guard.StopReason)


@pytest.mark.parametrize("refusal", refusals.ALL, ids=lambda refusal: refusal.code)
def test_a_refusal_in_english_says_what_the_french_one_found(refusal: Refusal) -> None:
    french = FileRefusedError(refusal, **FOUND).detail

    title, detail = english.refusal_in_english(refusal, french)

    template = english.REFUSALS[refusal.code][1]
    assert title == english.REFUSALS[refusal.code][0]
    assert detail == template.format(**{name: str(value).replace(" à ", " at ") for name, value in FOUND.items()})
    assert _names(template) <= _names(refusal.detail)


def test_of_a_refusal_worded_otherwise_the_english_title_remains() -> None:
    assert english.refusal_in_english(refusals.XML_MALFORMED, "Ligne 42 illisible.") == (
        "XML incomplete or malformed",
        "XML incomplete or malformed.",
    )


@pytest.mark.parametrize("finding", findings.ALL, ids=lambda finding: finding.code)
def test_a_remark_in_english_repeats_the_value_that_the_french_one_repeats(finding: findings.Finding) -> None:
    said = english.sentence_of(finding, "X-1", "en")

    assert ("X-1" in said) == ("X-1" in finding.sentence_for("X-1"))
    assert "{" not in said
    assert english.sentence_of(finding, "X-1", "fr") == finding.sentence_for("X-1")


@pytest.mark.parametrize("reason", list(guard.StopReason))
@pytest.mark.parametrize("found_year", [2025, None])
def test_a_stop_in_english_has_the_figures_of_the_french_one(reason: guard.StopReason, found_year: int | None) -> None:
    said = [
        guard.sentence_for(reason, deactivated=380, present=41, found_year=found_year, current_year=2026, words=words)
        for words in (guard.FRENCH, english.STOPS)
    ]

    assert said[0] != said[1]
    assert re.findall(r"\d+", said[0]) == re.findall(r"\d+", said[1])
