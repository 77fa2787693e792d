"""Alembic, the same way for every schema: plain SQL revisions shipped in the wheel, one process at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, create_engine, pool

LOCK_TIMEOUT_MS = 5_000
# Alembic keeps its environment in the modules `alembic.context` and `alembic.op`: two upgrades in threads of a process
# would take each other's connection.
_one_alembic_at_a_time = threading.Lock()
_ADVISORY_KEY = 0x4350524F  # "CPRO": one migration at a time in a database


def upgrade(conninfo: str, script_location: Path, revision: str = "head") -> None:
    """Bring a database to `revision`. Repeating it changes nothing.

    Blocks: call it from a thread where an event loop runs. Waits for another process that migrates the same database.

    Raises:
        sqlalchemy.exc.OperationalError: the server is away, or a lock was not had within `LOCK_TIMEOUT_MS`.
    """
    with _exclusively(conninfo) as connection, _one_alembic_at_a_time:
        config = _config(script_location)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def head_of(script_location: Path) -> str:
    """The newest revision that the installed code knows."""
    head = ScriptDirectory.from_config(_config(script_location)).get_current_head()
    if head is None:
        raise ValueError(f"no migration in {script_location.name}")
    return head


def run_environment() -> None:
    """What a schema's `env.py` does: run the revisions on the connection that `upgrade` opened."""
    context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def _config(script_location: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _exclusively(conninfo: str) -> Iterator[Connection]:
    def connect() -> psycopg.Connection:
        parameters = conninfo_to_dict(conninfo)
        return psycopg.connect(**parameters, application_name="cpro-migrations")  # type: ignore[arg-type]

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_ADVISORY_KEY})")
        connection.exec_driver_sql(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.commit()
        yield connection
        connection.commit()
