"""`cpro-siecle-import api | worker | relay | sweep | migrate`."""

import asyncio

import typer

from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve
from cpro_siecle_import.bootstrap import NAME, Service, Work, prepare
from cpro_siecle_import.config import Config
from cpro_siecle_import.entrypoints.api import create

app = typer.Typer(help="Import of the national pupil file (SIECLE) into an establishment.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    serve(create(Service(config, work=Work.NOTHING)), config.http)


@app.command()
def worker() -> None:
    """Carry out imports. Scales by starting more of these."""
    _work(Work.IMPORT)


@app.command()
def relay() -> None:
    """Publish this service's events, and what dead workers left in the tenants' outboxes."""
    _work(Work.RELAY)


@app.command()
def sweep() -> None:
    """Remove uploads that have been kept long enough, or that became no import, at the start and then regularly."""
    _work(Work.SWEEP)


@app.command()
def migrate() -> None:
    """Create the database, the topics and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _work(kind: Work) -> None:
    config = _configured()
    run_service(lambda: Service(config, work=kind), config.operations)


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME)
    return config
