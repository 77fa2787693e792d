"""The establishments' databases, as authorisations and support's replays need them.

A replay says again, under the key of an authorisation, what an establishment's database says of a pupil. It is written
to that establishment's outbox in the transaction that reads it there under lock: nothing is said that is not so. It
takes the next revision, for support may have to say something else under the same key later.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from cpro_contracts.establishments import RosterSource
from cpro_contracts.identifiers import IneStatus, match_key_of_authorisation, match_key_of_pupil
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent
from cpro_contracts.transfers import Reason
from cpro_platform import crash_points, outbox
from cpro_platform.clock import Clock
from cpro_platform.database import Connection
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Directory, TenantState
from cpro_tenant_db.tenant_outbox import TenantOutbox
from cpro_transfer.adapters import tenant_pupils
from cpro_transfer.adapters.plain_names import plain, plain_in_sql
from cpro_transfer.adapters.projection import SOURCE
from cpro_transfer.domain.authorisations import Authorisation, Doors
from cpro_transfer.domain.candidates import Sheet
from cpro_transfer.domain.identity import Identity
from cpro_transfer.errors import ReplayRefusedError
from cpro_transfer.ports.authorising import PupilHere

_DOORS = "SELECT enabled, roster_source FROM transfer_opt_in"
_SHEET = "p.id, p.birth_date, p.family_name, p.usage_name, p.first_name, p.ine, p.active, p.division"
_PUPIL = f"""
SELECT {_SHEET}, p.source, p.ine_status, p.records_moved_at IS NOT NULL AND NOT p.active AS records_moved,
    o.enabled, o.roster_source
FROM pupil p, transfer_opt_in o WHERE p.id = %s
"""
_MOST = 200
# Wide enough for `candidates.rank`, which judges what is near.
_LIKE = f"""
SELECT {_SHEET} FROM pupil p
WHERE p.birth_date = %(born)s OR p.ine = %(ine)s
    OR {plain_in_sql("p.family_name")} = ANY (%(families)s) OR {plain_in_sql("p.usage_name")} = ANY (%(families)s)
ORDER BY p.ine IS NOT DISTINCT FROM %(ine)s DESC, p.birth_date = %(born)s DESC, p.active DESC, p.id
LIMIT {_MOST}
"""
_STATE = """
SELECT active, revision, state_changed_at, ine_status, last_import_id, leaving_date::timestamptz AS left_at,
    records_moved_at IS NOT NULL AND NOT active AS records_moved, nextval('pupil_revision') AS next_revision
FROM pupil WHERE id = %s FOR SHARE
"""
_WHOLE_SHEET = """
SELECT ine, family_name, usage_name, first_name, other_first_names, birth_date, sex FROM pupil WHERE id = %s
"""
# An INE that no file of this establishment has confirmed is not trusted here; an import recognises the pupil by it.
_CREATE = """
INSERT INTO pupil (id, ine, ine_status, family_name, usage_name, first_name, other_first_names, birth_date, sex, source,
    match_key, previous_uai)
VALUES (%(id)s, %(ine)s, CASE WHEN %(ine)s::text IS NULL THEN 'absent' ELSE 'not_trusted' END, %(family_name)s,
    %(usage_name)s, %(first_name)s, %(other_first_names)s, %(birth_date)s, %(sex)s, 'manual', %(match_key)s,
    %(previous_uai)s)
