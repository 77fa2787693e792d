"""`cpro-transfer api | join | move | relay | migrate`: one command a process."""

import asyncio

import typer

from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve
from cpro_transfer.bootstrap import NAME, Service, Work, prepare
from cpro_transfer.config import Config
from cpro_transfer.entrypoints.api import create

app = typer.Typer(help="Join departures and arrivals, and move the records.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    serve(create(Service(config, work=Work.NOTHING)), config.http)


@app.command()
def join() -> None:
    """Take in the events of pupils and establishments, and plan transfers."""
    _work(Work.JOIN)


@app.command()
def move() -> None:
    """Carry planned transfers to their end."""
    _work(Work.MOVE)


@app.command()
def relay() -> None:
    """Publish this service's events."""
    _work(Work.RELAY)


@app.command()
def migrate() -> None:
    """Create the database, the topics and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _work(work: Work) -> None:
    config = _configured()
    run_service(lambda: Service(config, work=work), config.operations)


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME)
    return config
