"""The establishment sheet: its fields, what it is ready for, and what changed between two versions of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cpro_settings.domain import fields
from cpro_settings.domain.fields import FieldError, InvalidFieldError


@dataclass(frozen=True, slots=True)
class Sheet:
    """What an establishment says of itself. A field that was never filled in is None."""

    name: str | None = None
    email: str | None = None
    street: str | None = None
    postcode: str | None = None
    city: str | None = None
    telephone: str | None = None
    head: str | None = None
    academy: str | None = None

    def values(self) -> dict[str, str | None]:
        """The fields by name."""
        return {name: getattr(self, name) for name in FIELD_RULES}


FIELD_RULES: Mapping[str, Callable[[str], str]] = {
    "name": fields.text(120),
    "email": fields.email,
    "street": fields.text(160),
    "postcode": fields.postcode,
    "city": fields.text(80),
    "telephone": fields.telephone,
    "head": fields.text(100),
    "academy": fields.text(60),
}

NEEDED_FOR_USERS_AND_PASSPORTS = ("name", "email")
"""Without them (and the UAI, which every sheet has) no user can be created and no passport exported.

The manual: « Le nom, l'adresse électronique et le code UAI (RNE) de l'établissement seront nécessaires pour la
création de nouveaux utilisateurs et l'export du passeport professionnel par les apprenants. »
"""


@dataclass(frozen=True, slots=True)
class StoredSheet:
    """A version of an establishment's sheet. Version 0 was never saved."""

    uai: str
    sheet: Sheet
    version: int = 0
    changed_at: datetime | None = None
    changed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A saved version: who made it, when, and for each changed field what it was and what it became."""

    version: int
    changed_at: datetime
    changed_by: str
    fields: Mapping[str, tuple[str | None, str | None]]


class InvalidSheetError(ValueError):
    """Some fields break their rules: all of them are here."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(", ".join(error.field for error in errors))
        self.errors = errors


def read(typed: Mapping[str, str | None]) -> Sheet:
    """The sheet behind what was typed: spaces tidied up, empty fields None.

    Raises:
        InvalidSheetError: with every field that is wrong.
    """
    accepted: dict[str, str | None] = {}
    errors: list[FieldError] = []
    for name, rule in FIELD_RULES.items():
        value = " ".join((typed.get(name) or "").split())
        try:
            accepted[name] = rule(value) if value else None
        except InvalidFieldError as error:
            errors.append(error.at(name))
    if errors:
        raise InvalidSheetError(tuple(errors))
    return Sheet(**accepted)


def missing_fields(sheet: Sheet) -> tuple[str, ...]:
    """What still keeps users from being created and passports from being exported."""
    return tuple(name for name in NEEDED_FOR_USERS_AND_PASSPORTS if not getattr(sheet, name))


def changes_between(before: Sheet, after: Sheet) -> dict[str, tuple[str | None, str | None]]:
    """The fields that differ, each with what it was and what it became."""
    new = after.values()
    return {name: (old, new[name]) for name, old in before.values().items() if old != new[name]}
