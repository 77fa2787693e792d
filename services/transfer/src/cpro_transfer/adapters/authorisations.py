"""The authorisations in the transfer database: recorded, taken back, and chosen for by support.

Whoever changes what holds for a pupil first takes that pupil's place (an advisory lock): two who record at once find
each other's. Whoever ends or chooses locks the row, which is what the movers' gate locks too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cpro_contracts.transfers import Reason, TransferAuthorisationRevoked, TransferAuthorised
from cpro_platform import outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection, Database
from cpro_transfer.adapters.audit_trail import AuditTrail
from cpro_transfer.adapters.projection import SOURCE
from cpro_transfer.domain.authorisations import (
    Authorisation,
    AuthorisationState,
    CollectedBy,
    Ended,
    GivenBy,
    Terms,
    expires_on,
)
from cpro_transfer.domain.support import Action, AuditEntry, Order
from cpro_transfer.errors import AuthorisationBegunError, AuthorisationEndedError, AuthorisationTakenError
from cpro_transfer.ports.authorising import Choice, Recorded

_COLUMNS = """
id, origin_uai, origin_pupil_id, destination_uai, given_by, given_on, collected_by, recorded_by, recorded_at,
expires_on, ticket, destination_pupil_id, creates_pupil, chosen_by, replayed_at, transfer_id, ended_at, ended_as
"""
_TAKE_PLACE = "SELECT pg_advisory_xact_lock(hashtextextended('authorisation/' || %(uai)s || '/' || %(pupil)s, 0))"
_LIVE = f"""
SELECT {_COLUMNS} FROM transfer_authorisation
WHERE origin_uai = %(uai)s AND origin_pupil_id = %(pupil)s AND ended_at IS NULL FOR UPDATE
"""
_LATEST = f"""
SELECT DISTINCT ON (origin_pupil_id) {_COLUMNS} FROM transfer_authorisation
WHERE origin_uai = %(uai)s AND origin_pupil_id = ANY (%(pupils)s) ORDER BY origin_pupil_id, recorded_at DESC, id
"""
_INSERT = f"""
INSERT INTO transfer_authorisation (origin_uai, origin_pupil_id, destination_uai, given_by, given_on, collected_by,
    recorded_by, recorded_at, expires_on)
VALUES (%(uai)s, %(pupil)s, %(destination_uai)s, %(given_by)s, %(given_on)s, %(collected_by)s, %(by)s, %(now)s,
    %(expires_on)s)
RETURNING {_COLUMNS}
"""
_END = f"""
UPDATE transfer_authorisation SET ended_at = %(now)s, ended_as = %(ended_as)s, ended_by = %(by)s WHERE id = %(id)s
RETURNING {_COLUMNS}
"""
_QUEUE = f"""
SELECT {_COLUMNS} FROM transfer_authorisation
WHERE ended_at IS NULL AND (%(after_id)s::uuid IS NULL OR (recorded_at, id) > (%(after_at)s, %(after_id)s))
ORDER BY recorded_at, id LIMIT %(limit)s
"""
_ONE = f"SELECT {_COLUMNS} FROM transfer_authorisation WHERE id = %(id)s"
_CHOOSE = f"""
UPDATE transfer_authorisation SET ticket = %(ticket)s, destination_pupil_id = %(pupil)s, creates_pupil = %(creates)s,
    chosen_by = %(by)s, chosen_at = %(now)s
WHERE id = %(id)s RETURNING {_COLUMNS}
"""
_GIVE_UP = """
UPDATE transfer_authorisation SET ticket = NULL, destination_pupil_id = NULL, creates_pupil = false, chosen_by = NULL,
    chosen_at = NULL
