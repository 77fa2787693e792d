from hashlib import sha256

import pytest

from cpro_settings.domain.conditions import EVERY_VERSION, Conditions, NotAcceptedError, OutdatedError, accepted

TWO = (Conditions(1, "Un"), Conditions(2, "Deux"))
SHOWN = {1: "9843c94a4c150ae1"}
"""The hash of each text that was shown to anybody. Other words are another version, and another line here."""


def test_a_text_that_was_shown_is_never_changed() -> None:
    assert {known.version: sha256(known.text.encode()).hexdigest()[:16] for known in EVERY_VERSION} == SHOWN


def test_the_versions_are_numbered_in_order() -> None:
    assert [known.version for known in EVERY_VERSION] == list(range(1, len(EVERY_VERSION) + 1))


def test_only_the_version_in_force_can_be_accepted() -> None:
    assert accepted(2, TWO) == TWO[1]
    with pytest.raises(OutdatedError):
        accepted(1, TWO)
    for never in (None, 0, 3):
        with pytest.raises(NotAcceptedError):
            accepted(never, TWO)
