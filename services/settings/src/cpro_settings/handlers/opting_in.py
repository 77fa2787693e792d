"""What an administrator can do with the opt-in of an establishment, and what they are told of its effect before."""

from collections.abc import Sequence

import structlog

from cpro_contracts.establishments import TransferOptInChanged
from cpro_platform.clock import Clock
from cpro_settings.domain import conditions as conditions_domain
from cpro_settings.domain.conditions import Conditions, NotAcceptedError, OutdatedError
from cpro_settings.domain.effect import Effect, Figures, Unavailable
from cpro_settings.domain.opt_in import Choice, OptIn, OptInEntry
from cpro_settings.errors import FiguresAwayError, conditions_not_accepted, conditions_outdated
from cpro_settings.ports import OptIns, TransferOutlook

_log = structlog.get_logger()


async def read_opt_in(uai: str, *, opt_ins: OptIns) -> OptIn:
    """Whether the establishment takes part in transfers."""
    return await opt_ins.find(uai)


async def choose_opt_in(
    uai: str,
    choice: Choice,
    *,
    accepted_version: int | None,
    by: str,
    opt_ins: OptIns,
    every_conditions: tuple[Conditions, ...],
    clock: Clock,
) -> OptIn:
    """Open or close the establishment's doors. Choosing the same again changes nothing and tells nobody.

    Nobody opens them without having accepted the conditions in force; anybody closes them. The opt-in is in the
    establishment's own database, where the mover reads it under lock: from the commit on, nothing leaves or enters
    behind a closed door, whenever the event arrives. No other service is asked.

    Raises:
        RefusedError: the conditions were not accepted, or others than those in force.
    """
    conditions = _accepted(accepted_version, every_conditions) if choice.enabled else None
    version = conditions.version if conditions else None
    async with opt_ins.changing(uai) as change:
        current = change.current
        if current.choice == choice and current.accepted_conditions == version and current.revision > 0:
            return current
        chosen = OptIn(choice, await change.next_revision(), clock.now(), by, version)
        await change.save(chosen, conditions)
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


async def read_opt_in_history(
    uai: str, *, before_revision: int | None, limit: int, opt_ins: OptIns
) -> Sequence[OptInEntry]:
    """Who chose what and when, newest first."""
    return await opt_ins.history(uai, before_revision=before_revision, limit=limit)


async def foresee(uai: str, *, enabled: bool | None, token: str, opt_ins: OptIns, outlook: TransferOutlook) -> Effect:
    """What this choice would do to pupils, or does where it is the one in force; None asks of the one in force.

    The figures are the transfer service's. Where they can't be had, or where it has not heard of the choice in force
    yet, there are none: never a wrong number.
    """
    opt_in = await opt_ins.find(uai)
    asked = opt_in.choice.enabled if enabled is None else enabled
    since = opt_in.open_since if asked else None
    figures: Figures | Unavailable
    try:
        figures = await outlook.ask(uai, enabled=asked, since=since, token=token)
    except FiguresAwayError as away:
        _log.warning("outlook.unavailable", cause=str(away))
        figures = Unavailable.NOT_CONFIGURED if away.not_configured else Unavailable.AWAY
    else:
        if figures.opt_in_revision < opt_in.revision:
            figures = Unavailable.CATCHING_UP
    return Effect(enabled=asked, in_force=opt_in.choice.enabled, figures=figures)


def _accepted(version: int | None, every_version: tuple[Conditions, ...]) -> Conditions:
    try:
        return conditions_domain.accepted(version, every_version)
    except NotAcceptedError:
        raise conditions_not_accepted(every_version[-1]) from None
    except OutdatedError:
        raise conditions_outdated(every_version[-1]) from None