ON CONFLICT (id) DO NOTHING
"""


class TenantAuthorisedPupils:
    """Implements `ports.AuthorisedPupils`."""

    def __init__(self, tenants: TenantConnections, tenant_outbox: TenantOutbox, clock: Clock) -> None:
        self._tenants = tenants
        self._outbox = tenant_outbox
        self._clock = clock

    async def doors(self, uai: str) -> Doors:
        """The establishment's word on transfers."""
        async with self._tenants.begin(uai) as tx:
            return _doors(await _only(tx, _DOORS))

    async def pupil(self, uai: str, pupil_id: UUID) -> PupilHere | None:
        """The pupil; None if it has no such pupil."""
        async with self._tenants.begin(uai) as tx:
            row = await _first(tx, _PUPIL, (pupil_id,))
        if row is None:
            return None
        source, ine_status = EnrolmentSource(row["source"]), IneStatus(row["ine_status"])
        return PupilHere(_sheet(row), source, ine_status, row["records_moved"], _doors(row))

    async def like(self, uai: str, leaver: Sheet) -> list[Sheet]:
        """Pupils who share an INE, a birth date or a family name with the leaver."""
        names = (leaver.identity.family_name, leaver.identity.usage_name)
        wanted = {
            "born": leaver.identity.birth_date,
            "ine": leaver.ine,
            "families": [plain(name) for name in names if name],
        }
        async with self._tenants.begin(uai) as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_LIKE, wanted)
            return [_sheet(row) for row in await cursor.fetchall()]

    async def records(self, uai: str, pupil_id: UUID) -> Mapping[str, int]:
        """How many records of each kind the pupil has."""
        async with self._tenants.begin(uai) as tx:
            return (await tenant_pupils.records_of(tx, [pupil_id])).get(pupil_id, {})

    async def say_left(self, authorisation: Authorisation) -> None:
        """Publish again, under the authorisation's key, that the pupil has left the origin.

        Safe to repeat: what is said twice is taken in once.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed. Nothing was written.
        """
        uai, pupil_id = authorisation.origin_uai, authorisation.origin_pupil_id
        async with self._outbox.writing(uai) as tx:
            await _check_doors(tx, Reason.ORIGIN_NOT_OPTED_IN)
            state = await _first(tx, _STATE, (pupil_id,))
            if state is None or state["active"]:
                raise ReplayRefusedError(Reason.NOT_LEFT)
            if state["records_moved"]:
                raise ReplayRefusedError(Reason.COMPLETED)
            left = PupilDeactivated(**_said(authorisation, uai, pupil_id, state), left_at=state["left_at"])
            await self._add(tx, authorisation, left)
        crash_points.reach("replay.left")

    async def say_arrived(self, authorisation: Authorisation) -> None:
        """Publish again, under the same key, that the chosen pupil is at the destination; create them first if asked.

        Safe to repeat: the pupil is created under the id that was given when support chose.

        Raises:
            ReplayRefusedError: it is not so, or the doors are closed. Nothing was written.
        """
        uai, pupil_id = authorisation.terms.destination_uai, authorisation.destination_pupil_id
        assert pupil_id is not None
        new = await self._whole_sheet(authorisation) if authorisation.creates_pupil else None
        async with self._outbox.writing(uai) as tx:
            await _check_doors(tx, Reason.DESTINATION_NOT_OPTED_IN)
            if new is not None:
                key = match_key_of_pupil(uai, pupil_id)
                place = {"id": pupil_id, "match_key": key, "previous_uai": authorisation.origin_uai}
                await tx.execute(_CREATE, new | place)
            state = await _first(tx, _STATE, (pupil_id,))
            if state is None or not state["active"]:
                raise ReplayRefusedError(Reason.NOT_ARRIVED)
            await self._add(tx, authorisation, PupilCreated(**_said(authorisation, uai, pupil_id, state)))
        crash_points.reach("replay.arrived")

    async def _whole_sheet(self, authorisation: Authorisation) -> dict[str, Any]:
        async with self._tenants.begin(authorisation.origin_uai) as tx:
            return await _only(tx, _WHOLE_SHEET, (authorisation.origin_pupil_id,))

    async def _add(self, tx: Connection, authorisation: Authorisation, event: PupilEvent) -> None:
        """The ticket is in the event's source, so that whoever reads the log finds who asked for it."""
        source = f"{SOURCE}/replays/{authorisation.ticket}"
        await outbox.add(tx, [event], source=source, clock=self._clock, wake_relay=False)


class TenantsInUse:
    """Implements `ports.Tenants`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def knows(self, uai: str) -> bool:
        """Whether this establishment has a database, ready for use."""
        found = await self._directory.find(uai)
        return found is not None and found.state is not TenantState.CREATING


async def _check_doors(tx: Connection, closed: Reason) -> None:
    if not _doors(await _only(tx, _DOORS + " FOR SHARE")).open:
        raise ReplayRefusedError(closed)


def _said(authorisation: Authorisation, uai: str, pupil_id: UUID, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "match_key": match_key_of_authorisation(authorisation.id),
        "uai": uai,
        "pupil_id": pupil_id,
        "revision": state["next_revision"],
        "occurred_at": state["state_changed_at"],
        "source": EnrolmentSource.REPLAY,
        "ine_status": IneStatus(state["ine_status"]),
        "import_id": state["last_import_id"],
    }


def _doors(row: Mapping[str, Any]) -> Doors:
    return Doors(row["enabled"], RosterSource(row["roster_source"]))


def _sheet(row: Mapping[str, Any]) -> Sheet:
    identity = Identity(row["birth_date"], row["family_name"], row["usage_name"], row["first_name"])
    return Sheet(row["id"], identity, row["ine"], row["active"], row["division"])


async def _first(tx: Connection, query: str, arguments: tuple[object, ...] = ()) -> dict[str, Any] | None:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchone()


async def _only(tx: Connection, query: str, arguments: tuple[object, ...] = ()) -> dict[str, Any]:
    row = await _first(tx, query, arguments)
    assert row is not None
    return row
