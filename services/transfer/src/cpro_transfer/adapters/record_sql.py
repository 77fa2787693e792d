"""The statements over record tables, composed from the catalogue and the live columns. Nothing here runs one.

A digest is SHA-256 over the rows' own SHA-256 in order of their id; a row is hashed as PostgreSQL writes it as text,
column by column in order of name, without what changes with the place (the pupil's id here, an object's key). Each
database digests its own tables, under the session settings of `PIN_SESSION`, so that two server versions agree.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql

from cpro_tenant_db.catalogue import BY_NAME, CATALOGUE, RecordTable, owner_of_row, rows_of_pupils
from cpro_transfer.domain.transfers import Claim

Columns = Mapping[str, Sequence[tuple[str, str]]]
"""By table: (name, type), ordered by name."""

PIN_SESSION = sql.SQL("""
SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'iso_8601', true), set_config('extra_float_digits', '3', true),
    set_config('bytea_output', 'hex', true), set_config('lc_monetary', 'C', true),
    set_config('cpro.transfer_claim', %(claim_id)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true),
    set_config('lock_timeout', %(lock_ms)s, true)
""")

LIVE_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = ''
ORDER BY c.relname, a.attname
"""


_REWRITTEN = {
    # The copies were made under these keys before the rows come (`adapters/objects.py`).
    "object_key": sql.SQL("format('tenants/%s/attachments/%s/%s/%s', m.destination_uai, m.transfer_id, m.epoch, t.id)"),
}
"""How a column that belongs to the place is written for the destination."""


def copy_out(table: RecordTable, columns: Columns, claims: Sequence[Claim]) -> sql.Composed:
    """COPY the pupils' rows out in binary, as the destination is to have them: its pupil's id, its objects' keys."""
    return sql.SQL("""
    COPY (
        SELECT {values} {rows}
        JOIN unnest({pupils}::uuid[], {arrivals}::uuid[], {transfers}::uuid[], {epochs}::bigint[], {uais}::text[])
            AS m (origin_pupil_id, destination_pupil_id, transfer_id, epoch, destination_uai)
            ON m.origin_pupil_id = {owner}
    ) TO STDOUT (FORMAT binary)
    """).format(
        values=sql.SQL(", ").join(_as_it_arrives(table, name) for name, _ in columns[table.name]),
        rows=rows_of_pupils(table),
        owner=owner_of_row(table),
        pupils=sql.Literal([claim.origin_pupil_id for claim in claims]),
        arrivals=sql.Literal([claim.destination_pupil_id for claim in claims]),
        transfers=sql.Literal([claim.id for claim in claims]),
        epochs=sql.Literal([claim.epoch for claim in claims]),
        uais=sql.Literal([claim.destination_uai for claim in claims]),
    )


def copy_in(table: RecordTable, columns: Columns) -> sql.Composed:
    """COPY the rows into the table itself; nobody sees them before the landing commits."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(table.name), sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns[table.name])
    )


DIGEST_OF_ROWS = """
encode(sha256(string_agg(sha256(convert_to(ROW({hashed})::text, 'UTF8')), ''::bytea ORDER BY t.id)), 'hex')
"""


def contents(columns: Columns, *, just_arrived: bool = False) -> sql.Composed:
    """Of each of the pupils `%(pupil_ids)s` that has any row: its id, the receipt's `tables`, the number of rows, and
    the names of the tables with rows.

    `just_arrived`: only of the rows that this transaction has inserted, for the destination may have others.
    """
    some = sql.SQL("AND t.xmin = pg_current_xact_id()::xid") if just_arrived else sql.SQL("")
    tables = []
    for table in CATALOGUE:
        hashed = [
            sql.Identifier("t", name)
            for name, _ in columns[table.name]
            if name not in table.rewritten and not _is_pupil(table, name)
        ]
        tables.append(
            sql.SQL("""
            SELECT {name} AS name, {owner} AS pupil_id, count(*)::integer AS rows, {digest} AS digest,
                array_agg(t.id ORDER BY t.id) AS ids
            {rows} WHERE {owner} = ANY (%(pupil_ids)s) {some} GROUP BY {owner}
            """).format(
                name=sql.Literal(table.name),
                owner=owner_of_row(table),
                digest=sql.SQL(DIGEST_OF_ROWS).format(hashed=sql.SQL(", ").join(hashed)),
                rows=rows_of_pupils(table),
                some=some,
            )
        )
    return sql.SQL("""
    SELECT pupil_id, sum(rows)::integer AS records, array_agg(name) AS names,
        jsonb_object_agg(name, jsonb_build_object('count', rows, 'digest', digest, 'ids', ids))::text AS tables
    FROM ({}) one GROUP BY pupil_id
    """).format(sql.SQL(" UNION ALL ").join(tables))


def delete_rows(table: RecordTable) -> sql.Composed:
    """Delete the rows of the pupils `%(pupil_ids)s`."""
    return sql.SQL("DELETE FROM {} WHERE {} {}").format(
        sql.Identifier(table.name), sql.Identifier(table.parent_column), _of_the_pupils(table)
    )


def _of_the_pupils(table: RecordTable) -> sql.Composable:
    if table.parent == "pupil":
        return sql.SQL("= ANY (%(pupil_ids)s)")
    parent = BY_NAME[table.parent]
    return sql.SQL("IN (SELECT t.id {} WHERE {} = ANY (%(pupil_ids)s))").format(
        rows_of_pupils(parent), owner_of_row(parent)
    )


def _as_it_arrives(table: RecordTable, column: str) -> sql.Composable:
    if _is_pupil(table, column):
        return sql.SQL("m.destination_pupil_id")
    return _REWRITTEN[column] if column in table.rewritten else sql.Identifier("t", column)


def _is_pupil(table: RecordTable, column: str) -> bool:
    return table.parent == "pupil" and column == table.parent_column
