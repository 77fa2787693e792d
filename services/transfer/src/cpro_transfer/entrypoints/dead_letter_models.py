"""Dead letters as the API shows them and takes decisions on them."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from cpro_contracts.envelope import Envelope, UnreadableEventError
from cpro_transfer.domain.dead_letters import Choice, Letter, LetterCount, LetterState
from cpro_transfer.entrypoints.tickets import Ticket
from cpro_transfer.handlers.dead_letters import Settled

Explained = Annotated[str, StringConstraints(strip_whitespace=True, min_length=5, max_length=500)]
_OUR_HEADERS = ("ce_", "content-type", "traceparent")


class LetterOut(BaseModel):
    """Un message qui n'a pas pu être traité."""

    id: UUID
    state: LetterState
    topic: str = Field(description="Où il a été lu, et où le rejouer")
    partition: int | None
    offset: int | None
    set_aside_at: datetime
    cause: str = Field(description="La classe de l'erreur")
    detail: str
    group: str = Field(description="Le groupe de consommateurs qui n'a pas pu le traiter")
    event_type: str
    uai: str
    replay_of: UUID | None = Field(description="Le message qui, rejoué, est revenu comme celui-ci")
    settled_at: datetime | None
    settled_by: str | None
    ticket: str | None
    reason: str | None

    @classmethod
    def of(cls, letter: Letter) -> Self:
        """As it is listed."""
        return cls(**_shown(letter))


class HeaderOut(BaseModel):
    """Un en-tête. Ce qui n'est pas de CPro est tu."""

    name: str
    value: str | None


class LetterInFull(LetterOut):
    """Un message, avec ses en-têtes et son contenu."""

    headers: list[HeaderOut]
    fields: dict[str, Any] | None = Field(description="Le contenu, s'il respecte le contrat de son type")
    unreadable: str | None = Field(description="Sinon, ce que le contrat lui reproche ; ses valeurs sont tues")
    size_bytes: int

    @classmethod
    def of(cls, letter: Letter) -> Self:
        """As it is shown alone. Of a payload that breaks its contract the values may be anything: not shown."""
        fields: dict[str, Any] | None = None
        unreadable: str | None = None
        try:
            fields = Envelope.read(letter.headers, letter.value).event.model_dump(mode="json")
        except UnreadableEventError as error:
            unreadable = str(error)
        headers = [HeaderOut(name=name, value=_shown_value(name, value)) for name, value in letter.headers]
        size = len(letter.value or b"")
        return cls(**_shown(letter), headers=headers, fields=fields, unreadable=unreadable, size_bytes=size)


class LetterCountOut(BaseModel):
    """Combien de messages d'un sujet, d'une cause et d'un état."""

    topic: str
    cause: str
    state: LetterState
    number: int
    oldest: datetime
    newest: datetime

    @classmethod
    def of(cls, count: LetterCount) -> Self:
        """As it is shown."""
        return cls(
            topic=count.topic, cause=count.cause, state=count.state, number=count.number, oldest=count.oldest,
            newest=count.newest,
        )  # fmt: skip


class _ChoiceIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(default=[], max_length=500, description="Ces messages-là")
    topic: str | None = Field(default=None, description="Ou tous ceux qui attendent, de ce sujet")
    cause: str | None = Field(default=None, description="et de cette cause")
    ticket: Ticket
    request_id: UUID = Field(default_factory=uuid4, description="Pour redemander sans risque")
    dry_run: bool = Field(strict=True, default=True, description="Compter sans rien faire")

    @model_validator(mode="after")
    def _one_way_of_choosing(self) -> Self:
        if bool(self.ids) == bool(self.topic and self.cause) or (self.ids and (self.topic or self.cause)):
            raise ValueError("either ids, or a topic and a cause")
        return self

    def choice(self) -> Choice:
        """What is chosen."""
        return Choice(tuple(dict.fromkeys(self.ids)), self.topic, self.cause)


class LetterReplayIn(_ChoiceIn):
    """Rejouer : remettre sur leur sujet, tels quels."""


class LetterDiscardIn(_ChoiceIn):
    """Écarter, avec un motif."""

    reason: Explained


class SettledOut(BaseModel):
    """Ce qui a été fait, ou le serait."""

    dry_run: bool
    settled: int = Field(description="Combien ont été rejoués ou écartés")
    superseded: int = Field(description="Combien sont dépassés par un message plus récent, et n'ont pas été rejoués")
    left: int = Field(description="Combien attendent encore")
    counts: list[LetterCountOut] = Field(description="Ce qui attendait avant")

    @classmethod
    def of(cls, settled: Settled, *, dry_run: bool) -> Self:
        """As it is answered."""
        return cls(
            dry_run=dry_run, settled=settled.settled, superseded=settled.superseded, left=settled.left,
            counts=[LetterCountOut.of(count) for count in settled.counts],
        )  # fmt: skip


def _shown(letter: Letter) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in LetterOut.model_fields}


def _shown_value(name: str, value: bytes | None) -> str | None:
    if value is None or not name.startswith(_OUR_HEADERS):
        return None
    return value.decode(errors="replace")
