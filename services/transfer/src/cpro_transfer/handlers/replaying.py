"""Carry out an authorisation: say again, under its own key, that the pupil has left and has arrived.

What follows is the ordinary join and the ordinary move. The steps, each of which can be repeated and finds what was
done:

1. Everything is checked in both databases. A dry run ends here, and has written nothing.
2. The choice is noted in the authorisation: of two supports at once the first one's stands.
3. The origin says that the pupil has left. That alone moves nothing.
4. The destination creates the pupil if asked, and says that they are there, in one transaction.

What dies in between is found in the queue (`replay_unfinished`): the same request again, with the same ticket, goes on.
Where a database has changed its mind since the check, the choice is forgotten again, and nothing will move: under the
key there is at most a departure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from cpro_contracts.identifiers import match_key_of_authorisation
from cpro_contracts.transfers import Reason
from cpro_platform import crash_points
from cpro_platform.auth import Role
from cpro_platform.clock import Clock
from cpro_transfer import refusals
from cpro_transfer.domain.authorisations import Authorisation, AuthorisationState
from cpro_transfer.domain.candidates import Candidate, Likeness, Sheet, rank
from cpro_transfer.domain.support import Order
from cpro_transfer.errors import (
    AuthorisationBegunError,
    AuthorisationEndedError,
    AuthorisationTakenError,
    ReplayRefusedError,
)
from cpro_transfer.ports.authorising import Authorisations, AuthorisedPupils, Choice, PupilHere

_SURE = frozenset({Likeness.SAME_INE, Likeness.SAME_NAMES_AND_BIRTH_DATE})


@dataclass(frozen=True, slots=True)
class Saying:
    """An event that is, or would be, published again."""

    uai: str
    type: str
    match_key: str
    pupil_id: UUID | None
    """None: of the pupil who would be created."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay is, or would be."""

    authorisation: Authorisation
    leaver: Sheet
    arrival: Sheet | None
    """None: the pupil is created from the leaver's sheet."""
    says: tuple[Saying, Saying]
    records: Mapping[str, int]
    """What is at the origin, by kind: that would be moved."""
    done: bool


