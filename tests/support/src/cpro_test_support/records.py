"""Records as the CPro core application would have written them, and a checker that knows nothing of the mover.

The checker reads every tenant database and the object store, and compares with what was seeded: each record must be in
exactly one database, unchanged, and each file must be readable there, byte for byte.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from cpro_platform.object_store import ObjectMissingError, ObjectStore

TABLES = ("report", "activity_sheet", "assessment", "professional_passport", "passport_entry", "attachment")
_OF_THE_PLACE = {"pupil_id", "object_key"}


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many records of each kind a pupil gets."""

    reports: int = 3
    activity_sheets: int = 4
    assessments: int = 6
    passports: int = 1
    passport_entries: int = 4
    attachments: int = 2


@dataclass(slots=True)
class Seeded:
    """What was written: every row's content by table and id, and the SHA-256 of every file by attachment."""

    rows: dict[tuple[str, UUID], str] = field(default_factory=dict)
    owners: dict[tuple[str, UUID], UUID] = field(default_factory=dict)
    """The pupil that each row was written for."""

    def of_pupil(self, pupil_id: UUID) -> set[tuple[str, UUID]]:
        """The rows written for one pupil."""
        return {key for key, owner in self.owners.items() if owner == pupil_id}


async def seed_records(
    tx: psycopg.AsyncConnection[Any],
    store: ObjectStore,
    uai: str,
    pupil_id: UUID,
    *,
    seed: int = 0,
    amounts: Amounts = Amounts(),
    into: Seeded | None = None,
) -> Seeded:
    """Write a full set of records for a pupil: all six tables, values of every type, files in the store."""
    dice = random.Random(f"{seed}/{pupil_id}")
    reports = [await _report(tx, pupil_id, dice) for _ in range(amounts.reports)]
    sheets = [await _activity_sheet(tx, pupil_id, dice) for _ in range(amounts.activity_sheets)]
    for number in range(amounts.assessments):
        sheet = dice.choice(sheets) if sheets and number % 2 else None
        await _assessment(tx, pupil_id, sheet, dice)
    for _ in range(amounts.passports):
        passport = await _passport(tx, pupil_id, dice)
        for position in range(amounts.passport_entries):
            await tx.execute(
                "INSERT INTO passport_entry (passport_id, position, kind, content) VALUES (%s, %s, %s, %s)",
                (passport, position, dice.choice(["compétence", "période", "expérience"]), Jsonb(_content(dice))),
            )
    for number in range(amounts.attachments):
        owner = dice.choice(reports) if reports and number % 2 == 0 else None
        await _attachment(tx, store, uai, pupil_id, owner, dice)
    seeded = into or Seeded()
    for key, content in (await rows_of(tx, pupil_id)).items():
        seeded.rows[key] = content
        seeded.owners[key] = pupil_id
    return seeded


