"""What an administrator can do with the settings of an establishment."""

from collections.abc import Callable, Mapping, Sequence

from cpro_contracts.establishments import EstablishmentUpdated, TransferOptInChanged
from cpro_platform.clock import Clock
from cpro_settings.domain import sheet as sheets_domain
from cpro_settings.domain.opt_in import Choice, OptIn
from cpro_settings.domain.sheet import Change, InvalidSheetError, Overtaken, StoredSheet
from cpro_settings.errors import establishment_unknown, invalid_sheet
from cpro_settings.ports import Establishments, OptIns, SheetChange, Sheets

CheckVersion = Callable[[StoredSheet, Sequence[Overtaken] | None], None]
"""Raises unless the caller made their change from this version of the sheet, with what changed since theirs.

None stands for a version that the sheet never had, of which nothing can be said.
"""


async def read_sheet(uai: str, *, establishments: Establishments, sheets: Sheets) -> StoredSheet:
    """The sheet as it is now; an empty one if it was never saved."""
    await _must_be_known(uai, establishments)
    return await sheets.find(uai)


async def save_sheet(
    uai: str,
    typed: Mapping[str, str | None],
    *,
    by: str,
    read_version: int | None,
    check_version: CheckVersion,
    establishments: Establishments,
    sheets: Sheets,
    clock: Clock,
) -> StoredSheet:
    """Replace the sheet by what was typed. Saving the same again makes no new version and no event.

    `read_version` is the one that the caller says they saw; None where they named none.

    Raises:
        RefusedError: unknown establishment, another version than the caller saw, or fields that are wrong.
    """
    await _must_be_known(uai, establishments)
    async with sheets.changing(uai) as change:
        check_version(change.current, await _overtaken(change, read_version))
        try:
            sheet = sheets_domain.read(typed)
        except InvalidSheetError as invalid:
            raise invalid_sheet(invalid.errors) from None
        fields = sheets_domain.changes_between(change.current.sheet, sheet)
        if not fields:
            return change.current
        stored = StoredSheet(uai, sheet, change.current.version + 1, clock.now(), by)
        await change.save(stored, fields)
        await change.publish(
            EstablishmentUpdated(uai=uai, name=sheet.name or "", revision=stored.version, occurred_at=clock.now())
        )
        return stored


async def read_history(
    uai: str, *, before_version: int | None, limit: int, establishments: Establishments, sheets: Sheets
) -> Sequence[Change]:
    """Who changed what and when, newest first."""
    await _must_be_known(uai, establishments)
    return await sheets.history(uai, before_version=before_version, limit=limit)


async def read_opt_in(uai: str, *, opt_ins: OptIns) -> OptIn:
    """Whether the establishment takes part in transfers."""
    return await opt_ins.find(uai)


async def choose_opt_in(uai: str, choice: Choice, *, by: str, opt_ins: OptIns, clock: Clock) -> OptIn:
    """Open or close the establishment's doors. Choosing the same again changes nothing and tells nobody.

    The opt-in is in the establishment's own database, where the mover reads it under lock: from the commit on, nothing
    leaves or enters behind a closed door, whenever the event arrives.
    """
    async with opt_ins.changing(uai) as change:
        if change.current.choice == choice and change.current.revision > 0:
            return change.current
        chosen = OptIn(choice, await change.next_revision(), clock.now(), by)
        await change.save(chosen)
        await change.publish(
            TransferOptInChanged(
                uai=uai,
                enabled=choice.enabled,
                roster_source=choice.roster_source,
                revision=chosen.revision,
                occurred_at=clock.now(),
            )
        )
        return chosen


async def _overtaken(change: SheetChange, read_version: int | None) -> Sequence[Overtaken] | None:
    if read_version is None or not 0 <= read_version <= change.current.version:
        return None
    return sheets_domain.overtaken_by(await change.since(read_version))


async def _must_be_known(uai: str, establishments: Establishments) -> None:
    if not await establishments.known(uai):
        raise establishment_unknown(uai)
