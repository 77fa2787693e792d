"""Rotate the match secret: every establishment's pupils get keys made with the secret of now.

Some establishments side by side. What two establishments say of a pupil does not meet while one of them still says it
under the old key: meanwhile the pupil waits, and nothing else. Safe to repeat and to interrupt: a pupil who has the key
of now is let be.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog

from cpro_platform.transience import is_transient
from cpro_siecle_import.ports import MatchKeys, Rekeyed
from cpro_tenant_db.errors import TenantUnavailableError, TenantUnknownError

_log = structlog.get_logger()


async def rotate(
    uais: Sequence[str], keys: MatchKeys, *, dry_run: bool, concurrency: int = 4
) -> AsyncIterator[Rekeyed]:
    """Rekey the pupils of these establishments; yields what each came to as it is done. A dry run only counts."""
    turns = asyncio.Semaphore(concurrency)

    async def one(uai: str) -> Rekeyed:
        async with turns:
            try:
                return await keys.rekey(uai, dry_run=dry_run)
            except (TenantUnavailableError, TenantUnknownError):
                return Rekeyed(uai, unread=True)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("rotation.left_for_later", uai=uai, error=type(error).__name__)
                return Rekeyed(uai, unread=True)

    for done in asyncio.as_completed([one(uai) for uai in uais]):
        yield await done
