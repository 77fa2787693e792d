"""Records for many pupils at once, as the CPro core application would have left them: a few statements for a school.

For benchmarks: `records` writes one pupil's with more variety.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from hashlib import sha256
from uuid import UUID, uuid4

from cpro_platform.database import Connection
from cpro_platform.object_store import ObjectStore

_CONTENT = "jsonb_build_object('compétence', md5(random()::text), 'observations', repeat(md5(random()::text), 4))"
_OF_EACH = "FROM unnest(%(ids)s::uuid[]) AS p (id), generate_series(1, %(number)s)"
_SEED = {
    "report": "INSERT INTO report (pupil_id, title, period, content)"
    f" SELECT p.id, 'Bilan', 'T1', {_CONTENT} {_OF_EACH}",
    "activity_sheet": "INSERT INTO activity_sheet (pupil_id, title, activity_date, duration_hours, content)"
    f" SELECT p.id, 'Fiche', DATE '2026-03-02', 3.5, {_CONTENT} {_OF_EACH}",
    "assessment": "INSERT INTO assessment (pupil_id, skill_code, level, score, comment)"
    f" SELECT p.id, 'C1.2', 3, random() * 20, md5(random()::text) {_OF_EACH}",
    "professional_passport": "INSERT INTO professional_passport (pupil_id, diploma_code, statement)"
    f" SELECT p.id, '40031202', md5(random()::text) {_OF_EACH}",
    "passport_entry": "INSERT INTO passport_entry (passport_id, position, kind, content)"
    f" SELECT pp.id, n, 'compétence', {_CONTENT} FROM professional_passport pp, generate_series(1, %(number)s) AS n"
    " WHERE pp.pupil_id = ANY (%(ids)s)",
}
_SEED_ATTACHMENTS = """
INSERT INTO attachment (id, pupil_id, file_name, content_type, object_key, sha256, size_bytes)
SELECT id, pupil_id, 'justificatif.pdf', 'application/pdf', object_key, sha256, size_bytes
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::bigint[])
    AS given (id, pupil_id, object_key, sha256, size_bytes)
"""


async def seed_rows(tx: Connection, pupils: Sequence[UUID], rows_of_a_pupil: Mapping[str, int]) -> None:
    """Give each of these pupils so many rows in each table; entries need a passport, so name that table first."""
    for table, number in rows_of_a_pupil.items():
        await tx.execute(_SEED[table], {"ids": list(pupils), "number": number})


async def seed_files(tx: Connection, store: ObjectStore, uai: str, pupils: Sequence[UUID]) -> None:
    """Give each of these pupils one file of 500 to 4,000 bytes; the store is written to as its client allows."""
    contents = [random.randbytes(random.randint(500, 4_000)) for _ in pupils]
    ids = [uuid4() for _ in pupils]
    keys = [f"tenants/{uai}/attachments/{attachment_id}" for attachment_id in ids]
    await asyncio.gather(
        *(store.put(key, content, content_type="application/pdf") for key, content in zip(keys, contents, strict=True))
    )
    digests, sizes = [sha256(content).hexdigest() for content in contents], [len(content) for content in contents]
    await tx.execute(_SEED_ATTACHMENTS, (ids, list(pupils), keys, digests, sizes))
