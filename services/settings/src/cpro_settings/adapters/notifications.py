"""Preferences, news and mails in the service's own database."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

from psycopg.rows import class_row

from cpro_platform.database import Connection, Database
from cpro_settings.domain.notifications import (
    MAILS_KEPT,
    NEWS_AGE,
    NEWS_KEPT,
    Mail,
    MailReport,
    MailState,
    News,
    Outcome,
    Postponed,
    Preference,
    Refused,
    Round,
    Sent,
    Standing,
    Undone,
)

_MAKE = "INSERT INTO notification_preference (uai) VALUES (%s) ON CONFLICT DO NOTHING"
_LOCK = "SELECT 1 FROM notification_preference WHERE uai = %s FOR NO KEY UPDATE"
_FIND = """
SELECT coalesce(p.enabled, false), coalesce(p.version, 0), p.enabled_since, p.changed_at, p.changed_by,
       s.email, p.refused_address, p.refused_with
FROM (SELECT %(uai)s::text AS uai) asked
LEFT JOIN notification_preference p USING (uai) LEFT JOIN establishment_sheet s USING (uai)
"""
_SAVE = """
UPDATE notification_preference SET enabled = %(enabled)s, version = %(version)s, enabled_since = %(enabled_since)s,
    changed_at = %(changed_at)s, changed_by = %(changed_by)s, refused_address = NULL, refused_with = NULL
WHERE uai = %(uai)s
"""
_REPORTS = """
SELECT id, day, state, recipient, incoming, outgoing, attempts, formed_at, settled_at,
       CASE WHEN state = 'waiting' THEN due_at END AS tried_again_at, reply
FROM notification_mail
WHERE uai = %(uai)s AND (%(formed_at)s::timestamptz IS NULL OR (formed_at, id) < (%(formed_at)s, %(id)s::uuid))
ORDER BY formed_at DESC, id DESC LIMIT %(limit)s
"""

# An undoing that is noted before the completion that it undoes keeps it from being noted; what a mail that is not yet
# sent would have told is taken out of it.
_NOTE_UNDONE = """
INSERT INTO notification_undone (transfer_id, undone_at)
SELECT transfer_id, max(undone_at)
FROM unnest(%(ids)s::uuid[], %(times)s::timestamptz[]) AS said (transfer_id, undone_at)
GROUP BY transfer_id
ON CONFLICT (transfer_id) DO UPDATE SET undone_at = greatest(notification_undone.undone_at, excluded.undone_at)
"""
_TAKE_BACK = """
DELETE FROM notification_news n USING notification_undone u
WHERE u.transfer_id = n.transfer_id AND u.transfer_id = ANY (%(ids)s) AND u.undone_at >= n.completed_at
  AND NOT EXISTS (SELECT FROM notification_mail m WHERE m.id = n.mail_id AND m.state = 'sent')
"""
_NOTE_NEWS = """
INSERT INTO notification_news (transfer_id, uai, direction, completed_at)
SELECT said.transfer_id, said.uai, said.direction, said.completed_at
FROM unnest(%(ids)s::uuid[], %(uais)s::text[], %(directions)s::text[], %(times)s::timestamptz[])
    AS said (transfer_id, uai, direction, completed_at)
JOIN notification_preference p USING (uai)
WHERE p.enabled AND said.completed_at >= p.enabled_since AND said.completed_at >= %(oldest)s
  AND NOT EXISTS (SELECT FROM notification_undone u
                  WHERE u.transfer_id = said.transfer_id AND u.undone_at >= said.completed_at)
ON CONFLICT DO NOTHING
"""

_FORM = """
INSERT INTO notification_mail (id, uai, day, formed_at, due_at)
SELECT gen_random_uuid(), p.uai, %(day)s, %(now)s, %(now)s
FROM notification_preference p JOIN establishment_sheet s USING (uai)
WHERE p.enabled AND s.email IS NOT NULL AND s.email IS DISTINCT FROM p.refused_address
  AND EXISTS (SELECT FROM notification_news n WHERE n.uai = p.uai AND n.mail_id IS NULL
              AND n.completed_at < %(told_until)s AND n.completed_at >= p.enabled_since)
  AND NOT EXISTS (SELECT FROM notification_mail m WHERE m.uai = p.uai
                  AND (m.state = 'waiting' OR (m.state = 'sent' AND m.day >= %(day)s)))
