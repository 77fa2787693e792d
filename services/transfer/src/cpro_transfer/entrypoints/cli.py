"""`cpro-transfer api | join | move | relay | sweep | retain | migrate`: one command a process."""

import asyncio
from typing import Annotated

import typer

from cpro_platform import logs, tracing
from cpro_platform.process import run_service, serve
from cpro_transfer.bootstrap import NAME, Service, Work, prepare
from cpro_transfer.config import Config
from cpro_transfer.domain.sweeping import GOING, Fate, RecordFile
from cpro_transfer.entrypoints.api import create
from cpro_transfer.handlers.retaining import Forgotten
from cpro_transfer.handlers.sweeping import Swept

app = typer.Typer(help="Join departures and arrivals, and move the records.", no_args_is_help=True)


@app.command()
def api() -> None:
    """Serve the HTTP API."""
    config = _configured()
    service = Service(config, work=Work.NOTHING)
    serve(create(service), config.http, service.readiness)


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
def sweep(
    *,
    dry_run: Annotated[bool, typer.Option(help="Print what would go, and change nothing.")] = False,
    stay: Annotated[bool, typer.Option(help="Go on at every interval, with metrics, until stopped.")] = False,
) -> None:
    """Remove the files of records that nobody can want any more: once, unless told to stay.

    Exit code 3: what could be read is swept, but an establishment's database could not be asked.
    """
    if stay and not dry_run:
        _work(Work.SWEEP)
        return
    swept = asyncio.run(_sweep_once(_configured(), dry_run=dry_run))
    typer.echo(_summary(swept, dry_run=dry_run))
    if swept.files.get(Fate.UNREAD):
        raise typer.Exit(3)


@app.command()
def retain(
    *,
    dry_run: Annotated[bool, typer.Option(help="Count what would go, and change nothing.")] = False,
    stay: Annotated[bool, typer.Option(help="Do it daily, with metrics, until stopped.")] = False,
) -> None:
    """Let go of what is kept long enough, in every establishment and here: once, unless told to stay.

    Exit code 3: an establishment's database could not be asked.
    """
    if stay and not dry_run:
        _work(Work.RETAIN)
        return
    forgotten = asyncio.run(_forget(_configured(), dry_run=dry_run))
    for kind, number in sorted(forgotten.rows.items()):
        typer.echo(f"{'would go' if dry_run else 'gone'}: {number} {kind}")
    for uai in sorted(forgotten.unread):
        typer.echo(f"{uai}: could not be asked")
    if forgotten.unread:
        raise typer.Exit(3)


@app.command()
def migrate() -> None:
    """Create the database, the topics and the bucket where absent, and bring the schema to the newest."""
    asyncio.run(prepare(_configured()))


async def _forget(config: Config, *, dry_run: bool) -> Forgotten:
    async with Service(config, work=Work.NOTHING) as service:
        return await service.forget(dry_run=dry_run)


async def _sweep_once(config: Config, *, dry_run: bool) -> Swept:
    def tell(file: RecordFile, fate: Fate) -> None:
        verb = "keep" if fate not in GOING else "would remove" if dry_run else "removed"
        typer.echo(f"{verb} {fate} {file.size_bytes} {file.key}")

    async with Service(config, work=Work.NOTHING) as service:
        return await service.sweeper().sweep(dry_run=dry_run, tell=tell)


def _summary(swept: Swept, *, dry_run: bool) -> str:
    counted = ", ".join(f"{swept.files[fate]} {fate} ({swept.bytes[fate]} bytes)" for fate in sorted(swept.files))
    return f"{'would remove' if dry_run else 'removed'} {swept.removed} files: {counted or 'the store is empty'}"


def _work(work: Work) -> None:
    config = _configured()
    run_service(lambda: Service(config, work=work), config.operations)


def _configured() -> Config:
    config = Config()
    logs.configure(config.telemetry, service=NAME)
    tracing.configure(NAME, config.telemetry)
    return config
