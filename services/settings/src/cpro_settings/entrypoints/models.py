"""The bodies of requests and answers."""

from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from cpro_contracts.identifiers import Uai
from cpro_settings.domain.sheet import Change, Overtaken, StoredSheet, missing_fields

_EXAMPLE: dict[str, JsonValue] = {
    "name": "Lycée professionnel Jean-Jaurès",
    "email": "ce.0752387m@ac-paris.fr",
    "street": "1 rue de l'École",
    "postcode": "75012",
    "city": "Paris",
    "telephone": "01 23 45 67 89",
    "head": "Mme Dupont",
    "academy": "Paris",
    "website": "https://www.lycee-jean-jaures.example",
}
# Long enough to be no rule of the sheet: those are in the domain, so that all errors come at once and in words.
_Typed = Annotated[str | None, Field(max_length=10_000)]


class SheetIn(BaseModel):
    """La fiche telle qu'elle est saisie. Un champ vide, `null` ou absent est effacé."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    name: _Typed = None
    email: _Typed = None
    street: _Typed = None
    postcode: _Typed = None
    city: _Typed = None
    telephone: _Typed = None
    head: _Typed = None
    academy: _Typed = None
    website: _Typed = None

    def typed(self) -> dict[str, str | None]:
        """What was typed, by field."""
        return self.model_dump()


class ReadyFor(BaseModel):
    """Ce à quoi la fiche suffit déjà."""

    user_creation: bool
    passport_export: bool


class SheetOut(BaseModel):
    """La fiche d'un établissement. `missing_fields` dit ce qui y manque."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "uai": "0752387M",
                    **_EXAMPLE,
                    "changed_at": "2026-09-01T08:00:00Z",
                    "changed_by": "administrateur-0752387M",
                    "ready_for": {"user_creation": True, "passport_export": True},
                    "missing_fields": [],
                }
            ]
        }
    )

    uai: Uai
    name: str | None
    email: str | None
    street: str | None
    postcode: str | None
    city: str | None
    telephone: str | None
    head: str | None
    academy: str | None
    website: str | None
    changed_at: AwareDatetime | None
    changed_by: str | None
    ready_for: ReadyFor
    missing_fields: list[str]

    @classmethod
    def of(cls, stored: StoredSheet) -> Self:
        """What is answered for a stored sheet."""
        missing = missing_fields(stored.sheet)
        return cls(
            uai=stored.uai,
            **stored.sheet.values(),
            changed_at=stored.changed_at,
            changed_by=stored.changed_by,
            ready_for=ReadyFor(user_creation=not missing, passport_export=not missing),
            missing_fields=list(missing),
        )


class FieldChange(BaseModel):
    """Ce qu'un champ était et ce qu'il est devenu."""

    before: str | None
    after: str | None


class ChangeOut(BaseModel):
    """Une version enregistrée de la fiche."""

    version: int
    changed_at: AwareDatetime
    changed_by: str
    fields: dict[str, FieldChange]

    @classmethod
    def of(cls, change: Change) -> Self:
        """What is answered for an entry of the history."""
        fields = {name: FieldChange(before=before, after=after) for name, (before, after) in change.fields.items()}
        return cls(version=change.version, changed_at=change.changed_at, changed_by=change.changed_by, fields=fields)


class OvertakenOut(BaseModel):
    """A field that changed since the caller read it: a member of the problem 412."""

    field: str
    before: str | None
    current: str | None
    changed_at: AwareDatetime
    changed_by: str

    @classmethod
    def of(cls, overtaken: Overtaken) -> Self:
        """What is answered for such a field."""
        return cls(
            field=overtaken.field,
            before=overtaken.before,
            current=overtaken.current,
            changed_at=overtaken.changed_at,
            changed_by=overtaken.changed_by,
        )
