"""Who is calling, and what they may do: bearer tokens of an OpenID Connect issuer, roles, and the UAI in the path.

Denied by default: `http.create_app` refuses to start with a route below `/v1` that declares no access rule.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any

import httpx
import jwt
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cpro_contracts import problems
from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_platform.clock import Clock
from cpro_platform.config import OidcSettings
from cpro_platform.errors import RefusedError, RetryableError
from cpro_platform.rate_limits import RateLimiter, RouteClass

_KEY_TYPE_OF = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
"""The algorithms accepted, each with the only kind of key it may use. `none` and HS* are not among them."""

_ACCESS_TOKEN_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
"""What `typ` may say, where it says anything: an issuer signs logout tokens and events with the same key."""

_MAX_TOKEN_CHARACTERS = 8192
"""A longer token is refused before anything in it is read. Ours have some 900."""

_jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})

MALFORMED_UAI = {
    "fr": "Un code UAI compte sept chiffres suivis de la lettre de contrôle qui leur correspond.",
    "en": "A UAI has seven digits followed by the control letter that they call for.",
}


class Role(StrEnum):
    """What a caller is, as the token's `roles` says."""

    ADMINISTRATOR = "administrator"
    """Of the one establishment in the token's `uai`."""
    SUPPORT = "support"
    OPERATIONS = "operations"
    PLATFORM = "platform"
    """The CPro core application: reads every sheet and image, nothing else."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: the token's subject, roles, and the establishment it is bound to."""

    subject: str
    roles: frozenset[Role]
    uai: str | None

    def may_act_for(self, uai: str | None, allowed: frozenset[Role]) -> bool:
        """Whether one of the roles is allowed here. That of administrator counts only in their own establishment."""
        effective = self.roles & allowed
        if uai is None or uai != self.uai:
            effective -= {Role.ADMINISTRATOR}
        return bool(effective)


class IssuerUnavailableError(RetryableError):
    """The keys of the token issuer can't be had now."""