ON CONFLICT DO NOTHING
"""
_DUE = """
state = 'waiting' AND due_at <= %(now)s AND (claimed_until IS NULL OR claimed_until <= %(now)s)
"""
_ANY_DUE = f"SELECT EXISTS (SELECT FROM notification_mail WHERE {_DUE})"
_TAKE = f"""
SELECT m.id, m.uai, m.in_doubt, p.enabled, s.email
FROM notification_mail m JOIN notification_preference p USING (uai) LEFT JOIN establishment_sheet s USING (uai)
WHERE {_DUE} ORDER BY due_at LIMIT 1 FOR UPDATE OF m SKIP LOCKED
"""
_TELL_MORE = """
UPDATE notification_news n SET mail_id = %(id)s FROM notification_preference p
WHERE n.uai = %(uai)s AND p.uai = n.uai AND n.mail_id IS NULL
  AND n.completed_at < %(told_until)s AND n.completed_at >= p.enabled_since
"""
_CLAIM = """
UPDATE notification_mail m
SET claim = %(claim)s, claimed_until = %(until)s, attempts = attempts + 1, in_doubt = true, recipient = %(email)s,
    day = greatest(day, %(day)s), incoming = told.incoming, outgoing = told.outgoing
FROM (SELECT count(*) FILTER (WHERE direction = 'incoming') AS incoming,
             count(*) FILTER (WHERE direction = 'outgoing') AS outgoing
      FROM notification_news n JOIN notification_preference p USING (uai)
      WHERE n.mail_id = %(id)s AND n.completed_at >= p.enabled_since) told
WHERE m.id = %(id)s AND told.incoming + told.outgoing > 0
RETURNING m.id, m.claim, m.uai, (SELECT name FROM establishment_sheet s WHERE s.uai = m.uai) AS name, m.recipient,
    m.incoming, m.outgoing, m.formed_at, m.attempts, %(doubted_before)s AS doubted_before
"""
_LET_GO = "UPDATE notification_news SET mail_id = NULL WHERE mail_id = %(id)s"
_DROP = """
UPDATE notification_mail SET state = 'dropped', settled_at = %(now)s, claim = NULL, claimed_until = NULL,
    incoming = 0, outgoing = 0
WHERE id = %(id)s
"""
_SETTLE = """
UPDATE notification_mail
SET state = %(state)s, reply = %(reply)s, in_doubt = %(in_doubt)s, claim = NULL, claimed_until = NULL,
    settled_at = CASE WHEN %(state)s = 'waiting' THEN NULL ELSE %(now)s END, due_at = %(again_at)s
