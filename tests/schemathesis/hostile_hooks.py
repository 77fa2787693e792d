"""What schemathesis needs to know of these services: who may ask what."""

import json
import os
from itertools import cycle
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import AuthContext, Case

_BY_ROLE: dict[str, list[str]] = json.loads(Path(os.environ["CPRO_TOKENS"]).read_text())
_TOKENS = {role: cycle(tokens) for role, tokens in _BY_ROLE.items()}


@schemathesis.auth(refresh_interval=None)
class ByRole:
    """Somebody whom the operation lets in (`x-roles`). One of many, so that nobody is slowed down for asking often."""

    def get(self, _case: Case[Any], context: AuthContext) -> str:
        """A token."""
        roles = context.operation.definition.raw["x-roles"]
        return next(_TOKENS[next(role for role in _TOKENS if role in roles)])

    def set(self, case: Case[Any], data: str, _context: AuthContext) -> None:
        """Send it."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.serializer("application/zip", "image/png", "image/jpeg", "image/webp")
def as_bytes(_context: Any, value: Any) -> bytes:
    """The text that stands for a file in an example, as bytes: a file that is none, which is refused."""
    return value if isinstance(value, bytes) else str(value).encode()
