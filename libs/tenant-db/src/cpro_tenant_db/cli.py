"""`cpro-tenants`: create, migrate, list and check the databases of establishments, verify receipts. For operations.

Settings come from the environment: `CPRO_TENANTS_DIRECTORY_URL`, and `CPRO_TENANTS_CLUSTERS` as a JSON object
`{"name": "connection string"}`. Exit codes: 0 all is well, 1 something is wrong with a tenant, 2 wrong usage, 3 nothing
wrong was found, and not everything could be read (`verify-receipts`).
"""

import asyncio
from collections.abc import Coroutine
from typing import Annotated

import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_platform.config import TenantSettings, settings_of
from cpro_tenant_db import directory as directories
from cpro_tenant_db import provisioning, receipt_report
from cpro_tenant_db.privileges import Service
from cpro_tenant_db.receipt_verification import verify_receipts
from cpro_tenant_db.roles import TenantAccess

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
_out = Console()
_err = Console(stderr=True)


class Config(BaseSettings, TenantSettings):
    """Where the directory and the clusters are, as their owner, and the secrets of the services' logins there."""

    model_config = settings_of("tenants")

    role_secrets: dict[Service, SecretStr] = Field(default_factory=dict)
    """Each service's `role_secret`, as a JSON object. Without any no login is made and databases are not closed."""
    keep_connect: tuple[str, ...] = ()
    """Roles of the core application that go on to connect to the establishments' databases."""

    @property
    def access(self) -> TenantAccess:
        """Who is let in."""
        return TenantAccess(self.role_secrets, self.keep_connect)


@app.command()
def create(
    uai: Annotated[list[str], typer.Argument(help="The establishments' UAI.")],
    cluster: Annotated[str, typer.Option(help="The cluster to create them on.")],
) -> None:
    """Create the databases of establishments, or finish creations that were interrupted."""
    _run(_create(uai, cluster))


@app.command()
def migrate(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Tenants migrated at a time.")] = 4,
) -> None:
    """Bring the directory and every tenant to the current schema version. Can be interrupted and run again."""
    _run(_migrate(concurrency))


@app.command()
def grant(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Tenants at a time.")] = 4,
) -> None:
    """Give every service its logins in every tenant, and close the databases to all others. Migrates who is behind.

    For installations from before there were logins, for new secrets, and for a new list of rights. Safe to repeat.
    """
    _run(_migrate(concurrency, all_of_them=True))


@app.command(name="list")
def list_tenants() -> None:
    """List the tenants with their place and schema version."""
    _run(_list())


@app.command()
def check(concurrency: Annotated[int, typer.Option(min=1, max=64)] = 8) -> None:
    """Compare every tenant with the code: schema version, record catalogue, directory."""
    _run(_check(concurrency))


@app.command(name="verify-receipts")
def verify(
    uai: Annotated[list[str] | None, typer.Option(help="An establishment; all of them without one.")] = None,
    against: Annotated[
        bool, typer.Option(help="Compare with the other establishments' receipts, not only the chains.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Databases read at a time.")] = 8,
) -> None:
    """Hash every receipt again, follow the chains, and compare both ends of every transfer. Changes nothing."""
    _run(_verify(uai or [], against=against, concurrency=concurrency))


def _run(command: Coroutine[None, None, int]) -> None:
    raise typer.Exit(asyncio.run(command))


async def _create(uais: list[str], cluster: str) -> int:
    config = await _prepared()
    async with directories.opened(config.directory_conninfo) as directory:
        for uai in uais:
            try:
                tenant = await provisioning.create_tenant(
                    directory, config.cluster_conninfos, uai, cluster, config.access
                )
            except MalformedUaiError:
                _err.print(f"{uai}: not a UAI (seven digits and the letter they call for)")
                return 2
            except provisioning.UnknownClusterError:
                _err.print(f"{cluster}: unknown cluster; the settings have {', '.join(config.clusters)}")
                return 2
            _out.print(f"{tenant.uai}: {tenant.database} on {tenant.cluster}, schema {tenant.schema_version}")
    return 0


async def _migrate(concurrency: int, *, all_of_them: bool = False) -> int:
    config = await _prepared()
    if all_of_them and not config.access.is_kept:
        _err.print("CPRO_TENANTS_ROLE_SECRETS names no service: there is nobody to give a login to")
        return 2
    failed = 0
    async with directories.opened(config.directory_conninfo) as directory:
        async for tenant, error in provisioning.migrate_all(
            directory,
            config.cluster_conninfos,
            concurrency=concurrency,
            access=config.access,
            all_of_them=all_of_them,
        ):
            if error is None:
                _out.print(f"{tenant.uai}: migrated to {tenant.schema_version}")
            else:
                failed += 1
                _err.print(f"{tenant.uai}: failed, {type(error).__name__}: {error}")
    return 1 if failed else 0


async def _list() -> int:
    config = await _prepared()
    table = Table("UAI", "cluster", "database", "schema", "state")
    async with directories.opened(config.directory_conninfo) as directory:
        for tenant in await directory.all_tenants():
            table.add_row(tenant.uai, tenant.cluster, tenant.database, tenant.schema_version or "-", tenant.state)
    _out.print(table)
    return 0


async def _check(concurrency: int) -> int:
    config = await _prepared()
    turns = asyncio.Semaphore(concurrency)

    async def one(tenant: directories.Tenant) -> list[provisioning.Finding]:
        async with turns:
            return list(await provisioning.check_tenant(config.cluster_conninfos, tenant))

    async with directories.opened(config.directory_conninfo) as directory:
        tenants = await directory.all_tenants()
    findings = [finding for found in await asyncio.gather(*map(one, tenants)) for finding in found]
    for finding in findings:
        _err.print(f"{finding.uai}: {finding.problem}")
    _out.print(f"{len(tenants)} tenants, {len(findings)} findings")
    return 1 if findings else 0


async def _verify(uais: list[str], *, against: bool, concurrency: int) -> int:
    try:
        chosen = [parse_uai(uai) for uai in uais]
    except MalformedUaiError:
        _err.print("not a UAI (seven digits and the letter they call for)")
        return 2
    config = Config()
    tenants = receipts = under_way = wrong = unread = 0
    async with directories.opened(config.directory_conninfo) as directory:
        async for verified in verify_receipts(
            directory, config.cluster_conninfos, chosen, against=against, concurrency=concurrency
        ):
            lines = receipt_report.findings(verified)
            for line in [*lines, *verified.unread]:
                _err.print(f"{verified.uai}: {line}", soft_wrap=True, markup=False, highlight=False)
            tenants, receipts = tenants + 1, receipts + verified.receipts
            under_way, wrong, unread = under_way + verified.under_way, wrong + len(lines), unread + len(verified.unread)
    _out.print(
        f"{tenants} tenants, {receipts} receipts, {under_way} transfers under way, {wrong} findings, {unread} not read"
    )
    return 1 if wrong else 3 if unread else 0


async def _prepared() -> Config:
    """The settings, with the directory's own database created and migrated."""
    config = Config()
    await provisioning.prepare_directory(config.directory_conninfo, config.access)
    return config
