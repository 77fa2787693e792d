"""What an opt-in does is told in both languages, with the same figures."""

import re
from datetime import UTC, datetime

import pytest

from cpro_settings.domain.effect import Effect, Figures, Side, Unavailable

_FIGURES = Figures(
    datetime(2026, 9, 1, tzinfo=UTC),
    7,
    outgoing=Side(starts=12, under_way=3, stops=5, done=40, others={}),
    incoming=Side(starts=1, under_way=2, stops=4, done=None, others={}),
)


@pytest.mark.parametrize(
    ("enabled", "in_force", "summary"),
    [
        (True, False, "Pupils waiting for this opt-in: 13."),
        (True, True, "Transfers completed: 40; under way: 5."),
        (False, False, "Planned transfers cancelled: 9; transfers already begun: 5."),
    ],
)
def test_the_english_summary_has_the_figures_of_the_french_one(enabled: bool, in_force: bool, summary: str) -> None:
    effect = Effect(enabled, in_force, _FIGURES)

    assert effect.summary("en") == summary
    assert re.findall(r"\d+", effect.summary("fr")) == re.findall(r"\d+", summary)


@pytest.mark.parametrize("why", list(Unavailable))
@pytest.mark.parametrize("enabled", [True, False])
def test_without_figures_both_languages_say_why_and_what_the_choice_brings(why: Unavailable, enabled: bool) -> None:
    effect = Effect(enabled, False, why)

    assert effect.summary("en") != effect.summary("fr")
    assert len(effect.sentences("en")) == len(effect.sentences("fr"))
    assert not set(effect.sentences("en")) & set(effect.sentences("fr"))
