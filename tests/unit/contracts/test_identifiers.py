"""UAI, INE and match keys: examples of the specification, then the rules over everything that has the form."""

from string import ascii_uppercase, digits
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_contracts.identifiers import (
    IneKind,
    MalformedUaiError,
    MatchSecret,
    is_joined,
    match_key_of_authorisation,
    match_key_of_ine,
    match_key_of_pupil,
    parse_ine,
    parse_uai,
    rnie_key,
    uai_key,
)

UAIS = st.integers(0, 9_999_999).map(lambda number: f"{number:07d}{uai_key(number)}")
BEAS = st.integers(0, 9_999_999_999).map(lambda number: f"{number:010d}{uai_key(number)}")
RNIES = st.integers(0, 999_999_999).map(lambda number: f"{number:09d}{rnie_key(f'{number:09d}')}")
SECRET = MatchSecret(1, b"one secret")
A_PUPIL = UUID("7d1f9b1e-6a0e-4a53-9a37-6c6c41a5b3c7")


@pytest.mark.parametrize("uai", ["0752387M", "0750680G", "0660864F", "0931434D", "0140070A"])
def test_the_uai_of_real_establishments_are_taken(uai: str) -> None:
    assert parse_uai(uai) == uai


@pytest.mark.parametrize(
    "text", ["", "0752387", "0752387N", "752387M", "07523870M", "O752387M", "0752387É", "٠752387M"]
)
def test_what_is_no_uai_is_refused(text: str) -> None:
    with pytest.raises(MalformedUaiError):
        parse_uai(text)


@pytest.mark.parametrize(
    ("ine", "kind"),
    [
        ("1234567890V", IneKind.BEA),
        ("0000000001B", IneKind.BEA),
        ("123456789FJ", IneKind.RNIE),
        ("000000001KG", IneKind.RNIE),
        ("999999999GE", IneKind.RNIE),
        ("2021A00042Z", IneKind.APPRENTICE),
    ],
)
def test_the_examples_of_each_family_are_read_with_a_key_that_holds(ine: str, kind: IneKind) -> None:
    read = parse_ine(ine)

    assert read is not None
    assert (read.value, read.kind, read.key_holds) == (ine, kind, True)


@pytest.mark.parametrize(
    "text", [None, "", "   ", "123456789", "123456789F", "1234567890", "ABCDEFGHIJK", "123 456789FJ"]
)
def test_what_has_the_form_of_no_family_is_no_ine(text: str | None) -> None:
    assert parse_ine(text) is None


@given(st.text(digits + ascii_uppercase, min_size=10, max_size=10))
def test_a_university_number_has_the_base_36_value_modulo_10_as_its_key(body: str) -> None:
    key = int(body, 36) % 10

    right, wrong = parse_ine(f"{body}{key}"), parse_ine(f"{body}{(key + 3) % 10}")

    assert right is not None
    assert wrong is not None
    assert (right.kind, right.key_holds, wrong.key_holds) == (IneKind.UNIVERSITY, True, False)


@given(UAIS, st.data())
def test_one_wrong_character_makes_a_uai_no_uai(uai: str, data: st.DataObject) -> None:
    with pytest.raises(MalformedUaiError):
        parse_uai(data.draw(one_character_away(uai)))


@given(st.one_of(BEAS, RNIES), st.data())
def test_one_wrong_character_makes_the_key_of_an_ine_wrong(ine: str, data: st.DataObject) -> None:
    correct, mistyped = parse_ine(ine), parse_ine(data.draw(one_character_away(ine)))

    assert correct is not None
    assert correct.key_holds
    assert mistyped is None or mistyped.kind is not correct.kind or not mistyped.key_holds


@given(UAIS | BEAS | RNIES, st.sampled_from(["", " ", "\t", "\n "]), st.booleans())
def test_reading_drops_spaces_raises_letters_and_changes_nothing_the_second_time(
    text: str, around: str, in_lower_case: bool
) -> None:
    written = around + (text.lower() if in_lower_case else text) + around

    if len(text) == 8:
        assert parse_uai(written) == parse_uai(parse_uai(written)) == text
    else:
        read = parse_ine(written)
        assert read is not None
        assert read.value == text
        assert parse_ine(read.value) == read


@given(st.text(max_size=14))
def test_whatever_is_written_reading_it_twice_says_the_same(text: str) -> None:
    read = parse_ine(text)

    assert read is None or parse_ine(read.value) == read


@given(BEAS | RNIES, st.integers(1, 99), st.binary(min_size=16, max_size=64))
def test_a_match_key_is_the_same_everywhere_and_never_shows_the_ine(ine: str, version: int, key: bytes) -> None:
    match_key = match_key_of_ine(ine, MatchSecret(version, key))

    assert match_key == match_key_of_ine(ine, MatchSecret(version, key))
    assert match_key.startswith(f"ine:{version}:")
    assert ine not in match_key.upper()
    assert is_joined(match_key)


@given(BEAS | RNIES, BEAS | RNIES)
def test_another_ine_another_secret_or_another_version_gives_another_match_key(ine: str, other: str) -> None:
    here = match_key_of_ine(ine, SECRET)

    assert (match_key_of_ine(other, SECRET) == here) == (other == ine)
    assert match_key_of_ine(ine, MatchSecret(1, b"another secret")) != here
    assert match_key_of_ine(ine, MatchSecret(2, SECRET.key)) != here


def test_the_match_key_of_a_version_never_changes() -> None:
    """Topics hold keys for months: another way to compute them would part each pupil's past from the present."""
    assert match_key_of_ine("123456789FJ", SECRET) == (
        "ine:1:765c7c29eea743bc724a6b4b3488fd2fbc41f250e60d09299af99a48fb3160d8"
    )


def test_a_pupil_without_a_trusted_ine_is_never_joined_and_an_authorisation_is() -> None:
    elsewhere = match_key_of_pupil("0750680G", A_PUPIL)

    assert match_key_of_pupil("0752387M", A_PUPIL) == f"pupil:0752387M:{A_PUPIL}"
    assert elsewhere != match_key_of_pupil("0752387M", A_PUPIL)
    assert not is_joined(elsewhere)
    assert is_joined(match_key_of_authorisation(uuid4()))


def one_character_away(text: str) -> st.SearchStrategy[str]:
    """The same with one character replaced by another that could stand there."""

    def replaced(place: int, by: str) -> str:
        return text[:place] + by + text[place + 1 :]

    return st.tuples(st.integers(0, len(text) - 1), st.sampled_from(digits + ascii_uppercase)).filter(
        lambda change: text[change[0]] != change[1]
    ).map(lambda change: replaced(*change))  # fmt: skip
