"""The chain of receipts in one establishment's database: the database writes it, the library reads it again."""

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from cpro_platform import migrations
from cpro_platform.database import Connection
from cpro_tenant_db.provisioning import MIGRATIONS
from cpro_tenant_db.receipt_verification import Verified, verify_receipts
from cpro_tenant_db.receipts import Break, Receipt, canonical_form, canonical_json, hash_of
from cpro_test_support.schools import School, Schools, fresh_database
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import new_uai

ODD_SESSION = (
    "SET TimeZone = 'Pacific/Chatham'; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -10;"
    " SET bytea_output = 'escape'; SET IntervalStyle = 'postgres_verbose'"
)
INSERT = """
INSERT INTO transfer_receipt (transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,
    destination_opt_in, origin_import_id, destination_import_id, written_at)
VALUES (%(transfer_id)s, %(direction)s, %(pupil_id)s, '0750680G', %(epoch)s, %(tables)s, %(opt_in)s, %(opt_in)s,
    %(import_id)s, NULL, coalesce(%(written_at)s, clock_timestamp()))
"""


async def a_receipt(tx: Connection, pupil_id: UUID, *, count: int = 3, **values: Any) -> UUID:
    """A receipt as a mover writes it; returns its transfer's id."""
    transfer_id = uuid4()
    tables = {"report": {"count": count, "digest": "ab" * 32, "ids": [str(uuid4()) for _ in range(count)]}}
    await tx.execute(
        INSERT,
        {
            "transfer_id": transfer_id,
            "direction": "incoming",
            "pupil_id": pupil_id,
            "epoch": 1,
            "tables": Jsonb(tables),
            "opt_in": Jsonb({"enabled": True, "revision": 4, "changed_at": "2026-09-01T08:00:00+00:00"}),
            "import_id": uuid4(),
            "written_at": None,
        }
        | values,
    )
    return transfer_id


async def a_chain(schools: Schools, number: int) -> School:
    """An establishment with so many receipts."""
    (school,) = await schools.create(new_uai())
    school.publishes = False
    pupil_id = await school.has(None)
    async with schools.tenants.begin(school.uai) as tx:
        for _ in range(number):
            await a_receipt(tx, pupil_id)
    return school


async def verified(schools: Schools, school: School) -> Verified:
    """What the verification of one chain finds."""
    found = verify_receipts(
        schools.directory, schools.endpoints.postgres_clusters, [school.uai], against=False, concurrency=2
    )
    (one,) = [verified async for verified in found]
    assert one.unread == []
    return one


async def breaks_of(schools: Schools, school: School) -> list[tuple[Break, int]]:
    return [(found.kind, found.sequence) for found in (await verified(schools, school)).breaks]


async def test_an_untouched_chain_has_no_break(schools: Schools) -> None:
    school = await a_chain(schools, 4)

    found = await verified(schools, school)

    assert (found.receipts, found.breaks) == (4, [])
    links = await school.fetch("SELECT sequence, previous_hash, hash FROM transfer_receipt ORDER BY sequence")
    assert [link[0] for link in links] == [1, 2, 3, 4]
    assert [link[1] for link in links] == [None, *(link[2] for link in links[:-1])]


async def test_a_changed_count_shows_in_the_receipt_that_it_was_changed_in(schools: Schools) -> None:
    school = await a_chain(schools, 4)

    await school.execute(
        "UPDATE transfer_receipt SET tables = jsonb_set(tables, '{report,count}', '2') WHERE sequence = 3"
    )

    (found,) = (await verified(schools, school)).breaks
    assert (found.kind, found.sequence, found.direction) == (Break.ALTERED, 3, "incoming")
    assert [(found.transfer_id,)] == await school.fetch("SELECT transfer_id FROM transfer_receipt WHERE sequence = 3")


@pytest.mark.parametrize(
    "change",
    [
        "transfer_id = gen_random_uuid()", "direction = 'outgoing'", "other_uai = '0010001B'", "epoch = epoch + 1",
        "origin_opt_in = origin_opt_in || '{\"enabled\": false}'", "destination_opt_in = '{}'",
        "origin_import_id = NULL", "destination_import_id = gen_random_uuid()",
        "written_at = written_at + interval '1 microsecond'", "hash = repeat('0', 64)",
    ],
)  # fmt: skip
async def test_nothing_of_a_receipt_can_be_changed_unseen(schools: Schools, chain: School, change: str) -> None:
    before = (await chain.fetch("SELECT * FROM transfer_receipt WHERE sequence = 2"))[0]
    await chain.execute(f"UPDATE transfer_receipt SET {change} WHERE sequence = 2")

    assert await breaks_of(schools, chain) == [(Break.ALTERED, 2)]
    await chain.execute("DELETE FROM transfer_receipt WHERE sequence = 2")
    await _put_back(chain, before)


