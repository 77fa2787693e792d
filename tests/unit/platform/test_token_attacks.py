"""Forged, bent and borrowed tokens: each is refused as `token_invalid`, and none of them makes us fetch what it names."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cpro_platform.auth import IssuerUnavailableError
from cpro_platform.clock import SettableClock
from cpro_platform.errors import RefusedError
from cpro_test_support.oidc_issuer import Issuer

_NOW = datetime(2026, 9, 1, 8, tzinfo=UTC)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(SettableClock(_NOW))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _signing_input(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))


def _signed(issuer: Issuer, *, key: str = "first", claims: dict[str, Any] | None = None, **header: Any) -> str:
    """A token with the right signature, whatever its header says."""
    text = _signing_input({"alg": "RS256", "kid": "first", "typ": "JWT"} | header, claims or issuer.claims())
    return f"{text}.{_base64(_rsa_signature(issuer.keys[key], text))}"


def _rsa_signature(key: rsa.RSAPrivateKey, text: str) -> bytes:
    return jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(text.encode(), key)


def _hmac_signed(issuer: Issuer, secret: bytes) -> str:
    text = _signing_input({"alg": "HS256", "kid": "first", "typ": "JWT"}, issuer.claims())
    return f"{text}.{_base64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _public(issuer: Issuer, encoding: serialization.Encoding) -> bytes:
    return issuer.keys["first"].public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _with_its_own_key(issuer: Issuer) -> str:
    """Signed by the attacker, who sends the public key along in the header."""
    attacker = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(attacker.public_key()))
    text = _signing_input({"alg": "RS256", "typ": "JWT", "jwk": own, "jku": "http://attacker.test"}, issuer.claims())
    return f"{text}.{_base64(_rsa_signature(attacker, text))}"


def _for(issuer: Issuer, **changed: Any) -> str:
    return issuer.token(**changed)


def _in(span: timedelta) -> int:
    return int((_NOW + span).timestamp())


ATTACKS: dict[str, Callable[[Issuer], str]] = {
    "alg none": lambda i: _signing_input({"alg": "none", "kid": "first"}, i.claims()) + ".",
    "alg None, in other letters": lambda i: _signing_input({"alg": "nOnE", "kid": "first"}, i.claims()) + ".",
    "alg none with the signature of another token": lambda i: (
        _signing_input({"alg": "none", "kid": "first"}, i.claims()) + "." + i.token().rsplit(".", 1)[1]
    ),
    "no alg": lambda i: _signing_input({"kid": "first"}, i.claims()) + ".",
    "alg a list": lambda i: _signed(i, alg=["RS256"]),
    "HS256 with the public key as PEM": lambda i: _hmac_signed(i, _public(i, serialization.Encoding.PEM)),
    "HS256 with the public key as DER": lambda i: _hmac_signed(i, _public(i, serialization.Encoding.DER)),
    "HS256 with the published key's text": lambda i: _hmac_signed(i, json.dumps(i.public_keys()[0]).encode()),
    "HS256 with an empty secret": lambda i: _hmac_signed(i, b""),
    "ES256 with an RSA key": lambda i: _signed(i, alg="ES256"),
    "PS256 where the key is for RS256": lambda i: _signed(i, alg="PS256"),
    "signature removed": lambda i: i.token().rsplit(".", 1)[0] + ".",
    "signature cut": lambda i: i.token()[:-20],
    "claims exchanged": lambda i: ".".join(
        (i.token().split(".")[0], i.token(uai="0750680G").split(".")[1], i.token().split(".")[2])
    ),
    "its own key in the header": _with_its_own_key,
    "typ of a logout token": lambda i: _signed(i, typ="logout+jwt"),
    "typ of a security event": lambda i: _signed(i, typ="secevent+jwt"),
    "typ a number": lambda i: _signed(i, typ=1),
    "an unknown critical extension": lambda i: _signed(i, crit=["of_tomorrow"], of_tomorrow=1),
    "crit of an unencoded payload": lambda i: _signed(i, crit=["b64"], b64=True),
    "crit empty": lambda i: _signed(i, crit=[]),
    "kid a path": lambda i: _signed(i, kid="../../../../dev/null"),
    "kid an injection": lambda i: _signed(i, kid="first' OR '1'='1"),
    "kid a number": lambda i: _signed(i, kid=1),
    "kid a list": lambda i: _signed(i, kid=["first"]),
    "kid an object": lambda i: _signed(i, kid={"kid": "first"}),
    "kid of another key": lambda i: _signed(i, kid="second"),
    "another issuer": lambda i: _for(i, iss="http://issuer.test.attacker.test"),
    "the issuer with a slash more": lambda i: _for(i, iss="http://issuer.test/"),
    "no issuer": lambda i: _for(i, iss=None),
    "another audience": lambda i: _for(i, aud="another"),
    "a list of other audiences": lambda i: _for(i, aud=["another", "cpro-"]),
    "no audience": lambda i: _for(i, aud=None),
    "no exp": lambda i: _for(i, exp=None),
    "exp a text": lambda i: _for(i, exp="never"),
    "exp infinite": lambda i: _for(i, exp=float("inf")),
    "expired": lambda i: i.expired_token(),
    "no iat": lambda i: _for(i, iat=None),
    "made in the future": lambda i: _for(i, iat=_in(timedelta(minutes=5)), exp=_in(timedelta(minutes=10))),
    "valid in the future": lambda i: _for(i, nbf=_in(timedelta(minutes=5))),
    "valid for a year": lambda i: _for(i, exp=_in(timedelta(days=365))),
    "no subject": lambda i: _for(i, sub=None),
    "longer than any of ours": lambda i: _for(i, padding="x" * 9000),
    "an empty text": lambda _: "",
    "dots": lambda _: "..",
    "an encrypted token": lambda i: i.token() + ".aaaa.bbbb",
    "a header that is a list": lambda _: _base64(b"[]") + "." + _base64(b"{}") + ".",
    "a header of nested lists": lambda _: _base64(b"[" * 4000) + "." + _base64(b"{}") + ".",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_forged_token_is_refused(issuer: Issuer, attack: str) -> None:
    issuer.add_key("second")
    forged = ATTACKS[attack](issuer)

    with pytest.raises(RefusedError) as refused:
        await issuer.authenticator().authenticate(forged)

    assert refused.value.problem.code == "token_invalid"
    assert set(issuer.asked) <= {"/.well-known/openid-configuration", "/jwks.json"}


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+JWT"])
async def test_the_kinds_of_an_access_token_are_accepted(issuer: Issuer, kind: str) -> None:
    assert await issuer.authenticator().authenticate(_signed(issuer, typ=kind))


async def test_a_key_too_short_to_be_safe_is_not_used(issuer: Issuer) -> None:
    issuer.keys["first"] = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    token = _signed(issuer)

    with pytest.raises(RefusedError):
        await issuer.authenticator().authenticate(token)


async def test_a_key_for_encryption_signs_nothing(issuer: Issuer) -> None:
    issuer.use = "enc"

    with pytest.raises(RefusedError):
        await issuer.authenticator().authenticate(issuer.token())


async def test_a_key_that_was_taken_back_stops_serving_when_the_keys_are_fetched_again(issuer: Issuer) -> None:
    issuer.add_key("second")
    authenticator = issuer.authenticator(keys_lifetime_seconds=600)
    await authenticator.authenticate(issuer.token())
    stolen = _signed(issuer, key="first", claims=issuer.claims(exp=_in(timedelta(hours=1))))

    del issuer.keys["first"]
    issuer.clock.advance(timedelta(seconds=601))

    with pytest.raises(RefusedError):
        await authenticator.authenticate(stolen)


async def test_a_discovery_document_of_another_issuer_is_not_believed(issuer: Issuer) -> None:
    issuer.says_it_is = "http://another.test"

    with pytest.raises(IssuerUnavailableError):
        await issuer.authenticator().authenticate(issuer.token())


async def test_the_keys_of_a_secure_issuer_are_never_fetched_in_clear(issuer: Issuer) -> None:
    issuer.says_it_is = "https://issuer.test"

    with pytest.raises(IssuerUnavailableError):
        await issuer.authenticator(issuer="https://issuer.test").authenticate(issuer.token())

    assert "/jwks.json" not in issuer.asked


@pytest.mark.parametrize(("seconds", "accepted"), [(29, True), (31, False)])
async def test_the_leeway_is_what_the_setting_says_on_both_ends(issuer: Issuer, seconds: int, accepted: bool) -> None:
    late = issuer.token(exp=_in(-timedelta(seconds=seconds)))
    early = issuer.token(nbf=_in(timedelta(seconds=seconds)))

    for token in (late, early):
        try:
            await issuer.authenticator(leeway_seconds=30).authenticate(token)
        except RefusedError:
            assert not accepted
        else:
            assert accepted
