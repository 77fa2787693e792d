"""The statements over record tables, composed from the catalogue and the live columns. Nothing here runs one.

They are composed once for each form of the tables that is met: that took a tenth of the mover's time.

A digest is SHA-256 over the rows' own SHA-256 in order of their id; a row is hashed as PostgreSQL writes it as text,
column by column in order of name, without what changes with the place (the pupil's id here, an object's key). Each
database digests its own tables, under the session settings of `PIN_SESSION`, so that two server versions agree.
"""

from functools import cache, lru_cache

from psycopg import sql

from cpro_tenant_db.catalogue import BY_NAME, CATALOGUE, RecordTable, owner_of_row, rows_of_pupils

Columns = tuple[tuple[str, str, str], ...]
"""What `LIVE_COLUMNS` finds: (table, column, type), in this order."""

PIN_SESSION = """
SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
    set_config('IntervalStyle', 'iso_8601', true), set_config('extra_float_digits', '3', true),
    set_config('bytea_output', 'hex', true), set_config('lc_monetary', 'C', true),
    set_config('cpro.transfer_claim', %(claim_id)s, true),
    set_config('idle_in_transaction_session_timeout', %(idle_ms)s, true),
    set_config('lock_timeout', %(lock_ms)s, true)
"""

LIVE_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = ''
ORDER BY c.relname, a.attname
"""


_REWRITTEN = {
    # The copies were made under these keys before the rows come (`adapters/objects.py`).
    "object_key": sql.SQL(
        "format('tenants/%%s/attachments/%%s/%%s/%%s', m.destination_uai, m.transfer_id, m.epoch, t.id)"
    ),
}
"""How a column that belongs to the place is written for the destination."""


def received(table: str, row_id: str) -> sql.Composed:
    """The condition that a row has come here by a transfer `%(undone)s`, as this database's own receipt says."""
    return sql.SQL("""
    {row_id} IN (
        SELECT one.id::uuid FROM transfer_receipt came
        CROSS JOIN LATERAL jsonb_array_elements_text(came.tables -> {table} -> 'ids') AS one (id)
        WHERE came.transfer_id = ANY (%(undone)s) AND came.direction = 'incoming')
    """).format(row_id=sql.SQL(row_id), table=sql.Literal(table))


def _and_received(table: RecordTable, row_id: str, *, only_received: bool) -> sql.Composable:
    return sql.SQL(" AND ") + received(table.name, row_id) if only_received else sql.SQL("")


@lru_cache(maxsize=256)
def copy_out(table: RecordTable, columns: Columns, *, only_received: bool = False) -> str:
    """COPY the rows of the pupils `%(pupils)s` out in binary, as the destination is to have them.

    That is with its pupil's id (`%(arrivals)s`), and its objects' keys. `only_received`: see `received`.
    """
    composed = sql.SQL("""
    COPY (
        SELECT {values} {rows}
        JOIN unnest(%(pupils)s::uuid[], %(arrivals)s::uuid[], %(ids)s::uuid[], %(epochs)s::bigint[],
                %(destinations)s::text[])
            AS m (origin_pupil_id, destination_pupil_id, transfer_id, epoch, destination_uai)
            ON m.origin_pupil_id = {owner} {some}
    ) TO STDOUT (FORMAT binary)
    """).format(
        values=sql.SQL(", ").join(_as_it_arrives(table, name) for name in _names(table, columns)),
        rows=rows_of_pupils(table),
        owner=owner_of_row(table),
        some=_and_received(table, "t.id", only_received=only_received),
    )
    return composed.as_string()


@lru_cache(maxsize=256)
def copy_in(table: RecordTable, columns: Columns) -> str:
    """COPY the rows into the table itself; nobody sees them before the landing commits."""
    names = sql.SQL(", ").join(map(sql.Identifier, _names(table, columns)))
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table.name), names).as_string()


DIGEST_OF_ROWS = """
encode(sha256(string_agg(sha256(convert_to(ROW({hashed})::text, 'UTF8')), ''::bytea ORDER BY t.id)), 'hex')
"""


@lru_cache(maxsize=256)
def contents(columns: Columns, *, just_arrived: bool = False, only_received: bool = False) -> str:
    """Of each of the pupils `%(pupils)s` that has any row: its id, the receipt's `tables`, the number of rows, and
    the names of the tables with rows.

    `just_arrived`: only of the rows that this transaction has inserted, for the destination may have others.
    `only_received`: see `received`.
    """
    some: sql.Composable = sql.SQL("AND t.xmin = pg_current_xact_id()::xid") if just_arrived else sql.SQL("")
    tables = []
    for table in CATALOGUE:
        hashed = [
            sql.Identifier("t", name)
            for name in _names(table, columns)
            if name not in table.rewritten and not _is_pupil(table, name)
        ]
        tables.append(
            sql.SQL("""
            SELECT {name} AS name, {owner} AS pupil_id, count(*)::integer AS rows, {digest} AS digest,
                array_agg(t.id ORDER BY t.id) AS ids
            {rows} WHERE {owner} = ANY (%(pupils)s) {some} GROUP BY {owner}
            """).format(
                name=sql.Literal(table.name),
                owner=owner_of_row(table),
                digest=sql.SQL(DIGEST_OF_ROWS).format(hashed=sql.SQL(", ").join(hashed)),
                rows=rows_of_pupils(table),
                some=some + _and_received(table, "t.id", only_received=only_received),
            )
        )
    composed = sql.SQL("""
    SELECT pupil_id, sum(rows)::integer AS records, array_agg(name) AS names,
        jsonb_object_agg(name, jsonb_build_object('count', rows, 'digest', digest, 'ids', ids))::text AS tables
    FROM ({}) one GROUP BY pupil_id
    """).format(sql.SQL(" UNION ALL ").join(tables))
    return composed.as_string()


@cache
def delete_rows(table: RecordTable, *, only_received: bool = False) -> str:
    """Delete the rows of the pupils `%(pupils)s`. `only_received`: see `received`."""
    composed = sql.SQL("DELETE FROM {} WHERE {} {} {}").format(
        sql.Identifier(table.name),
        sql.Identifier(table.parent_column),
        _of_the_pupils(table),
        _and_received(table, "id", only_received=only_received),
    )
    return composed.as_string()


def _of_the_pupils(table: RecordTable) -> sql.Composable:
    if table.parent == "pupil":
        return sql.SQL("= ANY (%(pupils)s)")
    parent = BY_NAME[table.parent]
    return sql.SQL("IN (SELECT t.id {} WHERE {} = ANY (%(pupils)s))").format(
        rows_of_pupils(parent), owner_of_row(parent)
    )


def _names(table: RecordTable, columns: Columns) -> list[str]:
    return [column for name, column, _ in columns if name == table.name]


def _as_it_arrives(table: RecordTable, column: str) -> sql.Composable:
    if _is_pupil(table, column):
        return sql.SQL("m.destination_pupil_id")
    return _REWRITTEN[column] if column in table.rewritten else sql.Identifier("t", column)


def _is_pupil(table: RecordTable, column: str) -> bool:
    return table.parent == "pupil" and column == table.parent_column
