"""The fields of the sheet: taken as users write them, kept in one form, or refused in words."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpro_settings.domain.contact_fields import email, telephone, website
from cpro_settings.domain.fields import FieldError, InvalidFieldError, postcode, tidy
from cpro_settings.domain.sheet import FIELD_RULES, InvalidSheetError, Sheet, read

Rule = Callable[[str], str]


def refusal(rule: Rule, typed: str) -> InvalidFieldError:
    with pytest.raises(InvalidFieldError) as refused:
        rule(typed)
    return refused.value


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("0123456789", "01 23 45 67 89"),
        ("01.23.45.67.89", "01 23 45 67 89"),
        ("01-23-45-67-89", "01 23 45 67 89"),
        ("01\u201123\u201145\u201167\u201189", "01 23 45 67 89"),
        ("(01) 23 45 67 89", "01 23 45 67 89"),
        ("+33 1 23 45 67 89", "01 23 45 67 89"),
        ("+33 01 23 45 67 89", "01 23 45 67 89"),
        ("+33 (0)1 23 45 67 89", "01 23 45 67 89"),
        ("0033 1 23 45 67 89", "01 23 45 67 89"),
        ("0262 48 12 34", "02 62 48 12 34"),
        ("0262 48 12 34 56", None),
        ("0262 48 12 3", None),
        ("0262 481 234", "02 62 48 12 34"),
        ("+262 262 48 12 34", "02 62 48 12 34"),
        ("+590 590 12 34 56", "05 90 12 34 56"),
        ("00 594 594 12 34 56", "05 94 12 34 56"),
        ("+596 (0)596 12 34 56", "05 96 12 34 56"),
        ("+262 48 12 34", None),
        ("+33 1 23 45 67", None),
        ("00 687 26.12.34", "+687261234"),
        ("+687 26 12 34", "+687261234"),
        ("+687 26 12 34 5", None),
        ("+689 40 12 34 56", "+68940123456"),
        ("+508 41 12 34", "+508411234"),
        ("+377 93 12 34 56", "+37793123456"),
        ("+44 (0)20 7946 0000", "+442079460000"),
        ("+01 23 45 67 89", None),
        ("01 23 45 67", None),
        ("01 23 45 67 89 10", None),
        ("accueil", None),
        ("٠١٢٣٤٥٦٧٨٩", None),
    ],
)
def test_a_telephone_is_taken_as_users_write_it(typed: str, kept: str | None) -> None:
    if kept is None:
        refusal(telephone, typed)
    else:
        assert telephone(typed) == kept


@pytest.mark.parametrize("typed", ["26 12 34", "40 12 34 56"])
def test_a_number_of_a_territory_without_its_prefix_is_told_which_are_there(typed: str) -> None:
    refused = refusal(telephone, typed)

    assert refused.code == "telephone_without_prefix"
    assert "+687 en Nouvelle-Calédonie" in refused.message_fr


@pytest.mark.parametrize(
    "typed",
    [
        "75012",
        "97 410",
        "20000",
        "20600",
        "98800",
        "98714",
        "98600",
        "98000",
        "97133",
        "97150",
        "97600",
        "01000",
        "95880",
    ],
)
def test_a_postcode_has_five_digits_of_a_department_a_territory_or_monaco(typed: str) -> None:
    assert postcode(typed) == typed.replace(" ", "")


@pytest.mark.parametrize(
    "typed", ["7501", "750122", "00100", "96000", "97900", "98100", "99999", "2A004", "75012 Paris", "٧٥٠١٢"]
)
def test_another_postcode_is_refused(typed: str) -> None:
    assert refusal(postcode, typed).code == "not_a_postcode"


def test_who_types_the_department_of_corsica_is_told_how_postcodes_begin_there() -> None:
    assert "commence par 20" in refusal(postcode, "2a000").message_fr


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ce.0752387m@AC-Paris.fr", "ce.0752387m@ac-paris.fr"),
        ("Secretariat+bac@lycee.education", "Secretariat+bac@lycee.education"),
        ("d'artagnan@ac-lyon.fr", "d'artagnan@ac-lyon.fr"),
        ("accueil@Lycée-Gagarine.fr", "accueil@lycée-gagarine.fr"),
        ("accueil@xn--lyce-gagarine-dhb.fr", "accueil@lycée-gagarine.fr"),
    ],
)
def test_an_email_address_is_kept_with_its_domain_in_lower_case_letters(typed: str, kept: str) -> None:
    assert email(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "lycee", "@ac-paris.fr", "a@", "a@b", "a b@ac-paris.fr", "a@ac..fr", "a..b@ac-paris.fr", ".a@ac-paris.fr",
        "a.@ac-paris.fr", "a@ac-paris.fr, b@ac-paris.fr", "Lycée <a@ac-paris.fr>", "a@b@ac-paris.fr", "a@ac_paris.fr",
        "a@127.0.0.1", f"{'a' * 65}@ac-paris.fr", f"a@{'a' * 250}.fr", "a\u200b@ac-paris.fr", "mailto:a@ac-paris.fr",
        "a@ac-paris.fr.", "a@-ac.fr", "a@ac.f", "a@xn--.fr",
    ],
)  # fmt: skip
def test_what_is_no_email_address_is_refused(typed: str) -> None:
    assert refusal(email, typed).code == "not_an_email"


@pytest.mark.parametrize("typed", ["lycée@ac-paris.fr", "élève.référent@ac-paris.fr", "λ@ac-paris.fr"])
def test_an_accent_before_the_at_is_refused_by_its_name(typed: str) -> None:
    refused = refusal(email, typed)

    assert (refused.code, "accent" in refused.message_fr) == ("email_with_accent", True)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("www.lycee-hugo.fr", "https://www.lycee-hugo.fr"),
        ("https://www.lycee-hugo.fr/", "https://www.lycee-hugo.fr"),
        ("HTTPS://WWW.Lycee-Hugo.FR/Accueil", "https://www.lycee-hugo.fr/Accueil"),
        ("http://lycee-hugo.fr", "http://lycee-hugo.fr"),
        ("lycée-hugo.fr/présentation?page=2#haut", "https://lycée-hugo.fr/présentation?page=2#haut"),
        ("xn--lyce-hugo-d4a.fr", "https://lycée-hugo.fr"),
        ("lycee.ac-paris.fr:8443/ent", "https://lycee.ac-paris.fr:8443/ent"),
    ],
)
def test_a_website_is_kept_with_its_scheme(typed: str, kept: str) -> None:
    assert website(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "lycee", "https://", "https:///accueil", "ftp://lycee-hugo.fr", "javascript:alert(1)", "//lycee-hugo.fr",
        "http://lycee hugo.fr", "https://moi:secret@lycee-hugo.fr", "ce.lycee@ac-paris.fr", "https://127.0.0.1/",
        "https://lycee-hugo.fr:99999", "https://lycee-hugo.fr/\"onclick=", "https://lycee-hugo.fr/<b>", "a.fr\\b",
        "https://localhost", "https://[::1]/",
    ],
)  # fmt: skip
def test_what_is_no_website_is_refused(typed: str) -> None:
    assert refusal(website, typed).code == "not_a_website"


_LETTERS = "abéç0159 .-_@:/+()'’\u00a0\u0301\u200bßＡ。xn"
_TYPED = st.one_of(
    st.text(),
    st.text(alphabet=_LETTERS),
    st.emails(),
    st.from_regex(r"\+?[0-9(). -]{6,16}", fullmatch=True),
    st.from_regex(r"(https?://)?(xn--)?[a-zé0-9-]{1,9}\.(fr|[a-z]{1,4})(:[0-9]{1,6})?(/\w*)?", fullmatch=True),
    st.from_regex(r"[0-9]{5}", fullmatch=True),
)


@given(st.sampled_from(sorted(FIELD_RULES)), _TYPED)
def test_no_input_raises_anything_but_a_field_error_and_normalising_twice_changes_nothing(
    field: str, typed: str
) -> None:
    try:
        once = read({field: typed}).values()[field]
    except InvalidSheetError as invalid:
        (error,) = invalid.errors
        assert error.field == field
        assert error.message_fr.endswith(".")
        return

    assert read({field: once}).values()[field] == once
    assert once is None or once == tidy(once)


@given(st.fixed_dictionaries({name: _TYPED | st.none() for name in Sheet().values()}))
def test_each_field_is_judged_alone_and_all_that_is_wrong_is_told_at_once(typed: dict[str, str | None]) -> None:
    wrong: list[FieldError] = []
    for name in FIELD_RULES:
        try:
            read({name: typed[name]})
        except InvalidSheetError as invalid:
            wrong += invalid.errors

    if wrong:
        with pytest.raises(InvalidSheetError) as refused:
            read(typed)
        assert list(refused.value.errors) == wrong
    else:
        assert read(typed) == read(read(typed).values())


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=60))
def test_a_name_of_visible_characters_is_kept_but_for_its_apostrophes(typed: str) -> None:
    kept = read({"name": typed}).name

    assert kept == tidy(typed)
    assert set(kept or "").isdisjoint("\u2018\u2019\u02bc\u2032\u00b4\u0060")
