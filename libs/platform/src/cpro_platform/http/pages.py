"""Keyset pagination: a page, and an opaque cursor that says after which row the next one begins."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from cpro_contracts import problems
from cpro_platform.errors import RefusedError

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Une page d'une liste. `next_cursor` donne la suivante ; `null` sur la dernière."""

    items: list[Item]
    next_cursor: str | None = Field(default=None, description="À renvoyer dans `cursor` pour la page suivante")


def encode_cursor(*position: str | int) -> str:
    """The cursor of the row whose sort values these are."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, *, types: Sequence[type]) -> tuple[str | int, ...] | None:
    """The sort values in a cursor, or None for the first page.

    Raises:
        RefusedError: `invalid_request`: this is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        position = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        position = None
    if not isinstance(position, list) or [type(value) for value in position] != list(types):
        raise _not_valid()
    return tuple(position)


def read_cursor(cursor: str | None, *readers: Callable[[str], Any]) -> Any:
    """The same, for sort values that were written as text: a tuple of what the readers make of them, or None.

    Raises:
        RefusedError: `invalid_request`: this is no cursor of this list.
    """
    written = decode_cursor(cursor, types=[str] * len(readers))
    if written is None:
        return None
    try:
        return tuple(read(str(value)) for read, value in zip(readers, written, strict=True))
    except ValueError:
        raise _not_valid() from None


def _not_valid() -> RefusedError:
    return RefusedError(
        problems.INVALID_REQUEST, "Le curseur de page n'est pas valable.", "The page cursor is not valid."
    )
