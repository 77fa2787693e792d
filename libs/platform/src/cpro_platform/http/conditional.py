"""Conditional requests (RFC 9110): change only what was seen, send only what is new."""

from typing import Annotated

from fastapi import Header

from cpro_contracts import problems
from cpro_platform.errors import RefusedError

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="ETag de la version modifiée ; obligatoire", examples=['"3"'])
]
IfNoneMatch = Annotated[
    str | None, Header(alias="If-None-Match", description="ETag de la version déjà reçue", examples=['"3"'])
]


def require_match(if_match: str | None, etag: str, **current: object) -> None:
    """Let a change pass only if it was made from the version `etag` (quoted, as sent), or from any (`*`).

    `current` becomes members of the problem, so that the caller sees what changed meanwhile.

    Raises:
        RefusedError: 428 without the header, 412 when it names another version.
    """
    if if_match is None:
        raise RefusedError(
            problems.PRECONDITION_REQUIRED,
            "Envoyez dans If-Match l'ETag de la version que vous avez lue.",
            "Send the ETag of the version that you have read in If-Match.",
        )
    # A weak tag never matches here: the comparison for If-Match is the strong one.
    if if_match.strip() != "*" and etag not in _tags(if_match):
        raise RefusedError(
            problems.PRECONDITION_FAILED,
            "Elle a changé depuis votre lecture : relisez-la puis recommencez.",
            "It has changed since you read it: read it again, then retry.",
            current_etag=etag,
            **current,
        )


def is_not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller already has this version (weak comparison): answer 304 without a body."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/") in {tag.removeprefix("W/") for tag in _tags(if_none_match)}


def _tags(header: str) -> set[str]:
    return {tag.strip() for tag in header.split(",")}
