"""Publish again what establishments have published, to repair whoever has lost it.

It is counted first, school by school, and nothing is published before somebody has seen the numbers and starts it.
Then the same work, a batch at a time, with the place noted after each: it goes on where it was, whoever dies. A school
whose database is away keeps no other waiting.

Replaying changes nothing for who has not lost anything: each event carries the revision that it had.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_platform import crash_points
from cpro_platform.clock import Clock
from cpro_platform.errors import RefusedError
from cpro_platform.logs import get_logger
from cpro_platform.retry import backoff
from cpro_platform.transience import is_transient
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.domain.event_replays import EventReplay, Mischosen, ReplayState, Selection
from cpro_transfer.ports.event_replays import EventLogs, LogCount, ReplayInHand, ReplayJobs

_LARGEST_BATCH = 500
Result = TypeVar("Result")

REPLAY_UNKNOWN = ProblemCode("event_replay_unknown", 404, "Rejeu inconnu", "Replay not known")
REPLAY_MISCHOSEN = ProblemCode("event_replay_mischosen", 422, "Sélection à préciser", "Selection not usable")
REPLAY_STATE = ProblemCode("event_replay_state", 409, "Ce rejeu n'en est pas là", "The replay is not at that point")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayDesk:
    """Where support asks for replays."""

    jobs: ReplayJobs
    clock: Clock
    all_uais: Callable[[], Awaitable[Sequence[str]]]
    longest: timedelta
    highest_rate: int

    async def ask(
        self, replay_id: UUID, selection: Selection, *, rate: int | None, ticket: str, by: str
    ) -> EventReplay:
        """Write a replay down; it is counted from then on. Asked again under the same id, it is the same one.

        Raises:
            RefusedError: the selection can't be used, or names a school that is not known.
        """
        mischosen = selection.mischosen(self.clock.now(), self.longest)
        if mischosen:
            raise RefusedError(REPLAY_MISCHOSEN, *self._words(mischosen), why=str(mischosen))
        if rate and rate > self.highest_rate:
            raise RefusedError(
                problems.INVALID_REQUEST,
                f"Au plus {self.highest_rate} événements par seconde.",
                f"No more than {self.highest_rate} events a second.",
            )
        known = await self.all_uais()
        unknown = sorted(set(selection.uais) - set(known))
        if unknown:
            raise RefusedError(
                problems.ESTABLISHMENT_UNKNOWN,
                f"Aucun établissement {unknown[0]} n'utilise CPro.",
                f"No establishment {unknown[0]} uses CPro.",
            )
        uais = selection.uais or tuple(known)
        await self.jobs.enter(replay_id, selection, uais, rate=rate or self.highest_rate, ticket=ticket, by=by)
        return await self.find(replay_id)

    async def find(self, replay_id: UUID) -> EventReplay:
        """One replay.

        Raises:
            RefusedError: there is none.
        """
        found = await self.jobs.find(replay_id)
        if found is None:
            raise RefusedError(REPLAY_UNKNOWN, "Ce rejeu n'existe pas.", "There is no such replay.")
        return found

    async def start(self, replay_id: UUID, by: str) -> EventReplay:
        """Let it run, once it is counted. Of two at once, one starts it. Asked again by the same person: no change.

        Raises:
            RefusedError: it is not counted yet, has ended, or somebody else has started it.
        """
        started = await self.jobs.start(replay_id, by)
        found = await self.find(replay_id)
        if not started and not (found.state in {ReplayState.RUNNING, ReplayState.COMPLETED} and found.started_by == by):
            raise _not_there_yet(found)
        return found

    async def cancel(self, replay_id: UUID, by: str) -> EventReplay:
        """End it. What is published stays published. Asked again: no change.

        Raises:
            RefusedError: it has completed.
        """
        await self.jobs.cancel(replay_id, by)
        found = await self.find(replay_id)
        if found.state is not ReplayState.CANCELLED:
            raise _not_there_yet(found)
        return found

    def _words(self, mischosen: Mischosen) -> tuple[str, str]:
        days = self.longest.days
        return {
            Mischosen.NOTHING: (
                "Donnez des établissements, ou une période.",
                "Give establishments, or a range of time.",
            ),
            Mischosen.OPEN: ("Donnez aussi le début de la période.", "Give the beginning of the range as well."),
            Mischosen.BACKWARDS: ("La période finit avant de commencer.", "The range ends before it begins."),
            Mischosen.TOO_LONG: (
                f"La période dépasse {days} jours, la durée de conservation des événements.",
                f"The range is longer than {days} days, which is how long events are kept.",
            ),
            Mischosen.WHICH_SCHOOL: (
                "Un élève, ou un import, est celui d'un établissement : donnez lequel.",
                "A pupil, or an import, is one establishment's: say which.",
            ),
        }[mischosen]


class EventReplayer:
    """Carries replays out. Any number may work side by side: each takes a replay for a batch."""

    def __init__(self, jobs: ReplayJobs, logs: EventLogs, *, poll_seconds: float) -> None:
        self._jobs = jobs
        self._logs = logs
        self._poll_seconds = poll_seconds

    async def run(self) -> None:
        """Work until cancelled. Waits out a transfer database that is away."""
        delays = backoff(longest_seconds=10)
        while True:
            try:
                worked = await self.step()
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("event_replay.waiting", error=type(error).__name__)
                await asyncio.sleep(next(delays))
                continue
            delays = backoff(longest_seconds=10)
            if not worked:
                await asyncio.sleep(self._poll_seconds)

    async def step(self) -> bool:
        """Count one school, or publish one batch. False: nothing is due."""
        async with self._jobs.next() as held:
            if held is None:
                return False
            turn = held.turn
            try:
                await (self._count(held) if turn.state is ReplayState.COUNTING else self._publish(held))
            except TenantUnknownError:
                _log.warning("event_replay.school_gone", uai=turn.uai)
                await self._pass_over(held)
            except _SchoolAwayError as away:
                _log.warning("event_replay.put_off", uai=turn.uai, error=str(away))
                await held.put_off(str(away))
        return True

    async def _count(self, held: ReplayInHand) -> None:
        turn = held.turn
        count = await _asked(self._logs.count(turn.uai, turn.selection))
        await held.note_count(count)

    async def _publish(self, held: ReplayInHand) -> None:
        turn = held.turn
        limit = min(_LARGEST_BATCH, turn.events_per_second)
        number, position = await _asked(
            self._logs.publish_again(
                turn.uai, turn.selection, replay_id=turn.replay_id, after=turn.position, up_to=turn.last_position,
                limit=limit,
            )
        )  # fmt: skip
        crash_points.reach("event_replay.published")
        await held.note_published(number, position, done=number < limit or position >= turn.last_position)

    async def _pass_over(self, held: ReplayInHand) -> None:
        if held.turn.state is ReplayState.COUNTING:
            await held.note_count(LogCount({}, 0))
        else:
            await held.note_published(0, held.turn.position, done=True)


class _SchoolAwayError(Exception):
    """The school's database, or Kafka, can't be asked now."""


async def _asked(answer: Awaitable[Result]) -> Result:
    try:
        return await answer
    except TenantUnknownError:
        raise
    except Exception as error:
        if not is_transient(error):
            raise
        raise _SchoolAwayError(type(error).__name__) from error


def _not_there_yet(found: EventReplay) -> RefusedError:
    who = f" (lancé le {found.started_at:%Y-%m-%d %H:%M} UTC)" if found.started_at else ""
    since = f" (started on {found.started_at:%Y-%m-%d %H:%M} UTC)" if found.started_at else ""
    return RefusedError(
        REPLAY_STATE,
        f"Ce rejeu est dans l'état {found.state}{who}.",
        f"This replay is {found.state}{since}.",
        state=str(found.state),
    )
