"""What the API reads of the transfer database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, dict_row

from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_platform.database import Connection, Database
from cpro_transfer.domain.explanation import Direction, Door, Known
from cpro_transfer.domain.matching import Enrolment
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.ports.reading import Situation

TRANSFER = """
SELECT id, match_key, state, reason, origin_uai, origin_pupil_id, origin_revision, destination_uai,
    destination_pupil_id, planned_at, called_for_at, state_changed_at, due_at, finished_at, completed_at, records,
    reason_since, undoes, ticket
FROM transfer
"""
_SIDE = {Direction.OUTGOING: "origin_uai", Direction.INCOMING: "destination_uai"}


class TransferQueries:
    """Reads transfers and situations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transfers_of(
        self,
        uai: str,
        direction: Direction,
        *,
        state: TransferState | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> list[Transfer]:
        """One page of an establishment's transfers, newest first, after the given position."""
        query = f"{TRANSFER} WHERE {_SIDE[direction]} = %(uai)s"
        if state is not None:
            query += " AND state = %(state)s"
        if after is not None:
            query += " AND (planned_at, id) < (%(planned_at)s, %(id)s)"
        query += " ORDER BY planned_at DESC, id DESC LIMIT %(limit)s"
        planned_at, transfer_id = after or (None, None)
        arguments = {"uai": uai, "state": state, "planned_at": planned_at, "id": transfer_id, "limit": limit}
        async with self._database.begin() as tx:
            return await _transfers(tx, query, arguments)

    async def transfer_of(self, uai: str, transfer_id: UUID) -> Transfer | None:
        """One transfer that this establishment has a part in."""
        query = f"{TRANSFER} WHERE id = %(id)s AND %(uai)s IN (origin_uai, destination_uai)"
        async with self._database.begin() as tx:
            found = await _transfers(tx, query, {"id": transfer_id, "uai": uai})
        return found[0] if found else None

    async def situations(self, uai: str, pupil_ids: Sequence[UUID]) -> dict[UUID, Situation]:
        """All that is known around each of these pupils of the establishment; those never heard of are left out."""
        async with self._database.begin() as tx:
            own = await _rows(
                tx,
                "SELECT match_key, pupil_id, withdrawn FROM enrolment WHERE uai = %s AND pupil_id = ANY (%s)"
                " ORDER BY withdrawn DESC, revision",
                (uai, list(pupil_ids)),
            )
            # Of several match keys of one pupil, the one that was not withdrawn, else the newest.
            keys = {row["pupil_id"]: row["match_key"] for row in own}
            wanted = list(keys.values())
            enrolments = await _rows(tx, "SELECT * FROM enrolment WHERE match_key = ANY (%s)", (wanted,))
            establishments = await _rows(
                tx, "SELECT * FROM establishment WHERE uai = ANY (%s)", ([row["uai"] for row in enrolments],)
            )
            transfers = await _transfers(
                tx, f"{TRANSFER} WHERE match_key = ANY (%(keys)s) ORDER BY planned_at DESC, id DESC", {"keys": wanted}
            )
        return {
            pupil_id: Situation(
                key,
                tuple(_known(row) for row in enrolments if row["match_key"] == key),
                {row["uai"]: Door(row["opted_in"], row["opt_in_changed_at"]) for row in establishments},
                {row["uai"]: row["name"] for row in establishments if row["name"]},
                tuple(transfer for transfer in transfers if transfer.match_key == key),
            )
            for pupil_id, key in keys.items()
        }

    async def names_of(self, uais: Sequence[str]) -> dict[str, str]:
        """The names of establishments, where their sheet has one."""
        async with self._database.begin() as tx:
            rows = await _rows(
                tx, "SELECT uai, name FROM establishment WHERE uai = ANY (%s) AND name IS NOT NULL", (list(uais),)
            )
        return {row["uai"]: row["name"] for row in rows}


def _known(row: dict[str, Any]) -> Known:
    enrolment = Enrolment(
        uai=row["uai"],
        pupil_id=row["pupil_id"],
        active=row["active"],
        source=EnrolmentSource(row["source"]),
        ine_status=IneStatus(row["ine_status"]),
        revision=row["revision"],
        withdrawn=row["withdrawn"],
        moved_at_revision=row["moved_at_revision"],
    )
    return Known(enrolment, row["occurred_at"])


async def _transfers(tx: Connection, query: str, arguments: dict[str, Any]) -> list[Transfer]:
    async with tx.cursor(row_factory=class_row(Transfer)) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()


async def _rows(tx: Connection, query: str, arguments: tuple[object, ...]) -> list[dict[str, Any]]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, arguments)
        return await cursor.fetchall()
