"""The establishment sheet: its fields, what it is ready for, and what changed between two versions of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cpro_settings.domain import contact_fields, fields
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
    website: str | None = None

    def values(self) -> dict[str, str | None]:
        """The fields by name."""
        return {name: getattr(self, name) for name in FIELD_RULES}


FIELD_RULES: Mapping[str, Callable[[str], str]] = {
    "name": fields.text(120),
    "email": contact_fields.email,
    "street": fields.text(160),
    "postcode": fields.postcode,
    "city": fields.text(80),
    "telephone": contact_fields.telephone,
    "head": fields.text(100),
    "academy": fields.text(60),
    "website": contact_fields.website,
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


@dataclass(frozen=True, slots=True)
class Overtaken:
    """A field that is no longer what somebody read: what it was then, what it is now, and who last changed it when."""

    field: str
    before: str | None
    current: str | None
    changed_at: datetime
    changed_by: str


class InvalidSheetError(ValueError):
    """Some fields break their rules: all of them are here."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(", ".join(error.field for error in errors))
        self.errors = errors


def read(typed: Mapping[str, str | None]) -> Sheet:
    """The sheet behind what was typed: tidied up, empty fields None.

    Raises:
        InvalidSheetError: with every field that is wrong.
    """
    accepted: dict[str, str | None] = {}
    errors: list[FieldError] = []
    for name, rule in FIELD_RULES.items():
        value = fields.tidy(typed.get(name) or "")
        try:
            accepted[name] = rule(fields.visible(value)) if value else None
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


def overtaken_by(changes: Sequence[Change]) -> tuple[Overtaken, ...]:
    """What these saved versions, oldest first, came to. A field that was changed and changed back is not among it."""
    newest: dict[str, Overtaken] = {}
    for change in changes:
        for name, (before, after) in change.fields.items():
            first = newest[name].before if name in newest else before
            newest[name] = Overtaken(name, first, after, change.changed_at, change.changed_by)
    return tuple(newest[name] for name in FIELD_RULES if name in newest and newest[name].before != newest[name].current)
