"""Settle dead letters: give them back to their topics, or discard them with a reason. Each once.

A replay locks the letters, publishes them and notes it, in this order, in one transaction: two supports at once take
turns, and the second finds nothing left. Who dies between Kafka's acknowledgement and the commit leaves a letter that
waits although it is back on its topic: asked again, it is published a second time, with the same event id and the same
mark, which is what every consumer here is built for. The other order would lose it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cpro_contracts.problems import ProblemCode
from cpro_platform import crash_points
from cpro_platform.errors import RefusedError
from cpro_platform.logs import get_logger
from cpro_transfer.domain.dead_letters import Choice, Letter, LetterCount, LetterState, Settling
from cpro_transfer.ports.letters import Letters, SourceTopics

AT_ONCE = 500
"""Letters settled in one transaction. Of more, the answer says how many are left."""

LETTER_UNKNOWN = ProblemCode("dead_letter_unknown", 404, "Message en échec inconnu", "Dead letter not known")
LETTER_SETTLED = ProblemCode("dead_letter_settled", 409, "Message en échec déjà traité", "Dead letter settled already")
PROBLEMS = (LETTER_UNKNOWN, LETTER_SETTLED)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Settled:
    """What was done with the chosen letters, or would be."""

    settled: int = 0
    superseded: int = 0
    left: int = 0
    counts: Sequence[LetterCount] = field(default_factory=tuple)
    """What waited before."""


@dataclass(frozen=True, slots=True)
class LetterDesk:
    """Where support settles dead letters."""

    letters: Letters
    topics: SourceTopics
    at_once: int = AT_ONCE

    async def preview(self, choice: Choice) -> Settled:
        """What waits of the chosen letters. Writes nothing.

        Raises:
            RefusedError: as `replay`.
        """
        if choice.ids:
            _refuse_settled(choice, await self.letters.find(choice.ids), request_id=None)
        waiting = await self._waiting(choice)
        return Settled(left=sum(count.number for count in waiting), counts=waiting)

    async def replay(self, choice: Choice, settling: Settling) -> Settled:
        """Give the chosen letters back to their topics, `at_once` at most. Safe to ask for again.

        Raises:
            RefusedError: one of the ids is not known, or was settled before by another request; nothing is done.
        """
        return await self._settle(choice, settling, LetterState.REPLAYED)

    async def discard(self, choice: Choice, settling: Settling) -> Settled:
        """Let the chosen letters be, with a reason. Raises as `replay` does."""
        return await self._settle(choice, settling, LetterState.DISCARDED)

    async def _settle(self, choice: Choice, settling: Settling, state: LetterState) -> Settled:
        before = await self._waiting(choice)
        async with self.letters.locked(choice, self.at_once) as locked:
            if choice.ids:
                _refuse_settled(choice, locked.letters, request_id=settling.request_id)
            waiting = [letter for letter in locked.letters if letter.state is LetterState.WAITING]
            superseded: set[UUID] = set()
            if state is LetterState.REPLAYED:
                superseded = await self.topics.superseded(waiting)
                await self.topics.give_back([letter for letter in waiting if letter.id not in superseded])
                crash_points.reach("letter.replayed")
                await locked.settle(superseded, LetterState.SUPERSEDED, settling)
            chosen = [letter.id for letter in waiting if letter.id not in superseded]
            await locked.settle(chosen, state, settling)
        after = await self._waiting(choice)
        _log.info("dead_letters.settled", state=state, letters=len(chosen), superseded=len(superseded))
        return Settled(len(chosen), len(superseded), sum(count.number for count in after), before)

    async def _waiting(self, choice: Choice) -> list[LetterCount]:
        return [count for count in await self.letters.counts(choice) if count.state is LetterState.WAITING]


def _refuse_settled(choice: Choice, found: Sequence[Letter], request_id: UUID | None) -> None:
    unknown = sorted(set(choice.ids) - {letter.id for letter in found})
    if unknown:
        raise RefusedError(
            LETTER_UNKNOWN,
            f"Aucun message en échec ne porte l'identifiant {unknown[0]}. Rien n'a été fait.",
            f"There is no dead letter {unknown[0]}. Nothing was done.",
        )
    for letter in found:
        own = request_id is not None and letter.request_id == request_id
        if letter.state is not LetterState.WAITING and not own:
            when = f"{letter.settled_at:%Y-%m-%d %H:%M} UTC"
            raise RefusedError(
                LETTER_SETTLED,
                f"Le message {letter.id} a déjà été traité le {when} ({letter.ticket}). Rien n'a été fait.",
                f"Letter {letter.id} was settled on {when} ({letter.ticket}): {letter.state}. Nothing was done.",
            )
