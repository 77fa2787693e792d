"""The files of records in the object store.

A copy has a key of its own for each transfer and epoch, `tenants/<uai>/attachments/<transfer>/<epoch>/<attachment>`,
and no key is ever used again: whoever removes copies late, or twice, can't touch what somebody else has landed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from uuid import UUID

from cpro_platform import tracing
from cpro_platform.object_store import ObjectMissingError, ObjectStore
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.ports.moving import Attachment

_PIECE_BYTES = 1 << 20


class RecordObjects:
    """Copies files inside the store and verifies them by reading the copy back."""

    def __init__(self, store: ObjectStore, *, concurrency: int = 8) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(concurrency)

    @tracing.traced("files.copy", tracing.STORE)
    async def copy(self, claims: Sequence[Claim], attachments: Sequence[Attachment]) -> Mapping[UUID, str]:
        """Copy the files to the destination and verify each. Returns the transfers that can't, with why.

        Raises:
            StoreUnavailableError: the store does not answer; try all again.
        """
        by_pupil = {claim.origin_pupil_id: claim for claim in claims}
        owners = [by_pupil[attachment.pupil_id] for attachment in attachments]
        problems = await asyncio.gather(*map(self._copy_one, owners, attachments))
        return {claim.id: problem for claim, problem in zip(owners, problems, strict=True) if problem}

    async def discard_copies(self, claim: Claim, *, but_of_epoch: int | None = None) -> None:
        """Remove the copies of this epoch and earlier ones, but for those of the epoch that landed.

        A later epoch's copies are left alone: whoever made them may have landed them while we slept.
        """
        prefix = f"tenants/{claim.destination_uai}/attachments/{claim.id}/"
        keys = [stored.key for stored in await self._store.list(prefix)]
        epochs = [int(key.removeprefix(prefix).partition("/")[0]) for key in keys]
        await self.remove(
            [key for key, epoch in zip(keys, epochs, strict=True) if epoch <= claim.epoch and epoch != but_of_epoch]
        )

    @tracing.traced("files.remove", tracing.STORE)
    async def remove(self, object_keys: Sequence[str]) -> None:
        """Remove objects. Absent ones are fine."""
        if object_keys:
            await self._store.remove_many(list(object_keys))

    async def _copy_one(self, claim: Claim, attachment: Attachment) -> str | None:
        key = f"tenants/{claim.destination_uai}/attachments/{claim.id}/{claim.epoch}/{attachment.id}"
        async with self._turns:
            try:
                await self._store.copy(attachment.object_key, key)
            except ObjectMissingError:
                return f"attachment {attachment.id}: its object is missing"
            copied = await asyncio.to_thread(self._digest, key)
        if copied != (attachment.size_bytes, attachment.sha256):
            return f"attachment {attachment.id}: its object does not have the recorded SHA-256"
        return None

    def _digest(self, key: str) -> tuple[int, str]:
        """Size and SHA-256 of an object, read in pieces. Blocks."""
        digest, size = sha256(), 0
        with self._store.open_stream(key) as reader:
            while piece := reader.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
        return size, digest.hexdigest()