WHERE id = %(id)s AND ticket = %(ticket)s AND replayed_at IS NULL AND transfer_id IS NULL
"""
_LOCK_UNREPLAYED = "SELECT 1 FROM transfer_authorisation WHERE id = %(id)s AND replayed_at IS NULL FOR UPDATE"
_NOTE_REPLAYED = f"""
UPDATE transfer_authorisation SET replayed_at = coalesce(replayed_at, %(now)s) WHERE id = %(id)s RETURNING {_COLUMNS}
"""


class PostgresAuthorisations:
    """Implements `ports.Authorisations`."""

    def __init__(self, database: Database, clock: Clock, *, lifetime_days: int) -> None:
        self._database = database
        self._clock = clock
        self._lifetime_days = lifetime_days

    async def record(self, uai: str, pupil_id: UUID, terms: Terms, order: Order) -> Recorded:
        """Let these terms hold for the pupil, in place of any others. The same terms again change nothing.

        Raises:
            AuthorisationBegunError: the records move, or have moved, under the one that holds.
        """
        now = self._clock.now()
        async with self._database.begin() as tx:
            live = await self._taken_place(tx, uai, pupil_id)
            if live is not None:
                if live.transfer_id is not None:
                    raise AuthorisationBegunError(live)
                expired = live.state(now) is AuthorisationState.EXPIRED
                if live.terms == terms and not expired:
                    return Recorded(live, anew=False)
                await self._end(tx, live, Ended.EXPIRED if expired else Ended.REPLACED, order)
            given = {
                "uai": uai, "pupil": pupil_id, "destination_uai": terms.destination_uai, "given_by": terms.given_by,
                "given_on": terms.given_on, "collected_by": terms.collected_by, "by": order.actor, "now": now,
                "expires_on": expires_on(terms.given_on, self._lifetime_days),
            }  # fmt: skip
            (authorisation,) = await _authorisations(tx, _INSERT, given)
            await outbox.add(tx, [TransferAuthorised(**_said(authorisation, now))], source=SOURCE, clock=self._clock)
            given_by = {"given_by": terms.given_by, "given_on": terms.given_on.isoformat()}
            await AuditTrail.add(tx, _entry(order, Action.AUTHORISED, authorisation, **given_by))
        return Recorded(authorisation, anew=True)

    async def revoke(self, uai: str, pupil_id: UUID, order: Order) -> Authorisation | None:
        """Take back what holds for the pupil; None if nothing does.

        Raises:
            AuthorisationBegunError: the records move, or have moved, under it.
        """
        async with self._database.begin() as tx:
            live = await self._taken_place(tx, uai, pupil_id)
            if live is None:
                found = await _authorisations(tx, _LATEST, {"uai": uai, "pupils": [pupil_id]})
                if found and found[0].ended_as is Ended.EXECUTED:
                    raise AuthorisationBegunError(found[0])
                return None
            if live.transfer_id is not None:
                raise AuthorisationBegunError(live)
            return await self._end(tx, live, Ended.REVOKED, order)

    async def latest(self, uai: str, pupil_ids: Sequence[UUID]) -> dict[UUID, Authorisation]:
        """The latest authorisation of each of these pupils, whether it holds or not."""
        async with self._database.begin() as tx:
            found = await _authorisations(tx, _LATEST, {"uai": uai, "pupils": list(pupil_ids)})
        return {one.origin_pupil_id: one for one in found}

    async def queue(self, *, after: tuple[datetime, UUID] | None, limit: int) -> list[Authorisation]:
        """One page of those that have not ended, the oldest first."""
        after_at, after_id = after or (None, None)
        async with self._database.begin() as tx:
            return await _authorisations(tx, _QUEUE, {"after_at": after_at, "after_id": after_id, "limit": limit})

    async def find(self, authorisation_id: UUID) -> Authorisation | None:
        """One of them."""
        async with self._database.begin() as tx:
            found = await _authorisations(tx, _ONE, {"id": authorisation_id})
        return found[0] if found else None

    async def choose(self, authorisation_id: UUID, choice: Choice, order: Order) -> Authorisation:
        """Note what support chose for it. Of several at once the first one's stands; the same again changes nothing.

        Where the pupil is to be created, whoever comes again is given the id that the first was given.

        Raises:
            AuthorisationEndedError: it holds no longer.
            AuthorisationBegunError: the records move, or have moved, under it.
            AuthorisationTakenError: under another ticket, or for another pupil.
        """
        now = self._clock.now()
        async with self._database.begin() as tx:
            (known,) = await _authorisations(tx, _ONE + " FOR UPDATE", {"id": authorisation_id})
            state = known.state(now)
            if state in {AuthorisationState.EXECUTING, AuthorisationState.EXECUTED}:
                raise AuthorisationBegunError(known)
            if state in {AuthorisationState.REVOKED, AuthorisationState.EXPIRED}:
                raise AuthorisationEndedError(known)
            if known.is_in_other_hands(choice.ticket, None if choice.creates else choice.pupil_id):
                raise AuthorisationTakenError(known)
            if known.ticket is not None:
                return known
            chosen = {
                "id": authorisation_id, "ticket": choice.ticket, "pupil": choice.pupil_id, "creates": choice.creates,
                "by": order.actor, "now": now,
            }  # fmt: skip
            (authorisation,) = await _authorisations(tx, _CHOOSE, chosen)
            await AuditTrail.add(tx, _entry(order, Action.REPLAY_CHOSEN, authorisation, creates_pupil=choice.creates))
        return authorisation

    async def give_up(self, authorisation: Authorisation, reason: Reason, order: Order) -> None:
        """Forget what was chosen, for it could not be carried out. Does nothing once it was published."""
        async with self._database.begin() as tx:
            given_up = await tx.execute(_GIVE_UP, {"id": authorisation.id, "ticket": authorisation.ticket})
            if given_up.rowcount:
                await AuditTrail.add(tx, _entry(order, Action.REPLAY_GIVEN_UP, authorisation, reason=reason))

    async def note_replayed(self, authorisation: Authorisation, order: Order) -> Authorisation:
        """Both events are in the establishments' outboxes."""
        async with self._database.begin() as tx:
            arguments = {"id": authorisation.id, "now": self._clock.now()}
            first = await (await tx.execute(_LOCK_UNREPLAYED, arguments)).fetchone()
            (noted,) = await _authorisations(tx, _NOTE_REPLAYED, arguments)
            if first:
                await AuditTrail.add(tx, _entry(order, Action.REPLAYED, noted))
        return noted

    async def _taken_place(self, tx: Connection, uai: str, pupil_id: UUID) -> Authorisation | None:
        place = {"uai": uai, "pupil": pupil_id}
        await tx.execute(_TAKE_PLACE, {"uai": uai, "pupil": str(pupil_id)})
        found = await _authorisations(tx, _LIVE, place)
        return found[0] if found else None

    async def _end(self, tx: Connection, live: Authorisation, ended_as: Ended, order: Order) -> Authorisation:
        now = self._clock.now()
        (ended,) = await _authorisations(tx, _END, {"id": live.id, "ended_as": ended_as, "by": order.actor, "now": now})
        said = TransferAuthorisationRevoked(**_said(ended, now))
        await outbox.add(tx, [said], source=SOURCE, clock=self._clock)
        await AuditTrail.add(tx, _entry(order, Action.REVOKED, ended, ended_as=ended_as))
        return ended


