"""Which language is answered in, and that the answer says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_platform.http import language_of


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "fr"),
        ("fr", "fr"),
        ("en", "en"),
        ("EN-gb", "en"),
        ("fr-CA, en;q=0.8", "fr"),
        ("fr;q=0.4, en;q=0.8", "en"),
        ("en;q=0.8, fr;q=0.8", "en"),  # liked as much: the first
        ("fr;q=0.8, en;q=0.8", "fr"),
        ("de", "fr"),
        ("de, en;q=0.1", "en"),
        ("*", "fr"),
        ("de, *;q=0.5", "fr"),
        ("fr;q=0, *", "en"),  # anything but French
        ("en;q=0", "fr"),
        ("fr;q=0", "fr"),  # nothing that we have is wanted: nobody is refused for a language
        ("en;q=0, fr;q=0", "fr"),
        ("en;q=1.5, fr", "fr"),  # no weight: passed over
        ("en;q=nan", "fr"),
        ("en;q=inf", "fr"),
        ("en;level=1", "fr"),
        ("en ; q = 0.9", "en"),
        ("english", "fr"),  # another tag that begins alike
        ("frr, en", "en"),
        (",;,en", "en"),
    ],
)
def test_the_language_is_english_only_where_it_is_preferred_to_french(header: str, language: str) -> None:
    assert language_of({"accept-language": header}) == language


def test_without_the_header_the_language_is_french() -> None:
    assert language_of({}) == "fr"


@given(st.text(alphabet="frende-*;q=01. ,é\x00", max_size=60))
def test_any_header_has_a_language(header: str) -> None:
    assert language_of({"accept-language": header}) in {"fr", "en"}
