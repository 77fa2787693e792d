"""An OpenID provider's two public documents, and the tokens that go with them."""

import json
import threading
import time
import uuid
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from cpro_embedded.ports import LOCALHOST, free_ports

AUDIENCE = "cpro-parametres"
ALGORITHM = "RS256"


class TokenSigner:
    """Signs tokens with a key made at construction and publishes the public half; for local use only."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = uuid.uuid4().hex
        (self.port,) = free_ports(1)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def issuer(self) -> str:
        """The tokens' `iss`; the two documents are below it."""
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def jwks_url(self) -> str:
        """Where the public key is published."""
        return f"{self.issuer}/jwks.json"

    def start(self) -> None:
        """Answer on the port chosen at construction; does nothing when it does already."""
        if self._server is not None:
            return
        self._server = ThreadingHTTPServer((LOCALHOST, self.port), _handler(self._documents()))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="token-signer", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; the key stays, so tokens already signed are good again after a start."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def token(
        self, subject: str, roles: Sequence[str], uai: str | None = None, ttl_seconds: int = 3600, **overrides: Any
    ) -> str:
        """A signed bearer token.

        Args:
            subject: Who it speaks for (`sub`).
            roles: Of administrator, support, operations, platform.
            uai: The establishment that an administrator belongs to.
            ttl_seconds: Seconds until it expires; negative for one that has expired already.
            overrides: Claims to replace or add; a claim given as None is left out.
        """
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "nbf": now,
            "exp": now + ttl_seconds,
            "jti": uuid.uuid4().hex,
            "roles": list(roles),
            "uai": uai,
        } | overrides
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})

    def _documents(self) -> dict[str, bytes]:
        public = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        configuration = {
            "issuer": self.issuer,
            "jwks_uri": self.jwks_url,
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
        }
        key_set = {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": ALGORITHM}]}
        return {
            "/.well-known/openid-configuration": json.dumps(configuration).encode(),
            "/jwks.json": json.dumps(key_set).encode(),
        }


def _handler(documents: dict[str, bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = documents.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Quiet: one line a request on stderr is no use to anyone."""

    return Handler
