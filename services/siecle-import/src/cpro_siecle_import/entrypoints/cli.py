"""`cpro-siecle-import api | worker | relay | sweep | rotate | migrate`."""

import asyncio
from typing import Annotated

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
    service = Service(config, work=Work.NOTHING)
    serve(create(service), config.http, service.readiness)


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
def rotate(
    *, dry_run: Annotated[bool, typer.Option(help="Count who would get a new key, and change nothing.")] = False
) -> None:
    """Make the match keys of all pupils anew with the secret of now, and publish them.

    Exit code 1: some are held for a transfer, run it again later. 3: an establishment could not be asked.
    """
    raise typer.Exit(asyncio.run(_rotate(_configured(), dry_run=dry_run)))


@app.command()
def migrate() -> None:
    """Create the database, the topics and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


async def _rotate(config: Config, *, dry_run: bool) -> int:
    pupils = held = unread = 0
    async with Service(config, work=Work.NOTHING) as service:
        async for done in service.rotate_keys(dry_run=dry_run):
            pupils, held, unread = pupils + done.pupils, held + done.held, unread + done.unread
            if done.pupils or done.held or done.unread:
                note = "could not be asked" if done.unread else f"{done.pupils} pupils, {done.held} held"
                typer.echo(f"{done.uai}: {note}")
    verb = "would get" if dry_run else "got"
    typer.echo(f"{pupils} pupils {verb} a new key, {held} are held for a transfer, {unread} establishments not asked")
    return 3 if unread else 1 if held else 0


def _work(kind: Work) -> None:
    config = _configured()
    run_service(lambda: Service(config, work=kind), config.operations)


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME, config.telemetry)
    return config
