"""How `cpro-support` signs in, turns pages, tries again and speaks."""

from collections.abc import Callable

import httpx
import pytest

from cpro_transfer.domain.reconciliation import Kind
from cpro_transfer.entrypoints.support_cli.client import Client, ClientSettings, ProblemError
from cpro_transfer.entrypoints.support_cli.words import words_of

ISSUER = "https://issuer.test/realms/cpro"


class Answers:
    """An issuer and an API in memory, and what they were asked."""

    def __init__(self, api: Callable[[httpx.Request, int], httpx.Response]) -> None:
        self.signed_in = 0
        self.asked: list[httpx.Request] = []
        self._api = api

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"token_endpoint": f"{ISSUER}/token"})
        if request.url.path.endswith("/token"):
            assert b"grant_type=client_credentials" in request.content
            assert request.headers["Authorization"].startswith("Basic ")
            self.signed_in += 1
            return httpx.Response(200, json={"access_token": f"token-{self.signed_in}"})
        self.asked.append(request)
        return self._api(request, len(self.asked))


def a_client(answers: Answers, **settings: str) -> Client:
    wanted = {"url": "https://api.test", "issuer": ISSUER, "client_id": "support", "client_secret": "s"} | settings
    return Client(ClientSettings.model_validate(wanted), language="en", transport=httpx.MockTransport(answers))


async def test_it_signs_in_once_with_its_credentials() -> None:
    answers = Answers(lambda _request, _number: httpx.Response(200, json={}))

    async with a_client(answers) as client:
        await client.get("/one")
        await client.get("/two")

    assert answers.signed_in == 1
    assert [request.headers["Authorization"] for request in answers.asked] == ["Bearer token-1"] * 2
    assert answers.asked[0].headers["Accept-Language"] == "en"


async def test_a_token_that_has_expired_is_renewed_once() -> None:
    expired = httpx.Response(401, json={"code": "token_invalid", "title": "Access token refused"})
    answers = Answers(lambda request, _number: expired if request.headers["Authorization"].endswith("1") else OK)

    async with a_client(answers) as client:
        await client.get("/one")

    assert [request.headers["Authorization"] for request in answers.asked] == ["Bearer token-1", "Bearer token-2"]


OK = httpx.Response(200, json={})


async def test_a_ready_made_token_is_used_as_it_is_and_its_end_is_told() -> None:
    answers = Answers(lambda _request, _number: httpx.Response(401, json={"code": "token_invalid", "title": "Refused"}))

    async with a_client(answers, token="ready") as client:
        with pytest.raises(ProblemError, match="Refused") as refused:
            await client.get("/one")

    assert refused.value.code == "token_invalid"
    assert (answers.signed_in, len(answers.asked)) == (0, 1)


async def test_what_is_away_is_asked_again() -> None:
    answers = Answers(lambda _request, number: httpx.Response(503, json={}) if number < 2 else OK)

    async with a_client(answers, token="ready") as client:
        assert await client.post("/one", {"dry_run": True}) == {}

    assert [request.content for request in answers.asked] == [b'{"dry_run":true}'] * 2


async def test_a_list_is_read_to_its_end() -> None:
    def page(request: httpx.Request, _number: int) -> httpx.Response:
        first = "cursor" not in request.url.params
        return httpx.Response(200, json={"items": [1, 2] if first else [3], "next_cursor": "c" if first else None})

    async with a_client(Answers(page), token="ready") as client:
        assert [item async for item in client.pages("/list")] == [1, 2, 3]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "fr"}, "fr"),
        ({}, "en"),
    ],
)
def test_it_speaks_the_language_of_the_terminal(environment: dict[str, str], language: str) -> None:
    words = words_of(environment)

    assert words.language == language
    assert set(words.kinds) == set(Kind)
