import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from cpro_platform.auth import IssuerUnavailableError, Principal, Role
from cpro_platform.clock import SettableClock
from cpro_platform.errors import RefusedError
from cpro_test_support.oidc_issuer import Issuer


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(SettableClock(datetime(2026, 9, 1, 8, tzinfo=UTC)))


async def test_a_valid_token_names_the_subject_the_roles_and_the_establishment(issuer: Issuer) -> None:
    principal = await issuer.authenticator().authenticate(issuer.token(roles=["administrator", "not-a-role"]))

    assert principal == Principal("someone", frozenset({Role.ADMINISTRATOR}), "0752387M")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "http://another.test"},
        {"aud": "another"},
        {"aud": None},
        {"exp": None},
        {"exp": float("nan")},
        {"exp": True},
        {"sub": None},
        {"iat": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"roles": "administrator"},
        {"uai": "0752387A"},
        {"uai": 752387},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(issuer: Issuer, changed: dict[str, Any]) -> None:
    with pytest.raises(RefusedError) as refused:
        await issuer.authenticator().authenticate(issuer.token(**changed))

    assert refused.value.problem.code == "token_invalid"


async def test_an_expired_token_is_refused_and_the_reason_is_said(issuer: Issuer) -> None:
    with pytest.raises(RefusedError) as refused:
        await issuer.authenticator().authenticate(issuer.expired_token())

    assert "expiré" in refused.value.detail_fr


async def test_the_leeway_covers_clocks_that_differ_a_little(issuer: Issuer) -> None:
    token = issuer.token(exp=int(issuer.clock.now().timestamp()) - 20)

    assert await issuer.authenticator(leeway_seconds=30).authenticate(token)


def _unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


async def test_unsigned_tokens_and_shared_secret_tokens_are_refused(issuer: Issuer) -> None:
    public_pem = (
        issuer.keys["first"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    signing_input = _unsigned(issuer.claims(), {"alg": "HS256", "kid": "first", "typ": "JWT"})[:-1]
    forged = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signing_input.encode(), public_pem)
    tokens = [
        _unsigned(issuer.claims(), {"alg": "none", "kid": "first"}),
        f"{signing_input}.{base64.urlsafe_b64encode(forged).rstrip(b'=').decode()}",
        "not a token",
        "",
    ]

    for token in tokens:
        with pytest.raises(RefusedError) as refused:
            await issuer.authenticator().authenticate(token)
        assert refused.value.problem.code == "token_invalid"


async def test_a_token_signed_by_another_key_than_it_names_is_refused(issuer: Issuer) -> None:
    issuer.add_key("second")

    with pytest.raises(RefusedError):
        await issuer.authenticator().authenticate(issuer.token("first", signed_by="second"))


async def test_a_token_that_names_no_key_is_tried_with_each(issuer: Issuer) -> None:
    issuer.add_key("second")

    assert await issuer.authenticator().authenticate(issuer.token(None, signed_by="second"))


async def test_keys_are_fetched_once_and_again_when_a_token_names_a_new_one(issuer: Issuer) -> None:
    authenticator = issuer.authenticator(refetch_interval_seconds=10)
    for _ in range(5):
        await authenticator.authenticate(issuer.token())
    assert issuer.fetches == 1

    issuer.add_key("second")
    issuer.clock.advance(timedelta(seconds=11))

    assert await authenticator.authenticate(issuer.token("second", signed_by="second"))
    assert issuer.fetches == 2


async def test_tokens_that_name_unknown_keys_do_not_flood_the_issuer(issuer: Issuer) -> None:
    authenticator = issuer.authenticator(refetch_interval_seconds=10)
    await authenticator.authenticate(issuer.token())
    issuer.clock.advance(timedelta(seconds=11))

    for number in range(20):
        with pytest.raises(RefusedError):
            await authenticator.authenticate(issuer.token(f"unknown-{number}"))

    assert issuer.fetches == 2


async def test_known_keys_serve_for_a_while_when_the_issuer_is_away(issuer: Issuer) -> None:
    authenticator = issuer.authenticator(keys_lifetime_seconds=600)
    await authenticator.authenticate(issuer.token())
    issuer.away = True

    issuer.clock.advance(timedelta(minutes=30))
    assert await authenticator.authenticate(issuer.token())
    issuer.clock.advance(timedelta(minutes=31))
    with pytest.raises(IssuerUnavailableError):
        await authenticator.authenticate(issuer.token())


async def test_without_any_key_the_issuer_being_away_is_not_the_callers_fault(issuer: Issuer) -> None:
    issuer.away = True

    with pytest.raises(IssuerUnavailableError):
        await issuer.authenticator().authenticate(issuer.token())


def test_an_administrator_counts_only_in_their_own_establishment() -> None:
    administrator = Principal("a", frozenset({Role.ADMINISTRATOR}), "0752387M")
    allowed = frozenset({Role.ADMINISTRATOR, Role.SUPPORT})

    assert administrator.may_act_for("0752387M", allowed)
    assert not administrator.may_act_for("0750680G", allowed)
    assert not administrator.may_act_for(None, allowed)
    assert not Principal("a", frozenset({Role.ADMINISTRATOR}), None).may_act_for(None, allowed)
    assert Principal("s", frozenset({Role.SUPPORT}), None).may_act_for("0750680G", allowed)
    assert not Principal("o", frozenset({Role.OPERATIONS}), None).may_act_for("0750680G", allowed)
