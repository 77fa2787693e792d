"""`cpro-media api | sweep | migrate`."""

import asyncio

import typer

from cpro_media.bootstrap import NAME, Service, prepare
from cpro_media.config import Config
from cpro_media.entrypoints.api import create
from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve

app = typer.Typer(help="Logo and stamp of the establishments.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    serve(create(Service(config, background=False)), config.http)


@app.command()
def sweep() -> None:
    """Remove the objects that no image refers to any more, at the start and then regularly."""
    config = _configured()
    run_service(lambda: Service(config), config.operations)


@app.command()
def migrate() -> None:
    """Create the database and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME)
    return config