WHERE id = %(id)s AND claim = %(claim)s
"""
_NOTE_REFUSAL = """
UPDATE notification_preference SET refused_address = %(recipient)s, refused_with = %(reply)s WHERE uai = %(uai)s
"""
_FORGET = (
    """DELETE FROM notification_news n WHERE n.completed_at < %(news)s
         AND (n.mail_id IS NULL OR EXISTS (SELECT FROM notification_mail m WHERE m.id = n.mail_id AND m.state = 'sent'))
         AND NOT EXISTS (SELECT FROM notification_preference p WHERE p.uai = n.uai AND n.mail_id IS NULL
                         AND p.enabled AND n.completed_at >= p.enabled_since)""",
    "DELETE FROM notification_undone WHERE undone_at < %(news)s",
    """DELETE FROM notification_mail m WHERE m.formed_at < %(mails)s AND m.state <> 'waiting'
         AND NOT EXISTS (SELECT FROM notification_news n WHERE n.mail_id = m.id)""",
)


class PostgresPreferenceChange:
    """Implements `ports.PreferenceChange`."""

    def __init__(self, tx: Connection, current: Standing) -> None:
        self.current = current
        self._tx = tx

    async def save(self, preference: Preference) -> None:
        values = {name: getattr(preference, name) for name in Preference.__slots__}
        await self._tx.execute(_SAVE, values)


class PostgresPreferences:
    """Implements `ports.Preferences`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, uai: str) -> Standing:
        async with self._database.begin() as tx:
            return await _standing(tx, uai)

    @asynccontextmanager
    async def changing(self, uai: str) -> AsyncIterator[PostgresPreferenceChange]:
        async with self._database.begin() as tx:
            await tx.execute(_MAKE, (uai,))
            await tx.execute(_LOCK, (uai,))
            yield PostgresPreferenceChange(tx, await _standing(tx, uai))

    async def mails(self, uai: str, *, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[MailReport]:
        formed_at, mail_id = before or (None, None)
        arguments = {"uai": uai, "formed_at": formed_at, "id": mail_id, "limit": limit}
        async with self._database.begin() as tx, tx.cursor(row_factory=class_row(MailReport)) as cursor:
            await cursor.execute(_REPORTS, arguments)
            return await cursor.fetchall()


class PostgresNewsDesk:
    """Implements `ports.NewsDesk`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_in(self, news: Sequence[News], undone: Sequence[Undone], now: datetime) -> None:
        async with self._database.begin() as tx:
            if undone:
                ids = [one.transfer_id for one in undone]
                await tx.execute(_NOTE_UNDONE, {"ids": ids, "times": [one.undone_at for one in undone]})
                await tx.execute(_TAKE_BACK, {"ids": ids})
            if news:
                columns = {
                    "ids": [one.transfer_id for one in news],
                    "uais": [one.uai for one in news],
                    "directions": [one.direction.value for one in news],
                    "times": [one.completed_at for one in news],
                }
                await tx.execute(_NOTE_NEWS, columns | {"oldest": now - NEWS_AGE})


class PostgresMails:
    """Implements `ports.Mails`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def form(self, round_: Round, now: datetime) -> int:
        async with self._database.begin() as tx:
            formed = await tx.execute(_FORM, {"day": round_.day, "told_until": round_.told_until, "now": now})
            return formed.rowcount

    async def due(self, now: datetime) -> bool:
        async with self._database.begin() as tx:
            row = await (await tx.execute(_ANY_DUE, {"now": now})).fetchone()
            return bool(row and row[0])

    async def claim(self, round_: Round, now: datetime, until: datetime) -> Mail | None:
        while True:
            async with self._database.begin() as tx:
                row = await (await tx.execute(_TAKE, {"now": now})).fetchone()
                if row is None:
                    return None
                mail_id, uai, in_doubt, enabled, email = row
                arguments = {
                    "id": mail_id, "uai": uai, "email": email, "day": round_.day, "told_until": round_.told_until,
                    "claim": uuid4(), "until": until, "now": now, "doubted_before": in_doubt,
                }  # fmt: skip
                if enabled and email is not None:
                    if not in_doubt:
                        await tx.execute(_TELL_MORE, arguments)
                    async with tx.cursor(row_factory=class_row(Mail)) as cursor:
                        mail = await (await cursor.execute(_CLAIM, arguments)).fetchone()
                    if mail:
                        return mail
                await tx.execute(_LET_GO, arguments)
                await tx.execute(_DROP, arguments)

    async def settle(self, mail: Mail, outcome: Outcome, now: datetime, again_at: datetime) -> bool:
        # A doubt stays: a later answer says nothing of the copy that may have arrived.
        in_doubt = isinstance(outcome, Postponed) and (outcome.in_doubt or mail.doubted_before)
        arguments = {
            "id": mail.id, "claim": mail.claim, "uai": mail.uai, "recipient": mail.recipient, "reply": outcome.reply,
            "state": _STATES[type(outcome)].value, "in_doubt": in_doubt,
            "now": now, "again_at": again_at,
        }  # fmt: skip
        async with self._database.begin() as tx:
            settled = (await tx.execute(_SETTLE, arguments)).rowcount == 1
            if settled and isinstance(outcome, Refused):
                await tx.execute(_LET_GO, arguments)
                await tx.execute(_NOTE_REFUSAL, arguments)
            return settled

    async def forget(self, now: datetime) -> None:
        limits = {"news": now - NEWS_KEPT, "mails": now - MAILS_KEPT}
        async with self._database.begin() as tx:
            for statement in _FORGET:
                await tx.execute(statement, limits)


_STATES = {Sent: MailState.SENT, Refused: MailState.REFUSED, Postponed: MailState.WAITING}


async def _standing(tx: Connection, uai: str) -> Standing:
    row = await (await tx.execute(_FIND, {"uai": uai})).fetchone()
    assert row is not None  # a row is asked for, whatever there is to join to it
    enabled, version, enabled_since, changed_at, changed_by, email, refused_address, refused_with = row
    preference = Preference(uai, enabled, version, enabled_since, changed_at, changed_by)
    return Standing(preference, email, refused_address, refused_with)
