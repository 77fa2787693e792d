"""Remove the files of records that nobody can want any more: what movers that died or slept have left in the store.

The store takes no part in any transaction, so a file can outlive its reason. On the side of a **destination**: copies
that a mover made and never landed, after the transfer was cancelled, or under an epoch that another has overtaken. On
the side of an **origin**: files whose rows have left, where nobody came to tidy, and files that the core application
put without ever writing their row.

**What is promised.** A file that an attachment of its establishment names is never removed, nor one that a transfer can
still read, write or land.

**Why it holds.** Only one database can name a file of `tenants/<uai>/`: the establishment's own, for a landing gives
every row a key below its own prefix. The files are seen first and the facts are read afterwards, in this order:

1. *The store*: a page of keys. Whatever is younger than an age limit (hours) is left alone.
2. *The transfer database*: which transfers of the page are in a mover's hands, and which have landed. That is
   politeness, not safety: it may be out of date at once.
3. *The establishment's database*, in one transaction:
   a. lock the **fences** of the transfers whose copies have no row, and raise each past its copy's epoch, unless a
      mover has that epoch in hand. A landing needs the fence at its very epoch, locks it, and holds that lock until it
      commits: so a landing of this copy has committed before us, or it will be refused for ever. A fence that is not
      there is never made: who copies has raised it before, so that database has gone back in time, and is not believed;
   b. read the incoming receipts: a transfer that has one can't land again (the receipt's key);
   c. **only now** read which keys attachments name, and which a finish has noted for removal. In READ COMMITTED this
      statement sees every landing that came before us, and (a) excludes those that would come after.
4. *The store*: remove what no row names. A copy's key holds transfer and epoch and is never used again, so nobody can
   be writing it anew under another claim; a sleeper that does so under its old one makes another orphan, which is
   younger, and is met by the next sweep.

A mover that reads files at an origin reads those of rows, and the hold keeps these rows until its finish; a finish
removes rows and notes their keys in one transaction. So a file whose row is gone, or whose key is noted, is read by
nobody who could still land it.

What no fence can tell is the core application, which puts a file first and its row after: hence the age limit of files
without a row (`unclaimed`), a week after they were put unless set otherwise. Nor can it tell that a database was
restored from an older backup, whose newer rows are missing while their files are there: operations stop the sweep
before they restore. Should they forget, a landing that only the transfer database knows of keeps its files
(`landing_lost`), and where a large share of an establishment's files has no row, its database is suspected and the
files stay (`too_many`). A small loss of rows, whose files are older than the limit, is not told from files to remove.

Any number may sweep at once, beside movers, and be killed anywhere: fences only rise, removing twice is removing once,
and a noted key is forgotten after its file is gone. Memory holds one page. A connection is opened only to
establishments that have a file old enough to be looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_transfer.domain.sweeping import GOING, SUSPECT, Ages, Fate, RecordFile, Standing, fate, suspected
from cpro_transfer.errors import TenantInTroubleError
from cpro_transfer.ports.sweeping import Standings, StoredFiles, TenantFiles

_log = structlog.get_logger()

Told = Callable[[RecordFile, Fate], None]


@dataclass(slots=True)
class Swept:
    """How many files met which fate, and their bytes."""

    files: dict[Fate, int] = field(default_factory=dict)
    bytes: dict[Fate, int] = field(default_factory=dict)
    notes_forgotten: int = 0

    def count(self, file: RecordFile, fate: Fate) -> None:
        """One more."""
        self.files[fate] = self.files.get(fate, 0) + 1
        self.bytes[fate] = self.bytes.get(fate, 0) + file.size_bytes

    @property
    def removed(self) -> int:
        """How many files have gone, or would."""
        return sum(self.files.get(fate, 0) for fate in GOING)


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Sweeps the store once at each call. With `dry_run` nothing is written anywhere."""

    files: StoredFiles
    tenants: TenantFiles
    standings: Standings
    clock: Clock
    ages: Ages

    async def sweep(self, *, dry_run: bool = False, tell: Told = lambda _file, _fate: None) -> Swept:
        """Go through the whole store. `tell` is told the fate of every file that goes, or is suspect.

        Safe to repeat, to interrupt and to run beside anything.

        Raises:
            Exception: transient: the store or the transfer database is away; the next sweep goes on.
        """
        swept, visited = Swept(), set[str]()
        async for page in self.files.pages():
            by_tenant: dict[str, list[RecordFile]] = {}
            for file in page:
                by_tenant.setdefault(file.uai, []).append(file)
            for uai, files in by_tenant.items():
                await self._sweep_some(uai, files, swept, visited, dry_run=dry_run, tell=tell)
        _log.info(
            "files.swept",
            dry_run=dry_run,
            files={str(fate): number for fate, number in swept.files.items()},
            bytes={str(fate): number for fate, number in swept.bytes.items()},
            notes_forgotten=swept.notes_forgotten,
        )
        return swept

    async def _sweep_some(
        self, uai: str, files: Sequence[RecordFile], swept: Swept, visited: set[str], *, dry_run: bool, tell: Told
    ) -> None:
        limit = self.clock.now() - self.ages.copies
        old = [file for file in files if file.modified_at is not None and file.modified_at < limit]
        fates: dict[RecordFile, Fate] = dict.fromkeys(files, Fate.YOUNG)
        try:
            if old:
                fates |= await self._judged(uai, old, dry_run=dry_run)
            if old and uai not in visited and not dry_run:
                visited.add(uai)
                swept.notes_forgotten += await self._forget_notes(uai)
        except TenantInTroubleError as error:
            _log.warning("files.sweep_unread", uai=uai, error=str(error))
            fates |= dict.fromkeys(old, Fate.UNREAD)
        if not dry_run:
            await self._remove(uai, fates)
        for file, one in fates.items():
            swept.count(file, one)
            if one in GOING | SUSPECT:
                tell(file, one)
        if kept := sorted({str(one) for one in fates.values() if one in SUSPECT - {Fate.UNREAD}}):
            _log.warning("files.sweep_kept", uai=uai, why=kept)

    async def _judged(self, uai: str, files: Sequence[RecordFile], *, dry_run: bool) -> Mapping[RecordFile, Fate]:
        transfers = {file.transfer_id for file in files if file.transfer_id}
        standings: Mapping[UUID, Standing] = await self.standings.of(transfers) if transfers else {}
        truth = await self.tenants.truth(uai, files, standings, dry_run=dry_run)

        def standing(file: RecordFile) -> Standing | None:
            return standings.get(file.transfer_id) if file.transfer_id else None

        now = self.clock.now()
        return suspected({file: fate(file, standing(file), truth, self.ages, now) for file in files}, self.ages)

    async def _remove(self, uai: str, fates: Mapping[RecordFile, Fate]) -> None:
        going = [file.key for file, one in fates.items() if one in GOING]
        if not going:
            return
        crash_points.reach("sweep.fenced")
        await self.files.remove(going)
        crash_points.reach("sweep.removed")
        noted = [file.key for file, one in fates.items() if one is Fate.LEFT]
        if noted:
            try:
                await self.tenants.forget(uai, noted)
            except TenantInTroubleError as error:  # the next sweep finds notes of files that are gone
                _log.warning("files.notes_kept", uai=uai, error=str(error))

    async def _forget_notes(self, uai: str) -> int:
        """A mover that died after removing has left notes of files that are gone."""
        noted = await self.tenants.noted_before(uai, self.clock.now() - self.ages.copies)
        gone = await self.files.missing(noted)
        if gone:
            await self.tenants.forget(uai, gone)
        return len(gone)
