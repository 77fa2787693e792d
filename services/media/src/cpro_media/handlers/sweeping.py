"""Remove the objects that no image refers to; say which images have lost theirs.

Two ways lead to such objects. Those with a note (see `storing`) are removed once it is due. Those without one are
orphans: a store that took an object long after its upload was given up, or a database that was restored from a backup.
They are found by listing the store **before** asking the database. The note is written before the object, so whatever
is listed had its note or its row by then; if it has neither afterwards it was given up, and no row can ever refer to it
again: a row needs the note, and keys are never used twice. So this is safe beside uploads under way, without any guess
at how long they take.
"""

from dataclasses import dataclass

from cpro_media.ports import Images, Objects
from cpro_platform.clock import Clock

_BATCH = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed, or would remove; and what is missing, which no sweep can bring back."""

    due: int = 0
    orphans: int = 0
    missing: int = 0


async def sweep(*, images: Images, objects: Objects, clock: Clock) -> int:
    """Remove the objects whose note is due. Returns how many. Any number may sweep at once.

    The notes stay locked while their objects are removed: an upload that comes to commit after all waits, then finds
    its notes gone and gives up.
    """
    removed = 0
    while True:
        async with images.begin() as tx:
            due = await tx.due_removals(clock.now(), _BATCH)
            if due:
                await objects.remove_many(due)
                await tx.forget_removal(due)
        removed += len(due)
        if len(due) < _BATCH:
            return removed


async def sweep_all(*, images: Images, objects: Objects, clock: Clock, dry_run: bool = False) -> Swept:
    """The same, and the whole store against the whole database. With `dry_run` nothing is changed."""
    due = await images.count_due_removals(clock.now())
    if not dry_run:
        due = await sweep(images=images, objects=objects, clock=clock)
    orphans = 0
    async for page in objects.pages():
        unknown = await images.unknown_among(page)
        if unknown and not dry_run:
            await objects.remove_many(unknown)
        orphans += len(unknown)
    return Swept(due, orphans, await _missing(images, objects))


async def _missing(images: Images, objects: Objects) -> int:
    """Images whose object is not there, asked one by one after the listing: one stored meanwhile is no loss."""
    missing = 0
    async for keys in images.pages_of_keys():
        for key in keys:
            if not await objects.exists(key) and await images.refers_to(key):
                missing += 1
    return missing
