"""What is copied into the database is what was read, whatever characters are in it."""

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpro_platform.database import database_conninfo
from cpro_siecle_import.adapters.copy_text import Value, copy_text
from cpro_test_support.depth import examples
from cpro_test_support.servers import Servers

TELLING = st.sampled_from(["\\", "\\N", "\t", "\n", "\r", '"', "{", "}", ",", "NULL", "null", " ", "é", "œ", "\\t", ""])
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    st.lists(TELLING, max_size=5).map("".join),
)
ROWS = st.tuples(
    st.one_of(st.none(), TEXTS),
    TEXTS,
    st.one_of(st.none(), st.lists(TEXTS, max_size=3).map(tuple)),
    st.one_of(st.none(), st.dates(min_value=date(1000, 1, 1))),
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
)


@pytest.fixture(scope="module")
def connection(servers: Servers) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    conninfo = database_conninfo(servers.endpoints.postgres_clusters["north"], "postgres")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE copied (position integer GENERATED ALWAYS AS IDENTITY,"
            " a text, b text, c text[], d date, e boolean, f integer)"
        )
        yield connection


@settings(max_examples=examples(75), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=4))
def test_every_value_comes_back_as_it_was(
    connection: psycopg.Connection[tuple[object, ...]], rows: list[tuple[Value, ...]]
) -> None:
    connection.execute("DELETE FROM copied")

    with connection.cursor().copy("COPY copied (a, b, c, d, e, f) FROM STDIN") as copy:
        copy.write(copy_text(rows))

    found = connection.execute("SELECT a, b, c, d, e, f FROM copied ORDER BY position").fetchall()
    assert [(a, b, None if c is None else tuple(c), *rest) for a, b, c, *rest in found] == rows  # type: ignore[arg-type]
