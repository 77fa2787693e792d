from datetime import UTC, datetime
from itertools import product

import pytest

from cpro_settings.domain.sheet import (
    Change,
    InvalidSheetError,
    Overtaken,
    Sheet,
    changes_between,
    missing_fields,
    overtaken_by,
    read,
)


def test_spaces_are_tidied_up_and_empty_fields_are_none() -> None:
    sheet = read({"name": "  Lycée \t Jean-Jaurès\n", "city": "   ", "head": ""})

    assert sheet == Sheet(name="Lycée Jean-Jaurès")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Lyc\u00e9e de l\u2019\u00c9cole", "Lyc\u00e9e de l'\u00c9cole"),
        ("Lyce\u0301e de l\u02bcE\u0301cole", "Lyc\u00e9e de l'\u00c9cole"),
        ("\u00a0Lyc\u00e9e\u202fde\u00a0l'\u00c9cole \n", "Lyc\u00e9e de l'\u00c9cole"),
    ],
    ids=["typographic apostrophe", "decomposed accents", "no-break and trailing spaces"],
)
def test_a_name_is_one_name_however_it_was_typed(typed: str, kept: str) -> None:
    assert read({"name": typed}) == Sheet(name=kept)


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


def test_what_changed_and_changed_back_has_not_overtaken_anybody() -> None:
    morning, noon = datetime(2026, 9, 1, 8, tzinfo=UTC), datetime(2026, 9, 1, 12, tzinfo=UTC)
    changes = [
        Change(2, morning, "anne", {"name": ("A", "B"), "city": ("Paris", "Lyon")}),
        Change(3, noon, "luc", {"name": ("B", "C"), "city": ("Lyon", "Paris")}),
    ]

    assert overtaken_by(changes) == (Overtaken("name", "A", "C", noon, "luc"),)
    assert overtaken_by([]) == ()