def _entry(order: Order, action: Action, authorisation: Authorisation, **facts: Any) -> AuditEntry:
    return AuditEntry(
        order,
        action,
        subject_id=authorisation.id,
        origin_uai=authorisation.origin_uai,
        origin_pupil_id=authorisation.origin_pupil_id,
        destination_uai=authorisation.terms.destination_uai,
        destination_pupil_id=authorisation.destination_pupil_id,
        facts=facts,
    )


def _said(authorisation: Authorisation, now: datetime) -> dict[str, Any]:
    return {
        "authorisation_id": authorisation.id,
        "origin_uai": authorisation.origin_uai,
        "origin_pupil_id": authorisation.origin_pupil_id,
        "destination_uai": authorisation.terms.destination_uai,
        "occurred_at": now,
    }


async def _authorisations(tx: Connection, query: str, arguments: Mapping[str, Any]) -> list[Authorisation]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return [_authorisation(row) for row in await cursor.fetchall()]


def _authorisation(row: dict[str, Any]) -> Authorisation:
    terms = Terms(
        row.pop("destination_uai"), GivenBy(row.pop("given_by")), row.pop("given_on"),
        CollectedBy(row.pop("collected_by")),
    )  # fmt: skip
    found = Authorisation(**row, terms=terms)
    return replace(found, ended_as=Ended(row["ended_as"])) if row["ended_as"] else found
