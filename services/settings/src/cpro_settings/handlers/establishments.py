"""What an administrator can do with the sheet of an establishment."""

from collections.abc import Callable, Mapping, Sequence

from cpro_contracts.establishments import EstablishmentUpdated
from cpro_platform.clock import Clock
from cpro_settings.domain import sheet as sheets_domain
from cpro_settings.domain.sheet import Change, InvalidSheetError, Overtaken, StoredSheet
from cpro_settings.errors import establishment_unknown, invalid_sheet
from cpro_settings.ports import Establishments, SheetChange, Sheets

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


async def _overtaken(change: SheetChange, read_version: int | None) -> Sequence[Overtaken] | None:
    if read_version is None or not 0 <= read_version <= change.current.version:
        return None
    return sheets_domain.overtaken_by(await change.since(read_version))


async def _must_be_known(uai: str, establishments: Establishments) -> None:
    if not await establishments.known(uai):
        raise establishment_unknown(uai)
