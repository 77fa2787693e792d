"""Counts how an establishment's pupils would stand under another opt-in, by the join's own statement.

The statement is read with one row put in place of the establishment's: what is asked about. So the rule is nowhere
written a second time, and what is foreseen is what the join will do of the same facts. Read at one instant; nothing is
locked, nothing written.
"""

from datetime import datetime

from psycopg.rows import dict_row

from cpro_contracts.transfers import Reason
from cpro_platform.clock import Clock
from cpro_platform.database import Database
from cpro_transfer.adapters import join_sql
from cpro_transfer.domain.explanation import Direction
from cpro_transfer.domain.outlook import Outlook, Standing, side_of
from cpro_transfer.domain.transfers import TransferState

_KNOWN = "SELECT opted_in, opt_in_revision FROM establishment WHERE uai = %(uai)s"
# Who has left here, and who is here and has left another.
_MATCH_KEYS = """
SELECT here.match_key FROM enrolment here WHERE here.uai = %(uai)s AND NOT here.withdrawn AND (
    NOT here.active OR EXISTS (
        SELECT 1 FROM enrolment other
        WHERE other.match_key = here.match_key AND other.uai <> here.uai AND NOT other.active AND NOT other.withdrawn
    )
)
"""
_STANDINGS = f"""
WITH establishment AS (
    SELECT uai, CASE uai WHEN %(uai)s THEN %(enabled)s ELSE opted_in END AS opted_in, opt_in_revision, opt_in_event_time
    FROM establishment
    UNION ALL
    SELECT %(uai)s, %(enabled)s, 0, NULL WHERE NOT EXISTS (SELECT 1 FROM establishment WHERE uai = %(uai)s)
),
verdict AS ({join_sql.VERDICTS})
SELECT CASE v.origin_uai WHEN %(uai)s THEN 'outgoing' ELSE 'incoming' END AS direction, v.verdict, t.state, t.reason,
    count(*) AS number
FROM verdict v
LEFT JOIN transfer t ON t.match_key = v.match_key AND t.origin_uai = v.origin_uai
    AND t.origin_revision = v.origin_revision AND t.destination_uai IS NOT DISTINCT FROM v.destination_uai
WHERE v.verdict NOT IN ('ine_withdrawn', 'not_left', 'completed') AND (
    v.origin_uai = %(uai)s OR v.destination_uai = %(uai)s OR v.destination_uai IS NULL AND EXISTS (
        SELECT 1 FROM enrolment e WHERE e.match_key = v.match_key AND e.uai = %(uai)s
            AND e.active AND NOT e.withdrawn AND e.source IN ('siecle', 'replay')
    )
)
GROUP BY 1, 2, 3, 4
"""
_DONE = """
SELECT count(*) FILTER (WHERE origin_uai = %(uai)s) AS outgoing,
    count(*) FILTER (WHERE destination_uai = %(uai)s) AS incoming
FROM transfer WHERE %(uai)s IN (origin_uai, destination_uai) AND state = 'completed' AND completed_at >= %(since)s
"""


class TransferOutlook:
    """Reads the transfer database."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of(self, uai: str, *, enabled: bool, since: datetime | None) -> Outlook:
        """How the pupils would stand with this opt-in, and how many transfers have been completed since."""
        arguments = {"uai": uai, "enabled": enabled, "since": since}
        async with self._database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            known = await (await cursor.execute(_KNOWN, arguments)).fetchone() or {}
            keys = [row["match_key"] for row in await (await cursor.execute(_MATCH_KEYS, arguments)).fetchall()]
            await cursor.execute(_STANDINGS, arguments | {"match_keys": keys})
            standings = [_standing(row) for row in await cursor.fetchall()]
            done = await (await cursor.execute(_DONE, arguments)).fetchone() if since else None
        changes = bool(known.get("opted_in", False)) is not enabled
        outgoing, incoming = (
            side_of(
                [standing for standing in standings if standing.direction is direction],
                changes=changes,
                done=done[direction.value] if done else None,
            )
            for direction in (Direction.OUTGOING, Direction.INCOMING)
        )
        return Outlook(self._clock.now(), known.get("opt_in_revision", 0), outgoing, incoming)


def _standing(row: dict[str, object]) -> Standing:
    return Standing(
        Direction(str(row["direction"])),
        str(row["verdict"]),
        TransferState(str(row["state"])) if row["state"] else None,
        Reason(str(row["reason"])) if row["reason"] else None,
        int(str(row["number"])),
    )