class SigningKeys:
    """The issuer's public keys: fetched when needed, cached, and fetched again when a token names an unknown one."""

    def __init__(self, settings: OidcSettings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport
        self._stale = timedelta(seconds=settings.stale_keys_seconds)
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._fetching = asyncio.Lock()

    async def find(self, kid: str | None) -> Sequence[Mapping[str, Any]]:
        """The keys that `kid` names, all of them where the token names none; empty if there is no such key.

        Raises:
            IssuerUnavailableError: no key was ever fetched, or the last ones are too old, and the issuer is away.
        """
        if not self._within(self._fetched_at, timedelta(seconds=self._settings.keys_lifetime_seconds)):
            await self._refresh()
        found = self._named(kid)
        if not found:
            await self._refresh()
            found = self._named(kid)
        return found

    def _named(self, kid: str | None) -> Sequence[Mapping[str, Any]]:
        return [key for key in self._keys if kid is None or key.get("kid") == kid]

    def _within(self, since: datetime | None, span: timedelta) -> bool:
        return since is not None and self._clock.now() - since < span

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried a moment ago; keep the old ones for a while if it fails."""
        async with self._fetching:
            if not self._within(self._tried_at, timedelta(seconds=self._settings.refetch_interval_seconds)):
                self._tried_at = self._clock.now()
                try:
                    self._keys = await self._fetch()
                    self._fetched_at = self._tried_at
                except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                    if not self._within(self._fetched_at, self._stale):
                        raise IssuerUnavailableError(type(error).__name__) from error
            if not self._within(self._fetched_at, self._stale):
                raise IssuerUnavailableError("the last attempt failed a moment ago")

    async def _fetch(self) -> Sequence[Mapping[str, Any]]:
        settings = self._settings
        async with httpx.AsyncClient(timeout=settings.fetch_timeout_seconds, transport=self._transport) as client:
            url = settings.jwks_url or await self._discover(client)
            answer = (await client.get(url)).raise_for_status().json()
        return [key for key in answer["keys"] if isinstance(key, dict) and key.get("use", "sig") == "sig"]

    async def _discover(self, client: httpx.AsyncClient) -> str:
        issuer = self._settings.issuer
        document = (await client.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")).raise_for_status()
        found = document.json()
        if found["issuer"] != issuer:
            raise ValueError("the discovery document is another issuer's")
        if issuer.startswith("https:") and not str(found["jwks_uri"]).startswith("https:"):
            raise ValueError("the keys would come over a connection that anyone can change")
        return str(found["jwks_uri"])


class Authenticator:
    """Turns a bearer token into a principal, or refuses it."""

    def __init__(self, settings: OidcSettings, clock: Clock, keys: SigningKeys | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = keys or SigningKeys(settings, clock)

    async def authenticate(self, token: str) -> Principal:
        """The principal of a valid token.

        Raises:
            RefusedError: `token_invalid`: form, algorithm, signature, issuer, audience or times are wrong.
            IssuerUnavailableError: the issuer's keys can't be had.
        """
        try:
            if len(token) > _MAX_TOKEN_CHARACTERS:
                raise jwt.DecodeError("too long")
            header = jwt.get_unverified_header(token)
            return self._principal(await self._claims(token, _accepted_algorithm(header), header.get("kid")))
        except jwt.PyJWTError as error:
            raise _token_refused(error) from error

    async def _claims(self, token: str, algorithm: str, kid: str | None) -> dict[str, Any]:
        for key in await self._keys.find(kid):
            if key.get("kty") == _KEY_TYPE_OF[algorithm] and key.get("alg", algorithm) == algorithm:
                try:
                    return self._verified(token, algorithm, key)
                except jwt.InvalidSignatureError:
                    continue  # a token that names no key may be signed by the next one
        raise jwt.InvalidSignatureError("signed by none of the issuer's keys")

    def _verified(self, token: str, algorithm: str, key: Mapping[str, Any]) -> dict[str, Any]:
        claims: dict[str, Any] = _jwt.decode(
            token,
            jwt.PyJWK(dict(key), algorithm),
            algorithms=[algorithm],
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            # The times are checked below, against our clock.
            options={
                "require": ["exp", "iat", "sub"], "verify_exp": False, "verify_nbf": False, "verify_iat": False,
            },
        )  # fmt: skip
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now, leeway = self._clock.now().timestamp(), self._settings.leeway_seconds
        if _seconds(claims, "exp") <= now - leeway:
            raise jwt.ExpiredSignatureError("expired")
        if _seconds(claims, "exp") - _seconds(claims, "iat") > self._settings.max_token_lifetime_seconds:
            raise jwt.InvalidTokenError("valid for too long")
        if _seconds(claims, "iat") > now + leeway or ("nbf" in claims and _seconds(claims, "nbf") > now + leeway):
            raise jwt.ImmatureSignatureError("not valid yet")

    @staticmethod
    def _principal(claims: Mapping[str, Any]) -> Principal:
        named, uai = claims.get("roles", []), claims.get("uai")
        if not isinstance(named, list) or not (uai is None or isinstance(uai, str)):
            raise jwt.InvalidTokenError("roles or uai malformed")
        try:
            bound_to = parse_uai(uai) if uai is not None else None
        except MalformedUaiError:
            raise jwt.InvalidTokenError("uai malformed") from None
        roles = frozenset(Role(name) for name in named if name in set(Role))
        return Principal(str(claims["sub"]), roles, bound_to)


_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="Jeton d'accès OpenID Connect")


class AccessRule:
    """A FastAPI dependency that lets in a caller with one of some roles, and returns the principal.

    Where the path has a `uai`, an administrator gets in only if the token is bound to that establishment.
    """

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset(roles)

    async def __call__(
        self, request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Principal:
        """The principal.

        Raises:
            RefusedError: 401 without a valid token, 422 with a malformed UAI in the path, 403 without the right, 429
                when the caller asks too often.
        """
        if credentials is None:
            raise RefusedError(
                problems.UNAUTHENTICATED,
                "Présentez un jeton d'accès dans l'en-tête Authorization.",
                "Send an access token in the Authorization header.",
            )
        authenticator: Authenticator = request.app.state.authenticator
        principal = await authenticator.authenticate(credentials.credentials)
        _refuse_too_many(request, principal)
        uai = _uai_in_path(request)
        if not principal.may_act_for(uai, self.roles):
            raise RefusedError(
                problems.FORBIDDEN,
                "Votre profil ne donne pas accès à cette ressource.",
                "Your role gives no access to this resource.",
            )
        return principal


def any_of(*roles: Role) -> AccessRule:
    """Any of these roles; that of administrator only in their own establishment."""
    return AccessRule(*roles)


administrator_of = any_of(Role.ADMINISTRATOR)
support = any_of(Role.SUPPORT)
operations = any_of(Role.OPERATIONS)
platform_or_administrator = any_of(Role.PLATFORM, Role.ADMINISTRATOR)

AdministratorOf = Annotated[Principal, Depends(administrator_of)]
"""The administrator of the establishment whose `{uai}` is in the path."""
Support = Annotated[Principal, Depends(support)]
PlatformOrAdministrator = Annotated[Principal, Depends(platform_or_administrator)]


def _refuse_too_many(request: Request, principal: Principal) -> None:
    """Before the right is looked at: whoever tries one school after another is slowed down as well."""
    limiter: RateLimiter = request.app.state.rate_limiter
    seconds = limiter.take(f"{principal.subject} {principal.uai}", _class_of(request))
    if seconds:
        raise RefusedError(
            problems.TOO_MANY_REQUESTS,
            f"Trop de requêtes ont été envoyées en peu de temps. Réessayez dans {seconds} s.",
            f"Too many requests were sent in a short time. Try again in {seconds} s.",
            retry_after_seconds=seconds,
        )


def _class_of(request: Request) -> RouteClass:
    if request.method in {"GET", "HEAD"}:
        return RouteClass.READ
    # A route that takes files sets its own limit of size.
    takes_files = getattr(request.scope.get("route"), "max_body_size", None) is not None
    return RouteClass.UPLOAD if takes_files else RouteClass.WRITE


def _uai_in_path(request: Request) -> str | None:
    raw = request.path_params.get("uai")
    return None if raw is None else checked_uai(raw)


def checked_uai(raw: str) -> str:
    """The UAI that a caller has written, wherever it is in the request.

    Raises:
        RefusedError: `invalid_uai`.
    """
    try:
        return parse_uai(raw)
    except MalformedUaiError:
        raise RefusedError(problems.INVALID_UAI, MALFORMED_UAI["fr"], MALFORMED_UAI["en"]) from None


def _accepted_algorithm(header: Mapping[str, Any]) -> str:
    """The algorithm that a token's header names.

    Only `alg`, `kid` and `typ` are read: keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) count for nothing,
    and what it calls critical (`crit`) is nothing that we know, so it is refused.

    Raises:
        jwt.PyJWTError: the header is not that of an access token.
    """
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in _KEY_TYPE_OF:
        raise jwt.InvalidAlgorithmError("algorithm not accepted")
    if not isinstance(kind, str) or kind.lower() not in _ACCESS_TOKEN_TYPES:
        raise jwt.InvalidTokenError("not an access token")
    if "crit" in header:
        raise jwt.InvalidTokenError("critical extensions are not understood")
    return algorithm


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise jwt.InvalidTokenError(f"{name} is not a number")
    return float(value)


def _token_refused(error: jwt.PyJWTError) -> RefusedError:
    if isinstance(error, jwt.ExpiredSignatureError):
        return RefusedError(problems.TOKEN_INVALID, "Le jeton d'accès a expiré.", "The access token has expired.")
    return RefusedError(problems.TOKEN_INVALID, "Le jeton d'accès n'est pas valable.", "The access token is not valid.")
