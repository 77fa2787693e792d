from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_settings.domain.fields import InvalidFieldError, email, postcode, telephone
from cpro_settings.domain.sheet import InvalidSheetError, Sheet, changes_between, missing_fields, read


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("0123456789", "01 23 45 67 89"),
        ("01.23.45.67.89", "01 23 45 67 89"),
        ("01-23-45-67-89", "01 23 45 67 89"),
        ("+33 1 23 45 67 89", "01 23 45 67 89"),
        ("+33 (0)1 23 45 67 89", "01 23 45 67 89"),
        ("0033 1 23 45 67 89", "01 23 45 67 89"),
        ("0262 48 12 34", "02 62 48 12 34"),
        ("00 687 26.12.34", "+687261234"),
        ("+687 26 12 34", "+687261234"),
        ("+01 23 45 67 89", None),
        ("01 23 45 67", None),
        ("01 23 45 67 89 10", None),
        ("accueil", None),
        ("٠١٢٣٤٥٦٧٨٩", None),
    ],
)
def test_a_telephone_is_taken_as_users_write_it(typed: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(InvalidFieldError):
            telephone(typed)
    else:
        assert telephone(typed) == kept


@pytest.mark.parametrize("typed", ["75012", "97 410", "20000", "98800", "01000"])
def test_a_postcode_has_five_digits_of_a_department_or_territory(typed: str) -> None:
    assert postcode(typed) == typed.replace(" ", "")


@pytest.mark.parametrize("typed", ["7501", "750122", "00100", "99999", "2A004", "75012 Paris", "٧٥٠١٢"])
def test_another_postcode_is_refused(typed: str) -> None:
    with pytest.raises(InvalidFieldError):
        postcode(typed)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ce.0752387m@AC-Paris.fr", "ce.0752387m@ac-paris.fr"),
        ("Secretariat+bac@lycee.education", "Secretariat+bac@lycee.education"),
        ("d'artagnan@ac-lyon.fr", "d'artagnan@ac-lyon.fr"),
        ("accueil@lycée-gagarine.fr", "accueil@lycée-gagarine.fr"),
    ],
)
def test_an_email_address_is_kept_with_its_domain_in_lower_case(typed: str, kept: str) -> None:
    assert email(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "lycee", "@ac-paris.fr", "a@", "a@b", "a b@ac-paris.fr", "a@ac..fr", "a..b@ac-paris.fr", ".a@ac-paris.fr",
        "a.@ac-paris.fr", "a@ac-paris.fr, b@ac-paris.fr", "Lycée <a@ac-paris.fr>", "a@b@ac-paris.fr", "a@ac_paris.fr",
        "a@127.0.0.1", f"{'a' * 65}@ac-paris.fr", f"a@{'a' * 250}.fr", "a\u200b@ac-paris.fr", "mailto:a@ac-paris.fr",
    ],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(typed: str) -> None:
    with pytest.raises(InvalidFieldError):
        email(typed)


def test_spaces_are_tidied_up_and_empty_fields_are_none() -> None:
    sheet = read({"name": "  Lycée \t Jean-Jaurès\n", "city": "   ", "head": ""})

    assert sheet == Sheet(name="Lycée Jean-Jaurès")


def test_all_the_errors_come_at_once_in_french() -> None:
    with pytest.raises(InvalidSheetError) as refused:
        read({"name": "x" * 121, "email": "no", "postcode": "1", "telephone": "2", "city": "Pa\u0000ris"})

    errors = {error.field: error for error in refused.value.errors}
    assert errors.keys() == {"name", "email", "postcode", "telephone", "city"}
    assert errors["name"].message_fr == "Au plus 120 caractères sont acceptés."
    assert errors["city"].code == "invisible_character"


def test_a_sheet_is_ready_once_it_has_a_name_and_an_email_address() -> None:
    for name, address in product((None, "Lycée"), (None, "a@ac-paris.fr")):
        expected = [field for field, value in (("name", name), ("email", address)) if value is None]

        assert list(missing_fields(Sheet(name=name, email=address))) == expected


def test_the_changes_tell_what_each_field_was_and_became() -> None:
    before, after = Sheet(name="A", city="Paris"), Sheet(name="B", city="Paris", head="Mme D.")

    assert changes_between(before, after) == {"name": ("A", "B"), "head": (None, "Mme D.")}
    assert changes_between(after, after) == {}


@given(st.fixed_dictionaries({name: st.text() | st.none() for name in Sheet().values()}))
def test_what_was_accepted_once_is_accepted_again_unchanged(typed: dict[str, str | None]) -> None:
    try:
        accepted = read(typed)
    except InvalidSheetError:
        return

    assert read(accepted.values()) == accepted
