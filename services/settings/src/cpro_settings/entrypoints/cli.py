"""`cpro-settings api | relay | migrate`."""

import asyncio

import typer

from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve
from cpro_settings.bootstrap import NAME, Service, prepare
from cpro_settings.config import Config
from cpro_settings.entrypoints.api import create

app = typer.Typer(help="The establishment sheet and the transfer opt-in.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    serve(create(Service(config, background=False)), config.http)


@app.command()
def relay() -> None:
    """Publish this service's events, and what was left in the tenants' outboxes."""
    config = _configured()
    run_service(lambda: Service(config), config.operations)


@app.command()
def migrate() -> None:
    """Create the database and the topic where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME)
    return config
