"""Which of the forms that there are the caller wants (RFC 9110, Accept)."""

from collections.abc import Sequence

from cpro_platform.errors import RefusedError
from cpro_siecle_import import errors


def chosen(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type that the caller likes best; the first offered where it does not mind.

    Raises:
        RefusedError: it takes none of them (406).
    """
    wanted = [_range(part) for part in (accept or "*/*").split(",") if part.strip()]
    liked = [(_quality(kind, wanted), -place, kind) for place, kind in enumerate(offered)]
    quality, _, kind = max(liked)
    if quality <= 0:
        raise RefusedError(
            errors.NOT_ACCEPTABLE,
            f"Formats disponibles : {', '.join(offered)}.",
            f"Available formats: {', '.join(offered)}.",
            available=list(offered),
        )
    return kind


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(kind: str, wanted: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that the media type fits into; 0 if there is none."""
    for candidate in (kind, kind.partition("/")[0] + "/*", "*/*"):
        found = [quality for name, quality in wanted if name == candidate]
        if found:
            return max(found)
    return 0.0