@pytest.mark.parametrize("number", [1, 2, 4], ids=["the first", "one between", "the newest"])
async def test_a_deleted_receipt_is_missing(schools: Schools, number: int) -> None:
    school = await a_chain(schools, 4)

    await school.execute("DELETE FROM transfer_receipt WHERE sequence = %s", number)

    assert await breaks_of(schools, school) == [(Break.MISSING, number)]


async def test_receipts_that_have_changed_places_are_out_of_order(schools: Schools) -> None:
    school = await a_chain(schools, 5)

    await school.execute("UPDATE transfer_receipt SET sequence = 99 WHERE sequence = 2")
    await school.execute("UPDATE transfer_receipt SET sequence = 2 WHERE sequence = 4")
    await school.execute("UPDATE transfer_receipt SET sequence = 4 WHERE sequence = 99")

    found = (await verified(schools, school)).breaks
    assert [(one.kind, one.sequence, one.place) for one in found] == [
        (Break.OUT_OF_ORDER, 2, 4), (Break.OUT_OF_ORDER, 4, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("number", [2, 4], ids=["one between", "the newest"])
async def test_a_receipt_that_was_changed_and_hashed_again_is_replaced(schools: Schools, number: int) -> None:
    school = await a_chain(schools, 4)

    await school.execute("UPDATE transfer_receipt SET epoch = 7 WHERE sequence = %s", number)
    await school.execute(
        "UPDATE transfer_receipt r SET hash = hash_of_receipt(r) WHERE sequence = %s", number
    )  # fmt: skip

    assert await breaks_of(schools, school) == [(Break.REPLACED, number)]


async def test_receipts_written_at_the_same_time_stand_one_after_the_other(schools: Schools) -> None:
    school = await a_chain(schools, 0)
    pupil_id = await school.has(None)
    ready = asyncio.Barrier(6)

    async def several(number: int) -> None:
        async with schools.tenants.begin(school.uai) as tx:
            await ready.wait()
            for _ in range(number):
                await a_receipt(tx, pupil_id)

    await asyncio.gather(*(several(5) for _ in range(6)))

    found = await verified(schools, school)
    assert (found.receipts, found.breaks) == (30, [])


async def test_a_transaction_that_is_rolled_back_leaves_no_gap(schools: Schools) -> None:
    school = await a_chain(schools, 2)
    pupil_id = await school.has(None)

    with suppress(ZeroDivisionError):
        async with schools.tenants.begin(school.uai) as tx:
            await a_receipt(tx, pupil_id)
            raise ZeroDivisionError
    async with schools.tenants.begin(school.uai) as tx:
        await a_receipt(tx, pupil_id)

    found = await verified(schools, school)
    assert (found.receipts, found.breaks) == (3, [])


async def test_the_database_and_the_library_hash_the_same_whatever_the_session(schools: Schools) -> None:
    school = await a_chain(schools, 0)
    pupil_id = await school.has(None)
    odd: dict[str, Any] = {
        'é\n"\\\u0001\u007f\u2028𝒳': [{}, [], None, True, -12, 10**25, "\t/"],
        "Z": {"b": 1, "aa": 2, "a": 3},
    }
    times = [
        datetime(2026, 3, 29, 3, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2026, 9, 1, 8, 0, 0, 10, UTC),
    ]

    async with schools.tenants.begin(school.uai) as tx:
        await tx.execute(ODD_SESSION.replace("SET ", "SET LOCAL "))
        for time in times:
            await a_receipt(tx, pupil_id, opt_in=Jsonb(odd), import_id=None, written_at=time)
    async with schools.tenants.begin(school.uai) as tx, tx.cursor(row_factory=class_row(Receipt)) as cursor:
        await tx.execute("SET LOCAL TimeZone = 'Asia/Kathmandu'")
        await cursor.execute(
            "SELECT sequence, previous_hash, hash, transfer_id, direction, pupil_id, other_uai, epoch, tables,"
            " origin_opt_in, destination_opt_in, origin_import_id, destination_import_id, written_at"
            " FROM transfer_receipt ORDER BY sequence"
        )
        receipts = await cursor.fetchall()

    assert [receipt.hash for receipt in receipts] == [hash_of(receipt) for receipt in receipts]
    assert [receipt.written_at for receipt in receipts] == times


async def test_any_json_has_one_form_in_the_database_and_in_the_library(school: School) -> None:
    dice = random.Random(20260901)
    values = [_any_json(dice, 4) for _ in range(400)]

    rows = await school.fetch(
        "SELECT value::text FROM unnest(%s::jsonb[]) WITH ORDINALITY AS v (value, place) ORDER BY place",
        [Jsonb(value) for value in values],
    )

    assert [row[0] for row in rows] == [canonical_json(value).decode() for value in values]
    assert [json.loads(row[0]) for row in rows] == values


async def test_the_form_stays_what_it_was_when_receipts_were_written() -> None:
    receipt = Receipt(
        sequence=2, previous_hash="0" * 64, hash="", transfer_id=UUID(int=1), direction="outgoing",
        pupil_id=UUID(int=2), other_uai="0750680G", epoch=3,
        tables={"report": {"count": 1, "digest": "ff", "ids": [str(UUID(int=4))]}}, origin_opt_in={"enabled": True},
        destination_opt_in={"changed_at": None}, origin_import_id=None, destination_import_id=UUID(int=5),
        written_at=datetime(2026, 9, 1, 10, tzinfo=timezone(timedelta(hours=2))),
    )  # fmt: skip

    form = (
        '{"form": 1, "epoch": 3, "tables": {"report": {"ids": ["00000000-0000-0000-0000-000000000004"], "count": 1,'
        ' "digest": "ff"}}, "pupil_id": "00000000-0000-0000-0000-000000000002", "sequence": 2, "direction": "outgoing",'
        ' "other_uai": "0750680G", "written_at": "20260901T080000.000000Z",'
        ' "transfer_id": "00000000-0000-0000-0000-000000000001", "origin_opt_in": {"enabled": true},'
        ' "previous_hash": "' + "0" * 64 + '", "origin_import_id": null, "destination_opt_in": {"changed_at": null},'
        ' "destination_import_id": "00000000-0000-0000-0000-000000000005"}'
    )
    assert canonical_form(receipt) == form.encode()
    assert hash_of(receipt) == "d2c6b3124fc1522e3bebc1239ddd699cc21a126b414de376671174ebd69e9cbd"


async def test_receipts_from_before_the_chain_are_chained_by_the_migration(servers: Servers) -> None:
    url = await fresh_database(servers.endpoints, "receipts_0002")
    await asyncio.to_thread(migrations.upgrade, url, MIGRATIONS, "0002")
    pupil_id = uuid4()
    async with await psycopg.AsyncConnection.connect(url) as tx:
        await tx.execute(
            "INSERT INTO pupil (id, family_name, first_name, birth_date, source, match_key)"
            " VALUES (%s, 'A', 'B', '2010-01-01', 'siecle', 'pupil:1')", (pupil_id,),
        )  # fmt: skip
        written = [await a_receipt(tx, pupil_id, written_at=datetime(2026, 9, day, tzinfo=UTC)) for day in (12, 3, 25)]

    await asyncio.to_thread(migrations.upgrade, url, MIGRATIONS)
    async with await psycopg.AsyncConnection.connect(url) as tx:
        await a_receipt(tx, pupil_id)
        rows = await (await tx.execute("SELECT transfer_id FROM transfer_receipt ORDER BY sequence")).fetchall()
        intact = await (
            await tx.execute("SELECT bool_and(hash = hash_of_receipt(r)), max(sequence) FROM transfer_receipt r")
        ).fetchone()

    assert [row[0] for row in rows[:3]] == [written[1], written[0], written[2]]
    assert intact == (True, 4)


@pytest.fixture(scope="module")
async def chain(schools: Schools) -> School:
    """Three receipts, put back by whoever changes one."""
    return await a_chain(schools, 3)


async def _put_back(school: School, row: tuple[Any, ...]) -> None:
    async with school.world.tenants.begin(school.uai) as tx:
        await tx.execute("ALTER TABLE transfer_receipt DISABLE TRIGGER transfer_receipt_chained")
        values = [Jsonb(value) if isinstance(value, dict) else value for value in row]
        await tx.execute(f"INSERT INTO transfer_receipt VALUES ({', '.join(['%s'] * len(row))})", values)
        await tx.execute("ALTER TABLE transfer_receipt ENABLE TRIGGER transfer_receipt_chained")


def _any_json(dice: random.Random, depth: int) -> Any:
    kind = dice.choice(["text", "number", "null", "truth", "list", "object", "object"] if depth else ["text", "number"])
    match kind:
        case "text":
            return "".join(
                chr(dice.choice([*range(1, 160), 0x2028, 0xE9, 0x1F600, 0xFFFD])) for _ in range(dice.randint(0, 6))
            )
        case "number":
            return dice.choice([0, -1, dice.randint(-(10**6), 10**6), dice.randint(0, 10**30)])
        case "null":
            return None
        case "truth":
            return dice.random() < 0.5
        case "list":
            return [_any_json(dice, depth - 1) for _ in range(dice.randint(0, 4))]
        case _:
            return {_any_json(dice, 0).__str__(): _any_json(dice, depth - 1) for _ in range(dice.randint(0, 4))}
