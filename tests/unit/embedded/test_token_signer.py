"""Tokens are what an OpenID provider would issue: verifiable with nothing but what it publishes."""

import json
import urllib.request
from collections.abc import Iterator

import jwt
import pytest

from cpro_embedded.token_signer import AUDIENCE, TokenSigner


@pytest.fixture(scope="module")
def signer() -> Iterator[TokenSigner]:
    signer = TokenSigner()
    signer.start()
    yield signer
    signer.stop()


def verified(signer: TokenSigner, token: str) -> dict[str, object]:
    """The claims, verified with the key that the discovery document leads to."""
    with urllib.request.urlopen(f"{signer.issuer}/.well-known/openid-configuration") as answer:
        configuration = json.load(answer)
    key = jwt.PyJWKClient(configuration["jwks_uri"]).get_signing_key_from_jwt(token)
    claims: dict[str, object] = jwt.decode(
        token,
        key,
        algorithms=configuration["id_token_signing_alg_values_supported"],
        audience=AUDIENCE,
        issuer=configuration["issuer"],
        options={"require": ["exp", "iat", "nbf", "sub", "jti"]},
    )
    return claims


def test_a_token_verifies_against_the_published_keys(signer: TokenSigner) -> None:
    token = signer.token("alix.martin", ["administrator"], uai="0752387M")

    claims = verified(signer, token)

    assert (claims["sub"], claims["roles"], claims["uai"]) == ("alix.martin", ["administrator"], "0752387M")


def test_a_token_without_an_establishment_has_no_uai(signer: TokenSigner) -> None:
    token = signer.token("sasha.support", ["support"])

    assert "uai" not in verified(signer, token)


def test_an_expired_token_is_refused(signer: TokenSigner) -> None:
    token = signer.token("alix.martin", ["administrator"], ttl_seconds=-60)

    with pytest.raises(jwt.ExpiredSignatureError):
        verified(signer, token)


def test_any_claim_can_be_replaced_or_left_out(signer: TokenSigner) -> None:
    elsewhere = signer.token("alix.martin", ["administrator"], aud="another-product")
    nameless = signer.token("alix.martin", ["administrator"], sub=None)

    with pytest.raises(jwt.InvalidAudienceError):
        verified(signer, elsewhere)
    with pytest.raises(jwt.MissingRequiredClaimError):
        verified(signer, nameless)


def test_another_signers_token_is_refused(signer: TokenSigner) -> None:
    stranger = TokenSigner()
    token = stranger.token("alix.martin", ["operations"], iss=signer.issuer)

    with pytest.raises(jwt.PyJWKClientError):
        verified(signer, token)


def test_a_signer_answers_on_the_same_port_after_a_stop() -> None:
    signer = TokenSigner()
    signer.start()
    token = signer.token("alix.martin", ["platform"])

    signer.stop()
    signer.start()

    assert verified(signer, token)["sub"] == "alix.martin"
    signer.stop()
