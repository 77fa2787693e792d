"""Two sheets, one person? An INE alone never moves data."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_transfer.domain.identity import Identity, are_one_person, names_agree

BORN = date(2009, 4, 12)


def identity(family: str, first: str, *, usage: str | None = None, born: date = BORN) -> Identity:
    return Identity(born, family, usage, first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BŒUF", "Boeuf"),
        ("D'AUBREVILLE", "DAUBREVILLE"),
        ("DE LA FONTENELLE", "Fontenelle"),
        ("GARREAU-LEMOINE", "GARREAU LEMOINE"),
        ("MARÉCHAUX", "MARECHAUX"),
        ("MARECHAUX", "MARECHAU"),
        ("Marie", "Marie Louise"),
        ("Jean-Loup", "Jean Loup"),
        ("Éloïse", "ELOISE"),
    ],
)
def test_one_name_written_twice(one: str, other: str) -> None:
    assert names_agree(one, other)
    assert names_agree(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("MARTIN", "DURAND"), ("Camille", "Baptiste"), ("Zoé", "Jade"), ("", "MARTIN"), ("???", "MARTIN")],
)
def test_two_names(one: str, other: str) -> None:
    assert not names_agree(one, other)


def test_another_birth_date_is_another_person() -> None:
    assert not are_one_person(identity("MARTIN", "Camille"), identity("MARTIN", "Camille", born=date(2009, 12, 4)))


def test_a_usage_name_counts_like_the_family_name() -> None:
    assert are_one_person(identity("MARTIN", "Camille", usage="DURAND"), identity("DURAND", "Camille"))


def test_a_homonym_of_the_family_with_another_first_name_is_another_person() -> None:
    assert not are_one_person(identity("MARTIN", "Camille"), identity("MARTIN", "Théo"))


names = st.text(st.characters(categories=("Lu", "Ll"), max_codepoint=0x17F), min_size=1, max_size=20)


@given(names, names)
def test_whether_names_agree_does_not_depend_on_who_is_asked_first(one: str, other: str) -> None:
    assert names_agree(one, one)
    if " ".join(sorted([one, other])):
        assert are_one_person(identity(one, "A"), identity(other, "A")) == names_agree(one, other)