async def rows_of(tx: psycopg.AsyncConnection[Any], pupil_id: UUID | None = None) -> dict[tuple[str, UUID], str]:
    """The content of every record of a pupil (of all pupils without one), without what belongs to the place."""
    found: dict[tuple[str, UUID], str] = {}
    for table in TABLES:
        owner = "p.pupil_id" if table == "passport_entry" else "t.pupil_id"
        join = "JOIN professional_passport p ON p.id = t.passport_id" if table == "passport_entry" else ""
        cursor = await tx.execute(
            f"SELECT t.id, to_jsonb(t) FROM {table} t {join} WHERE %s::uuid IS NULL OR {owner} = %s",
            (pupil_id, pupil_id),
        )
        for row_id, row in await cursor.fetchall():
            kept = {name: value for name, value in row.items() if name not in _OF_THE_PLACE}
            found[table, row_id] = json.dumps(kept, sort_keys=True, ensure_ascii=False)
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """How what is there compares with what was seeded. All empty: every record is in exactly one place, unchanged."""

    lost: frozenset[tuple[str, UUID]]
    doubled: frozenset[tuple[str, UUID]]
    changed: frozenset[tuple[str, UUID]]
    broken_files: frozenset[UUID]
    places: Mapping[tuple[str, UUID], str]
    """The establishment where each record is."""

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled, changed or unreadable."""
        return not (self.lost or self.doubled or self.changed or self.broken_files)


async def verify(seeded: Seeded, tenants: Mapping[str, str], store: ObjectStore) -> Verdict:
    """Look for every seeded record in every tenant (UAI to connection string), and for every file in the store."""
    places: dict[tuple[str, UUID], list[str]] = {}
    changed: set[tuple[str, UUID]] = set()
    broken: set[UUID] = set()
    for uai, conninfo in tenants.items():
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            for key, content in (await rows_of(connection)).items():
                places.setdefault(key, []).append(uai)
                if seeded.rows.get(key, content) != content:
                    changed.add(key)
            broken |= await _broken_files(connection, store)
    return Verdict(
        lost=frozenset(key for key in seeded.rows if key not in places),
        doubled=frozenset(key for key, found in places.items() if len(found) > 1),
        changed=frozenset(changed),
        broken_files=frozenset(broken),
        places={key: found[0] for key, found in places.items()},
    )


async def _broken_files(connection: psycopg.AsyncConnection[Any], store: ObjectStore) -> set[UUID]:
    broken: set[UUID] = set()
    rows = await (await connection.execute("SELECT id, object_key, sha256 FROM attachment")).fetchall()
    for attachment_id, key, digest in rows:
        try:
            content = await store.get(key)
        except ObjectMissingError:
            broken.add(attachment_id)
            continue
        if sha256(content).hexdigest() != digest:
            broken.add(attachment_id)
    return broken


_WORDS = ("accueil", "caisse", "stock", "client", "dossier", "facture", "planning", "réunion", "œuvre", "Noël", "10 €")


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(_WORDS) for _ in range(words))


def _content(dice: random.Random) -> dict[str, Any]:
    return {"texte": _text(dice, 12), "note": dice.randint(0, 20), "liste": [_text(dice, 2), None, True]}


async def _one(tx: psycopg.AsyncConnection[Any], statement: str, arguments: tuple[Any, ...]) -> UUID:
    row = await (await tx.execute(statement, arguments)).fetchone()
    assert row is not None
    identifier: UUID = row[0]
    return identifier


async def _report(tx: psycopg.AsyncConnection[Any], pupil_id: UUID, dice: random.Random) -> UUID:
    return await _one(
        tx,
        "INSERT INTO report (pupil_id, title, period, content, author) VALUES (%s, %s, %s, %s, %s) RETURNING id",
        (pupil_id, _text(dice, 3), f"S{dice.randint(1, 6)}", Jsonb(_content(dice)), None),
    )


async def _activity_sheet(tx: psycopg.AsyncConnection[Any], pupil_id: UUID, dice: random.Random) -> UUID:
    return await _one(
        tx,
        "INSERT INTO activity_sheet (pupil_id, title, activity_date, duration_hours, content)"
        " VALUES (%s, %s, current_date - %s, %s, %s) RETURNING id",
        (pupil_id, _text(dice, 2), dice.randint(0, 400), dice.randint(1, 800) / 100, Jsonb(_content(dice))),
    )


async def _assessment(
    tx: psycopg.AsyncConnection[Any], pupil_id: UUID, sheet: UUID | None, dice: random.Random
) -> UUID:
    return await _one(
        tx,
        "INSERT INTO assessment (pupil_id, activity_sheet_id, skill_code, level, score, comment, assessed_on)"
        " VALUES (%s, %s, %s, %s, %s, %s, current_date) RETURNING id",
        (pupil_id, sheet, f"C{dice.randint(1, 9)}.{dice.randint(1, 9)}", dice.randint(1, 4), dice.random() * 20, None),
    )


async def _passport(tx: psycopg.AsyncConnection[Any], pupil_id: UUID, dice: random.Random) -> UUID:
    return await _one(
        tx,
        "INSERT INTO professional_passport (pupil_id, diploma_code, statement, signature)"
        " VALUES (%s, %s, %s, %s) RETURNING id",
        (pupil_id, f"4003{dice.randint(1000, 9999)}", _text(dice, 20), dice.randbytes(32)),
    )


async def _attachment(
    tx: psycopg.AsyncConnection[Any],
    store: ObjectStore,
    uai: str,
    pupil_id: UUID,
    report_id: UUID | None,
    dice: random.Random,
) -> None:
    content = dice.randbytes(dice.randint(500, 4_000))
    attachment_id = uuid4()
    key = f"tenants/{uai}/attachments/{attachment_id}"
    await store.put(key, content, content_type="application/pdf")
    await tx.execute(
        "INSERT INTO attachment (id, pupil_id, report_id, file_name, content_type, object_key, sha256, size_bytes)"
        " VALUES (%s, %s, %s, %s, 'application/pdf', %s, %s, %s)",
        (attachment_id, pupil_id, report_id, "justificatif.pdf", key, sha256(content).hexdigest(), len(content)),
    )
