"""Which of our two languages the caller prefers (RFC 9110, Accept-Language): French unless English is preferred."""

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Header, Request, Response

_WEIGHT = re.compile(r"\s*(?:q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?", re.IGNORECASE)
_OURS = ("fr", "en")
VARY = "Accept-Language"


def language_of(headers: Mapping[str, str]) -> str:
    """`fr` or `en`, whichever `Accept-Language` prefers; French when it says nothing of either.

    Regions don't matter (`en-GB` is English), `*` stands for what is not named, `q=0` refuses, and of two that are
    liked as much the first one is taken. What is malformed is passed over: nobody is refused for a language.
    """
    weights = _weights(headers.get("accept-language", ""))
    anything = weights.pop("*", 0.0)
    liked = {language: weights.get(language, anything) for language in (*weights, *_OURS) if language in _OURS}
    # The first of the most liked: those that were named come first, in their order.
    best = max(liked, key=lambda language: liked[language])
    return best if liked[best] > 0 else "fr"


def _weights(header: str) -> dict[str, float]:
    """What is wanted how much, by primary language, in the order of the header."""
    found: dict[str, float] = {}
    for part in header.split(","):
        tag, _, parameter = part.strip().partition(";")
        weight = _WEIGHT.fullmatch(parameter)
        language = tag.strip().lower().partition("-")[0]
        if language and weight:
            found[language] = max(found.get(language, 0.0), float(weight[1] or 1))
    return found


def headers_of(language: str) -> dict[str, str]:
    """What an answer with words in it says of their language."""
    return {"Content-Language": language, "Vary": VARY}


def _negotiated(
    request: Request,
    response: Response,
    _accept_language: Annotated[
        str | None,
        Header(
            alias="Accept-Language", description="`fr` (par défaut) ou `en` : la langue des textes de la réponse",
            examples=["fr", "en;q=0.9, fr;q=0.5"],
        ),
    ] = None,
) -> str:  # fmt: skip
    language = language_of(request.headers)
    response.headers.update(headers_of(language))
    return language


Language = Annotated[str, Depends(_negotiated)]
"""`fr` or `en`. A route that takes it answers in that language, and says so."""