@dataclass(frozen=True, slots=True)
class Candidates:
    """The leaver, and who at the destination may be them."""

    authorisation: Authorisation
    leaver: Sheet
    found: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Replayer:
    """Finds candidates, and replays."""

    authorisations: Authorisations
    pupils: AuthorisedPupils
    clock: Clock

    async def candidates(self, authorisation_id: UUID) -> Candidates:
        """Who at the destination may be the pupil, the likeliest first.

        Raises:
            RefusedError: no such authorisation, or the origin has the pupil no longer.
        """
        authorisation = await self._known(authorisation_id)
        leaver = await self._leaver(authorisation)
        return Candidates(authorisation, leaver.sheet, await self._rank(authorisation, leaver.sheet))

    async def what_is_missing(self, authorisation: Authorisation) -> list[str]:
        """Why support can't carry it out now, or what is left to do: codes of the API."""
        if authorisation.state(self.clock.now()) is AuthorisationState.EXPIRED:
            return [refusals.AUTHORISATION_EXPIRED.code]
        leaver = await self.pupils.pupil(authorisation.origin_uai, authorisation.origin_pupil_id)
        destination = await self.pupils.doors(authorisation.terms.destination_uai)
        likely = await self._rank(authorisation, leaver.sheet) if leaver else []
        missing = {
            refusals.ORIGIN_NOT_OPTED_IN.code: leaver is not None and not leaver.doors.open,
            refusals.DESTINATION_NOT_OPTED_IN.code: not destination.open,
            refusals.PUPIL_NOT_LEFT.code: leaver is None or leaver.sheet.active,
            "no_candidate": not authorisation.ticket and not any(one.sheet.active for one in likely),
            "replay_unfinished": bool(authorisation.ticket) and authorisation.replayed_at is None,
        }
        return [code for code, is_so in missing.items() if is_so]

    async def replay(
        self, authorisation_id: UUID, *, pupil_id: UUID | None, ticket: str, by: str, dry_run: bool
    ) -> Replay:
        """Carry it out for this pupil of the destination; without one, for a pupil to be created there.

        Safe to repeat with the same ticket and choice, whatever has happened in between.

        Raises:
            RefusedError: it can't be, and why; nothing is half done.
        """
        known = await self._known(authorisation_id)
        self._refuse_if_over(known)
        if known.is_in_other_hands(ticket, pupil_id):
            raise refusals.taken(known)
        leaver = await self._checked_leaver(known)
        arrival = await self._checked_arrival(known, leaver.sheet, pupil_id)
        records = await self.pupils.records(known.origin_uai, known.origin_pupil_id)
        if dry_run:
            return _replay(known, leaver.sheet, arrival, records, pupil_id, done=False)
        choice = Choice(ticket, pupil_id or uuid4(), creates=pupil_id is None)
        order = Order(by, Role.SUPPORT, ticket)
        chosen = await self._choose(known, choice, order)
        crash_points.reach("replay.chosen")
        done = await self._say(chosen, order)
        return _replay(done, leaver.sheet, arrival, records, done.destination_pupil_id, done=True)

    async def _choose(self, known: Authorisation, choice: Choice, order: Order) -> Authorisation:
        try:
            return await self.authorisations.choose(known.id, choice, order)
        except AuthorisationBegunError as begun:
            raise refusals.begun(begun.authorisation) from begun
        except AuthorisationEndedError as over:
            raise refusals.ended(over.authorisation.state(self.clock.now())) from over
        except AuthorisationTakenError as taken:
            raise refusals.taken(taken.authorisation) from taken

    async def _say(self, chosen: Authorisation, order: Order) -> Authorisation:
        """The departure first: until the arrival is there too, nothing follows from it."""
        try:
            await self.pupils.say_left(chosen)
            await self.pupils.say_arrived(chosen)
        except ReplayRefusedError as refused:
            await self.authorisations.give_up(chosen, refused.reason, order)
            raise refusals.of_replay(refused.reason) from refused
        return await self.authorisations.note_replayed(chosen, order)

    async def _known(self, authorisation_id: UUID) -> Authorisation:
        known = await self.authorisations.find(authorisation_id)
        if known is None:
            raise refusals.authorisation_unknown()
        return known

    def _refuse_if_over(self, known: Authorisation) -> None:
        state = known.state(self.clock.now())
        if state in {AuthorisationState.REVOKED, AuthorisationState.EXPIRED}:
            raise refusals.ended(state)
        if state in {AuthorisationState.EXECUTING, AuthorisationState.EXECUTED}:
            raise refusals.begun(known)

    async def _leaver(self, known: Authorisation) -> PupilHere:
        leaver = await self.pupils.pupil(known.origin_uai, known.origin_pupil_id)
        if leaver is None:
            raise refusals.pupil_unknown()
        return leaver

    async def _checked_leaver(self, known: Authorisation) -> PupilHere:
        leaver = await self._leaver(known)
        if leaver.sheet.active:
            raise refusals.of_replay(Reason.NOT_LEFT)
        if leaver.records_moved:
            raise refusals.of_replay(Reason.COMPLETED)
        if not leaver.doors.open:
            raise refusals.of_replay(Reason.ORIGIN_NOT_OPTED_IN)
        if not (await self.pupils.doors(known.terms.destination_uai)).open:
            raise refusals.of_replay(Reason.DESTINATION_NOT_OPTED_IN)
        return leaver

    async def _checked_arrival(self, known: Authorisation, leaver: Sheet, pupil_id: UUID | None) -> Sheet | None:
        if pupil_id is None:
            there = [one for one in await self._rank(known, leaver) if one.likeness in _SURE and one.sheet.active]
            ours = known.destination_pupil_id if known.creates_pupil else None
            others = [str(one.sheet.pupil_id) for one in there if one.sheet.pupil_id != ours]
            if others:
                raise refusals.candidates_exist(others)
            return None
        arrival = await self.pupils.pupil(known.terms.destination_uai, pupil_id)
        if arrival is None:
            raise refusals.candidate_unknown()
        if not arrival.sheet.active:
            raise refusals.candidate_not_present()
        return arrival.sheet

    async def _rank(self, known: Authorisation, leaver: Sheet) -> list[Candidate]:
        return rank(leaver, await self.pupils.like(known.terms.destination_uai, leaver))


def _replay(
    known: Authorisation,
    leaver: Sheet,
    arrival: Sheet | None,
    records: Mapping[str, int],
    pupil_id: UUID | None,
    *,
    done: bool,
) -> Replay:
    key = match_key_of_authorisation(known.id)
    says = (
        Saying(known.origin_uai, "cpro.pupil.deactivated.v1", key, known.origin_pupil_id),
        Saying(known.terms.destination_uai, "cpro.pupil.created.v1", key, pupil_id),
    )
    return Replay(known, leaver, arrival, says, records, done)
