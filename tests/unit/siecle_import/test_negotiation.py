"""What a caller accepts decides the form of the answer."""

import pytest

from cpro_platform.errors import RefusedError
from cpro_siecle_import.entrypoints.negotiation import chosen

FORMS = ("application/json", "text/csv")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV;q=0.5", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html, text/csv;q=0.9, */*;q=0.1", "text/csv"),
        ("application/json, text/csv", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("application/json;q=0.1, text/csv;q=0.2", "text/csv"),
    ],
)
def test_the_form_that_is_liked_best_is_answered(accept: str | None, form: str) -> None:
    assert chosen(accept, FORMS) == form


@pytest.mark.parametrize("accept", ["image/png", "application/*;q=0, text/csv;q=0", "text/csv;q=nonsense", "*/*;q=0"])
def test_a_form_that_there_is_not_is_refused(accept: str) -> None:
    with pytest.raises(RefusedError) as refused:
        chosen(accept, FORMS)

    assert (refused.value.problem.code, refused.value.problem.status) == ("not_acceptable", 406)
