"""The daily job of what is kept no longer: the establishments' databases, then the transfer database.

Safe to repeat, to interrupt, and to run beside anything. An establishment that is away is done the next day.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from cpro_platform.transience import is_transient
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError

_log = structlog.get_logger()
_CONCURRENCY = 4


class Forgetting(Protocol):
    """The transfer database."""

    async def forget(self, *, dry_run: bool) -> dict[str, int]:
        """Let go of what is due; how many of each kind."""


class TenantForgetting(Protocol):
    """The establishments' databases."""

    async def uais(self) -> list[str]:
        """All of them."""

    async def forget(self, uai: str, *, dry_run: bool) -> dict[str, int]:
        """Let go of what is due there; how many of each kind."""


@dataclass(slots=True)
class Forgotten:
    """What the job came to."""

    rows: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    """Establishments that could not be asked."""


async def forget(tenants: TenantForgetting, own: Forgetting, *, dry_run: bool) -> Forgotten:
    """Let go of all that is due; a dry run only counts."""
    found, turns = Forgotten(), asyncio.Semaphore(_CONCURRENCY)

    async def one(uai: str) -> None:
        async with turns:
            try:
                found.rows.update(await tenants.forget(uai, dry_run=dry_run))
            except Exception as error:
                if not (isinstance(error, TenantUnavailableError | TenantUnknownError) or is_transient(error)):
                    raise
                _log.warning("retention.left_for_later", uai=uai, error=type(error).__name__)
                found.unread.append(uai)

    async with asyncio.TaskGroup() as group:
        for uai in await tenants.uais():
            group.create_task(one(uai))
    found.rows.update(await own.forget(dry_run=dry_run))
    return found
