"""The API, asked with a token: signing in, pages, problems, and what is tried again."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from cpro_platform.config import settings_of
from cpro_platform.retry import backoff

_TIMEOUT_SECONDS = 120.0
_ATTEMPTS = 6
_LONGEST_WAIT_SECONDS = 20.0
_AWAY = frozenset({429, 502, 503, 504})


class ClientSettings(BaseSettings):
    """Read from `CPRO_SUPPORT_…`. Either a token, or the credentials to ask the issuer for one."""

    model_config = settings_of("support")

    url: str = ""
    token: SecretStr | None = None
    issuer: str = ""
    client_id: str = ""
    client_secret: SecretStr | None = None
    scope: str | None = None
    audience: str | None = None


class ProblemError(Exception):
    """The API refused, and says why."""

    def __init__(self, status: int, code: str, text: str, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.members = members or {}
        """All that the problem says."""


class UnreachableError(Exception):
    """The API, or the issuer, does not answer, however often it is asked."""


class Client:
    """One session with the API. Safe for any number of tasks; each request is safe to repeat, so it is repeated."""

    def __init__(
        self, settings: ClientSettings, *, language: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(
            base_url=settings.url,
            headers={"Accept-Language": language},
            timeout=_TIMEOUT_SECONDS,
            transport=transport,
        )
        self._token = settings.token.get_secret_value() if settings.token else None
        self._signing_in = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: str) -> Any:
        """The JSON at this path."""
        return await self._ask("GET", path, params=parameters)

    async def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Post what may be posted twice; the JSON of the answer."""
        return await self._ask("POST", path, json=dict(body))

    async def pages(self, path: str, **parameters: str) -> AsyncIterator[Any]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = await self.get(path, **parameters, **({"cursor": cursor} if cursor else {}))
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def _ask(self, method: str, path: str, **content: Any) -> Any:
        """Waits out what is away; an expired token is renewed once.

        Raises:
            ProblemError: the API refuses.
            UnreachableError: it does not answer.
        """
        renewed = False
        answer: httpx.Response | None = None
        for delay in itertools.islice(backoff(first_seconds=0.5, longest_seconds=_LONGEST_WAIT_SECONDS), _ATTEMPTS):
            token = self._token or await self._sign_in(None)
            answer = await self._send(method, path, headers={"Authorization": f"Bearer {token}"}, **content)
            if answer is not None and self._is_expired(answer) and not renewed:
                renewed = True
                await self._sign_in(token)
            elif answer is not None and answer.status_code not in _AWAY:
                return _content(answer)
            else:
                await asyncio.sleep(delay)
        if answer is None:
            raise UnreachableError(str(self._http.base_url))
        return _content(answer)

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        try:
            return await self._http.request(method, path, **content)
        except httpx.TransportError:
            return None

    def _is_expired(self, answer: httpx.Response) -> bool:
        return answer.status_code == httpx.codes.UNAUTHORIZED and self._settings.token is None

    async def _sign_in(self, refused: str | None) -> str:
        """A token by client credentials. Whoever comes second takes the first one's."""
        async with self._signing_in:
            if self._token is not None and self._token != refused:
                return self._token
            settings, secret = self._settings, self._settings.client_secret
            asked = {"grant_type": "client_credentials", "scope": settings.scope, "audience": settings.audience}
            try:
                found = await self._http.get(f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                answer = await self._http.post(
                    _content(found)["token_endpoint"],
                    data={name: value for name, value in asked.items() if value},
                    auth=(settings.client_id, secret.get_secret_value() if secret else ""),
                )
            except httpx.TransportError as error:
                raise UnreachableError(settings.issuer) from error
            token: str = _content(answer)["access_token"]
            self._token = token
            return token


def _content(answer: httpx.Response) -> Any:
    if answer.is_success:
        return answer.json()
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    title, *rest = [str(problem[name]) for name in ("title", "detail", "error_description") if problem.get(name)] or [
        ""
    ]
    text = f"{title}. {' '.join(rest)}" if rest else title
    code = str(problem.get("code", answer.status_code))
    raise ProblemError(answer.status_code, code, text or answer.reason_phrase, problem)
