"""Idempotency keys: a request that its sender repeats has its effect once, and the same answer each time.

The sender makes up a key for each thing that it wants done (`Idempotency-Key`, as the IETF's
draft-ietf-httpapi-idempotency-key-header-07 has it) and sends it again with every repetition. The answer is kept in the
service's own database **in the transaction of the effect**, so there is no moment at which one is there without the
other: who is killed before the commit has done nothing and kept nothing, who is killed after it has done it, and the
repetition finds the answer.

Two at once under one key take turns, on a lock that ends with its transaction: a process that dies leaves no key taken.
Only what succeeded is kept. A refusal had no effect, so its transaction is rolled back with the key in it, and the same
request may be asked again when what stood in its way is gone.

A key belongs to its caller and stands for one request. Of both only digests are stored: a key is its sender's own text.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb

from cpro_contracts import problems
from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_platform.errors import RefusedError

KEPT = timedelta(hours=24)
"""So long a repetition gets the answer; afterwards the key is as good as new."""
WAIT_SECONDS = 2
"""So long one waits for another under the same key before it is told to come back."""
RETRY_AFTER_SECONDS = 1
_FORGOTTEN_AT_ONCE = 20

TABLE = """
CREATE TABLE kept_answer (
    id bytea PRIMARY KEY,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX kept_answer_expires_at ON kept_answer (expires_at);
"""
"""For the migration of a service whose routes take keys. Shipped once: a change is another migration's."""

_TAKE_TURN = "SELECT pg_advisory_xact_lock(%s)"
_FIND = "SELECT fingerprint, status, headers, body FROM kept_answer WHERE id = %s AND expires_at > %s"
_KEEP = """
INSERT INTO kept_answer (id, fingerprint, status, headers, body, expires_at)
VALUES (%(id)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s, %(expires_at)s)
ON CONFLICT (id) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, status = EXCLUDED.status,
    headers = EXCLUDED.headers, body = EXCLUDED.body, expires_at = EXCLUDED.expires_at
"""
# More than one goes for each that comes, so they can't pile up; those that another is removing are its business.
_FORGET = """
DELETE FROM kept_answer WHERE id IN (
    SELECT id FROM kept_answer WHERE expires_at <= %s ORDER BY expires_at LIMIT %s FOR UPDATE SKIP LOCKED
)
"""


_FORGET_ALL = "DELETE FROM kept_answer WHERE expires_at <= %s"


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request and the key under which its sender may repeat it. `content` is all that makes it this request."""

    caller: str
    key: str
    content: tuple[bytes, ...]

    @property
    def id(self) -> bytes:
        """Of the key, as its caller's."""
        return _digest(self.caller.encode(), self.key.encode())

    @property
    def fingerprint(self) -> bytes:
        """The same for the same request, and for no other."""
        return _digest(*self.content)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets, to the byte."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class KeptAnswers:
    """The answers that a service has given under keys, in its own database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def once(self, request: KeyedRequest, act: Callable[[], Awaitable[Answer]]) -> Answer:
        """Act and keep the answer, or give the one that was kept.

        All that `act` does in this database is one transaction with the answer: it must not need a part of it to be
        committed earlier. What it raises is kept from nobody: nothing was done, and nothing is kept.

        Raises:
            RefusedError: 422 when the key stands for another request, 409 when that request is still being handled.
        """
        async with self._database.one_transaction() as tx:
            await _take_turn(tx, request.id)
            now = self._clock.now()
            kept = await _find(tx, request, now)
            if kept is not None:
                return kept
            answer = await act()
            await _keep(tx, request, answer, now)
            crash_points.reach("answer.keeping")
        crash_points.reach("answer.kept")
        return answer

    async def forget_expired(self) -> int:
        """Delete the answers whose time is over, where no new one comes to do it. Returns how many."""
        async with self._database.begin() as tx:
            return (await tx.execute(_FORGET_ALL, (self._clock.now(),))).rowcount


async def _take_turn(tx: Connection, request_id: bytes) -> None:
    await tx.execute(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
    try:
        await tx.execute(_TAKE_TURN, (int.from_bytes(request_id[:8], signed=True),))
    except LockNotAvailable:
        raise RefusedError(
            problems.IDEMPOTENCY_KEY_IN_USE,
            "Une requête avec cette clé est en cours ; répétez la vôtre dans un instant, sa réponse sera la même.",
            "A request with this key is being handled; repeat yours in a moment, it gets the same answer.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        ) from None
    await tx.execute("SET LOCAL lock_timeout TO DEFAULT")


async def _find(tx: Connection, request: KeyedRequest, now: datetime) -> Answer | None:
    row = await (await tx.execute(_FIND, (request.id, now))).fetchone()
    if row is None:
        return None
    fingerprint, status, headers, body = row
    if fingerprint != request.fingerprint:
        raise RefusedError(
            problems.IDEMPOTENCY_KEY_REUSED,
            "Cette clé a déjà servi pour une autre requête ; prenez-en une nouvelle pour chaque nouvelle demande.",
            "This key was already used for another request; take a new one for each new thing that you ask.",
        )
    return Answer(status, body, headers)


async def _keep(tx: Connection, request: KeyedRequest, answer: Answer, now: datetime) -> None:
    await tx.execute(_FORGET, (now, _FORGOTTEN_AT_ONCE))
    await tx.execute(
        _KEEP,
        {
            "id": request.id,
            "fingerprint": request.fingerprint,
            "status": answer.status,
            "headers": Jsonb(dict(answer.headers)),
            "body": answer.body,
            "expires_at": now + KEPT,
        },
    )


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        # With its length, so that no two lists of parts are one text.
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()
