"""The statements over record tables, composed from the catalogue and the live columns. Nothing here runs one.

A digest is SHA-256 over the rows' own SHA-256 in order of their id; a row is hashed as PostgreSQL writes it as text,
column by column in order of name, without what changes with the place (the pupil's id here, an object's key). Each
database digests its own tables, under the session settings of `PIN_SESSION`, so that two server versions agree.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql

from cpro_tenant_db.catalogue import CATALOGUE, RecordTable, owner_of_row, rows_of_pupils

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
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = ''
ORDER BY c.relname, a.attname
"""


def copy_out(table: RecordTable, columns: Columns, pupil_ids: Sequence[object]) -> sql.Composed:
    """COPY the pupils' rows out, in binary."""
    return sql.SQL("COPY (SELECT {} {} WHERE {} = ANY ({})) TO STDOUT (FORMAT binary)").format(
        sql.SQL(", ").join(sql.Identifier("t", name) for name, _ in columns[table.name]),
        rows_of_pupils(table),
        owner_of_row(table),
        sql.Literal(list(pupil_ids)),
    )


def copy_in(table: RecordTable, columns: Columns) -> sql.Composed:
    """COPY the rows into the transaction's own table."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(_incoming(table), _names(table, columns))


def create_incoming() -> sql.Composed:
    """The transaction's own tables: one for each record table, and the pupils with their new ids."""
    tables = [
        sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP;").format(_incoming(table), sql.Identifier(table.name))
        for table in CATALOGUE
    ]
    moves = sql.SQL("""
        CREATE TEMP TABLE incoming_move (transfer_id uuid PRIMARY KEY, epoch bigint, origin_pupil_id uuid UNIQUE,
            destination_pupil_id uuid UNIQUE) ON COMMIT DROP;
    """)
    return sql.Composed([*tables, moves])


INSERT_MOVES = """
INSERT INTO incoming_move SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::uuid[], %s::uuid[])
"""

# The copies were made under these keys before the rows came (`adapters/objects.py`).
REKEY_ATTACHMENTS = """
UPDATE incoming_attachment a SET object_key = format('tenants/%%s/attachments/%%s/%%s/%%s', %(uai)s::text,
    m.transfer_id, m.epoch, a.id)
FROM incoming_move m WHERE m.origin_pupil_id = a.pupil_id
"""


def insert_rows(table: RecordTable, columns: Columns) -> sql.Composed:
    """Insert what came into the table itself, for the pupil as the destination knows it."""
    names = [name for name, _ in columns[table.name]]
    if table.parent != "pupil":
        return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
            sql.Identifier(table.name), _names(table, columns), _names(table, columns), _incoming(table)
        )
    values = [
        sql.SQL("m.destination_pupil_id") if name == table.parent_column else sql.Identifier("i", name)
        for name in names
    ]
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} i JOIN incoming_move m ON m.origin_pupil_id = i.{}").format(
        sql.Identifier(table.name),
        _names(table, columns),
        sql.SQL(", ").join(values),
        _incoming(table),
        sql.Identifier(table.parent_column),
    )


def digests(columns: Columns, *, only_incoming: bool) -> sql.Composed:
    """For the pupils `%(pupil_ids)s`: table, pupil, number of rows, digest, ids; at the destination, of what came."""
    queries = []
    for table in CATALOGUE:
        hashed = [
            sql.Identifier("t", name)
            for name, _ in columns[table.name]
            if name not in table.rewritten and not (table.parent == "pupil" and name == table.parent_column)
        ]
        came = sql.SQL("JOIN {} i ON i.id = t.id").format(_incoming(table)) if only_incoming else sql.SQL("")
        queries.append(
            sql.SQL("""
            SELECT {name} AS table_name, {owner} AS pupil_id, count(*)::integer AS rows,
                encode(sha256(string_agg(sha256(convert_to(ROW({hashed})::text, 'UTF8')), ''::bytea ORDER BY t.id)),
                    'hex') AS digest,
                array_agg(t.id ORDER BY t.id) AS ids
            {rows} {came} WHERE {owner} = ANY (%(pupil_ids)s) GROUP BY {owner}
            """).format(
                name=sql.Literal(table.name),
                owner=owner_of_row(table),
                hashed=sql.SQL(", ").join(hashed),
                rows=rows_of_pupils(table),
                came=came,
            )
        )
    return sql.SQL(" UNION ALL ").join(queries)


def delete_rows(table: RecordTable) -> sql.Composed:
    """Delete the rows of the pupils `%(pupil_ids)s`."""
    return sql.SQL("""
        DELETE FROM {} d USING (SELECT t.id {} WHERE {} = ANY (%(pupil_ids)s)) gone WHERE d.id = gone.id
    """).format(sql.Identifier(table.name), rows_of_pupils(table), owner_of_row(table))


def _incoming(table: RecordTable) -> sql.Identifier:
    return sql.Identifier(f"incoming_{table.name}")


def _names(table: RecordTable, columns: Columns) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns[table.name])
