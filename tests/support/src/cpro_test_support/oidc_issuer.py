"""An OpenID Connect issuer in memory, whose keys and tokens a test can shape at will."""

import json
from datetime import timedelta
from functools import cache
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from cpro_platform.auth import Authenticator, SigningKeys
from cpro_platform.clock import SettableClock
from cpro_platform.config import OidcSettings

ISSUER = "http://issuer.test"
AUDIENCE = "cpro"


class Issuer:
    """Publishes its keys and counts how often they were asked for."""

    def __init__(self, clock: SettableClock) -> None:
        self.clock = clock
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.fetches = 0
        self.away = False
        self.use = "sig"
        self.says_it_is = ISSUER
        self.asked: list[str] = []
        self.add_key("first")

    def add_key(self, kid: str) -> None:
        self.keys[kid] = _key_of(kid)

    def authenticator(self, **settings: Any) -> Authenticator:
        oidc = OidcSettings(**({"issuer": ISSUER, "audience": AUDIENCE} | settings))
        return Authenticator(oidc, self.clock, SigningKeys(oidc, self.clock, httpx.MockTransport(self._answer)))

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(self.clock.now().timestamp())
        usual = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "someone", "iat": now, "exp": now + 300,
            "roles": ["administrator"], "uai": "0752387M",
        }  # fmt: skip
        return {name: value for name, value in (usual | changed).items() if value is not None}

    def token(self, kid: str | None = "first", *, signed_by: str = "first", **changed: Any) -> str:
        headers = {"kid": kid} if kid else None
        return jwt.encode(self.claims(**changed), self.keys[signed_by], "RS256", headers=headers)

    def expired_token(self) -> str:
        return self.token(exp=int((self.clock.now() - timedelta(minutes=5)).timestamp()))

    def public_keys(self) -> list[dict[str, Any]]:
        made = ((kid, jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) for kid, key in self.keys.items())
        return [json.loads(text) | {"kid": kid, "use": self.use, "alg": "RS256"} for kid, text in made]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("away")
        self.asked.append(request.url.path)
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"issuer": self.says_it_is, "jwks_uri": f"{ISSUER}/jwks.json"})
        self.fetches += 1
        return httpx.Response(200, json={"keys": self.public_keys()})


@cache
def _key_of(_kid: str) -> rsa.RSAPrivateKey:
    """Made once: a key takes longer to make than most tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
