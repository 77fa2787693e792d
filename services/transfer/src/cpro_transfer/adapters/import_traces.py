"""The trace of each import that the join has heard of: a row an import, not one a pupil.

A transfer belongs to the trace of the fact that called for it last. The other school's half was told earlier, in a
trace of its own, maybe months before: by its import the mover finds that trace and links to it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta

from cpro_platform.database import Database

_KEPT = timedelta(days=400)
"""As long as events are kept. No store of traces keeps them for longer."""
_REMEMBERED = 10_000
# In one order by all: two joins may note the same imports at once.
_NOTE = """
INSERT INTO import_trace (import_id, traceparent)
SELECT * FROM unnest(%s::uuid[], %s::text[]) AS said (import_id, traceparent) ORDER BY import_id
ON CONFLICT DO NOTHING
"""
_FORGET = "DELETE FROM import_trace WHERE noted_at < now() - %s"
OF_TRANSFER = """
ARRAY(
    SELECT i.traceparent FROM enrolment e JOIN import_trace i USING (import_id)
    WHERE e.match_key = t.match_key AND e.uai IN (t.origin_uai, t.destination_uai)
)
"""
"""The traces of the imports that told the two halves of transfer `t`."""


class ImportTraces:
    """Notes them in a transaction of their own: what is noted of an import whose batch then fails is true all the same,
    and nobody waits for a join that notes the same import within a long batch.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: OrderedDict[str, None] = OrderedDict()

    async def note(self, traces: Mapping[str, str]) -> None:
        """Note these, by import, where they are new. Mostly they are not, and nothing is asked of the database."""
        new = {import_id: traceparent for import_id, traceparent in traces.items() if import_id not in self._noted}
        if not new:
            return
        async with self._database.begin() as tx:
            await tx.execute(_NOTE, (list(new), list(new.values())))
            await tx.execute(_FORGET, (_KEPT,))
        self._noted.update(dict.fromkeys(new))
        while len(self._noted) > _REMEMBERED:
            self._noted.popitem(last=False)
