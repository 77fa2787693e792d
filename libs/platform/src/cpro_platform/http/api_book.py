"""What is said of an API beside what its code says: names that stay, words for its users, examples, and its problems.

A service writes its book beside its routes; `create_app` puts it into the OpenAPI document. Tests hold the book to the
routes: an operation without examples, or an example that breaks its schema, is found there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from cpro_contracts.problems import ProblemCode

Examples = Mapping[str, Mapping[str, object]]
"""By media type, then by name."""


def as_json(**examples: object) -> Examples:
    """Examples of `application/json`, by name."""
    return {"application/json": examples}


def shown(model: type[BaseModel], value: object) -> object:
    """What a model answers for a value: complete, for an answer leaves no field out.

    Raises:
        pydantic.ValidationError: the value is none of the model.
    """
    return model.model_validate(value).model_dump(mode="json", by_alias=True)


def page(*items: object, next_cursor: str | None = None) -> object:
    """What a list answers."""
    return {"items": list(items), "next_cursor": next_cursor}


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the answers of an operation. `headers` are the names of those that it has besides the usual ones."""

    description: str
    examples: Examples = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `id` is what generated clients call it: published, it stays."""

    id: str
    summary: str
    answers: Mapping[int, Answer]
    request: Examples = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guidance:
    """When a problem is met and what to do about it. `members` are the example's, beside those of every problem."""

    when_fr: str
    when_en: str
    todo_fr: str
    todo_en: str
    members: Mapping[str, object] = field(default_factory=dict)


Guide = Mapping[ProblemCode, Guidance]


@dataclass(frozen=True, slots=True)
class ApiBook:
    """The book of one service. Operations go by method and path: `GET /v1/establishments/{uai}`."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    operations: Mapping[str, Operation] = field(default_factory=dict)
    problems: Guide = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What a parameter is, by its name, where the code does not say it."""
    closed_lists: Mapping[str, str] = field(default_factory=dict)
    """What a closed list is, by its schema: the code says it in English."""
