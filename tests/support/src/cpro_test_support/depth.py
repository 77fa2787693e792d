"""How much of a long proof runs where: a short version in `make test`, all of it in `make faults` and `make proofs`."""

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

_SHARE_OF_A_SHORT_RUN = 3
_LONG = os.environ.get("CPRO_PROOFS") == "long"

slow = pytest.mark.slow
"""For a test that tells nothing new about the product in every run: `make proofs` runs it."""


def examples(number: int) -> int:
    """How many examples of a property to try: so many in `make proofs`, a third of it in `make test`."""
    return number if _LONG else max(1, number // _SHARE_OF_A_SHORT_RUN)


def points(all_of_them: Iterable[Any], *, in_every_run: Collection[Any]) -> list[Any]:
    """Parameters of which `make test` tries those `in_every_run`, and `make faults` all."""
    return [pytest.param(one, marks=[] if one in in_every_run else [pytest.mark.faults]) for one in all_of_them]


def in_part(rows: Sequence[Any], *, unpacked: bool = False, share: int = _SHARE_OF_A_SHORT_RUN) -> list[Any]:
    """Parameters of which `make test` tries every third (or `share`), and `make proofs` all.

    `unpacked` when a row is of several.
    """
    return [
        pytest.param(*(row if unpacked else (row,)), marks=[slow] if number % share else [])
        for number, row in enumerate(rows)
    ]
