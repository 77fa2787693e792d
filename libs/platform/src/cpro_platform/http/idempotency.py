"""The `Idempotency-Key` of a request: a route acts through `Once`, and is safe to repeat.

    @router.post("/{id}/retry", response_model=Out, responses=documented(..., *IDEMPOTENCY))
    async def retry(id: UUID, service: Wired, principal: Support, once: Once) -> Response:
        async def act() -> Out: ...
        return await once(act, by=principal)

The application has its `KeptAnswers` in `app.state.kept_answers`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from cpro_contracts import problems
from cpro_platform.auth import Principal
from cpro_platform.http.languages import headers_of, language_of
from cpro_platform.idempotency import Answer, KeptAnswers, KeyedRequest

IDEMPOTENCY = (problems.IDEMPOTENCY_KEY_REUSED, problems.IDEMPOTENCY_KEY_IN_USE)
"""What a route that takes a key may answer because of it."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Une valeur nouvelle par demande, la même à chaque répétition : l'effet n'a lieu qu'une fois, "
        "et la réponse reste la même pendant 24 heures",
        examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
    ),
]


Shown = TypeVar("Shown", bound=BaseModel)


class RepeatableRequest:
    """A request whose sender may have given it a key."""

    def __init__(self, request: Request, key: str | None) -> None:
        self._request = request
        self._key = key

    async def __call__(
        self,
        act: Callable[[], Awaitable[Shown]],
        *,
        by: Principal,
        status: int | Callable[[Shown], int] = 200,
        headers: Callable[[Shown], Mapping[str, str]] | None = None,
        content: bytes | None = None,
    ) -> Response:
        """Act, and answer what `act` returns; under a key that this caller has used, what was answered then.

        `content` stands for the body where that is too large to be read again.

        Raises:
            RefusedError: what `act` raises; or the key stands for another request, or for one that is being handled.
        """

        async def answered() -> Answer:
            shown = await act()
            code = status if isinstance(status, int) else status(shown)
            said = {**headers_of(language_of(self._request.headers)), **(headers(shown) if headers else {})}
            return Answer(code, shown.model_dump_json(by_alias=True).encode(), said)

        if self._key is None:
            return _response(await answered())
        kept: KeptAnswers = self._request.app.state.kept_answers
        body = content if content is not None else await self._request.body()
        # As HTTP writes a string in a structured field, or bare as most write it: the same key.
        key = self._key.removeprefix('"').removesuffix('"')
        url = self._request.url
        # Somebody who works for two schools has a token for each.
        caller = f"{by.subject} {by.uai}"
        request = (self._request.method.encode(), url.path.encode(), url.query.encode(), body)
        asked = KeyedRequest(caller, key, request)
        return _response(await kept.once(asked, answered))


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), media_type="application/json")


def _repeatable(request: Request, idempotency_key: IdempotencyKey = None) -> RepeatableRequest:
    return RepeatableRequest(request, idempotency_key)


Once = Annotated[RepeatableRequest, Depends(_repeatable)]
