"""`cpro-settings api | relay | notify | migrate`."""

import asyncio

import typer

from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve
from cpro_settings.bootstrap import NAME, Service, Work, prepare
from cpro_settings.config import Config
from cpro_settings.entrypoints.api import create

app = typer.Typer(help="The establishment sheet and the transfer opt-in.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    service = Service(config, work=Work.NOTHING)
    serve(create(service), config.http, service.readiness)


@app.command()
def relay() -> None:
    """Publish this service's events, and what was left in the tenants' outboxes."""
    config = _configured()
    run_service(lambda: Service(config, work=Work.RELAY), config.operations)


@app.command()
def notify() -> None:
    """Tell the establishments that want it of completed transfers, by e-mail."""
    config = _configured()
    if not config.smtp.host:
        raise typer.BadParameter("there is no mail server: set CPRO_SETTINGS_SMTP__HOST")
    run_service(lambda: Service(config, work=Work.NOTIFY), config.operations)


@app.command()
def migrate() -> None:
    """Create the database and the topics where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME, config.telemetry)
    return config
