"""`cpro-media api | sweep | migrate`."""

import asyncio
from typing import Annotated

import typer

from cpro_media.bootstrap import NAME, Service, prepare
from cpro_media.config import Config
from cpro_media.entrypoints.api import create
from cpro_media.handlers.sweeping import Swept
from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve

app = typer.Typer(help="Logo and stamp of the establishments.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    service = Service(config, background=False)
    serve(create(service), config.http, service.readiness)


@app.command()
def sweep(
    once: Annotated[bool, typer.Option(help="Sweep the whole store once and end.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say once what would go, and change nothing.")] = False,
) -> None:
    """Remove the objects that no image refers to any more, at the start and then regularly."""
    config = _configured()
    if once or dry_run:
        swept = asyncio.run(_sweep_once(config, dry_run=dry_run))
        verb = "would remove" if dry_run else "removed"
        typer.echo(f"{verb} {swept.due} due and {swept.orphans} orphaned objects; {swept.missing} missing")
    else:
        run_service(lambda: Service(config), config.operations)


async def _sweep_once(config: Config, *, dry_run: bool) -> Swept:
    async with Service(config, background=False) as service:
        return await service.sweep_all(dry_run=dry_run)


@app.command()
def migrate() -> None:
    """Create the database and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME, config.telemetry)
    return config
