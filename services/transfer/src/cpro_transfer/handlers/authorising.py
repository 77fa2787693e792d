"""What an administrator can do where a transfer can't be automatic: allow it, and take that back.

What is refused here is refused for the user's sake: nobody should select a pupil whose records move by themselves.
Safety does not rest on it; the movers ask again, under lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.transfers import Reason
from cpro_platform.clock import Clock
from cpro_platform.errors import RefusedError
from cpro_transfer import refusals
from cpro_transfer.domain.authorisations import Authorisation, Terms, TermsRefusal, is_automatic, refusal_of_terms
from cpro_transfer.domain.explanation import explain
from cpro_transfer.domain.support import Order
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.errors import AuthorisationBegunError
from cpro_transfer.ports.authorising import Authorisations, AuthorisedPupils, PupilHere, Recorded, Situations, Tenants
from cpro_transfer.ports.reading import Situation

_GOING = frozenset({TransferState.PLANNED, TransferState.HOLDING, TransferState.COPYING, TransferState.LANDED})


@dataclass(frozen=True, slots=True)
class Authoriser:
    """Records authorisations and takes them back."""

    authorisations: Authorisations
    pupils: AuthorisedPupils
    situations: Situations
    tenants: Tenants
    clock: Clock
    lifetime_days: int

    async def authorise(self, uai: str, pupil_id: UUID, terms: Terms, order: Order) -> Recorded:
        """Let these terms hold for the pupil, in place of any others. Safe to repeat.

        Raises:
            RefusedError: they can't, and why.
        """
        if terms.destination_uai == uai:
            raise refusals.of_terms(TermsRefusal.SAME_ESTABLISHMENT)
        if not await self.tenants.knows(terms.destination_uai):
            raise refusals.destination_unknown(terms.destination_uai)
        pupil = await self.pupils.pupil(uai, pupil_id)
        if pupil is None:
            raise refusals.pupil_unknown()
        if pupil.sheet.active:
            raise refusals.not_left()
        if pupil.records_moved:
            raise refusals.records_moved()
        refusal = refusal_of_terms(
            uai,
            terms,
            born=pupil.sheet.identity.birth_date,
            now=self.clock.now(),
            lifetime_days=self.lifetime_days,
        )
        if refusal:
            raise refusals.of_terms(refusal)
        await self._refuse_the_automatic(uai, pupil, terms.destination_uai)
        try:
            return await self.authorisations.record(uai, pupil_id, terms, order)
        except AuthorisationBegunError as begun:
            raise refusals.begun(begun.authorisation) from begun

    async def authorise_several(
        self, uai: str, asked: Sequence[tuple[UUID, Terms | RefusedError]], order: Order
    ) -> list[Recorded | RefusedError]:
        """Each on its own: what is refused to one pupil stops no other. In the order in which they were asked for.

        Terms that could not be read come as the refusal that they are.
        """
        named = [pupil_id for pupil_id, _ in asked]
        outcomes: list[Recorded | RefusedError] = []
        for pupil_id, terms in asked:
            if isinstance(terms, RefusedError):
                outcomes.append(terms)
            elif named.count(pupil_id) > 1:
                outcomes.append(refusals.named_twice())
            else:
                outcomes.append(await self._outcome(uai, pupil_id, terms, order))
        return outcomes

    async def _outcome(self, uai: str, pupil_id: UUID, terms: Terms, order: Order) -> Recorded | RefusedError:
        try:
            return await self.authorise(uai, pupil_id, terms, order)
        except RefusedError as refused:
            return refused

    async def revoke(self, uai: str, pupil_id: UUID, order: Order) -> Authorisation:
        """Take back what holds for the pupil. Nothing moves by it from here on.

        Raises:
            RefusedError: there is nothing to take back, or the move has begun.
        """
        try:
            revoked = await self.authorisations.revoke(uai, pupil_id, order)
        except AuthorisationBegunError as begun:
            raise refusals.begun(begun.authorisation) from begun
        if revoked is None:
            raise refusals.authorisation_unknown()
        return revoked

    async def _refuse_the_automatic(self, uai: str, pupil: PupilHere, destination_uai: str) -> None:
        pupil_id = pupil.sheet.pupil_id
        situation = (await self.situations.situations(uai, [pupil_id])).get(pupil_id)
        going = _going(uai, situation)
        if going:
            raise refusals.under_way(going.id)
        reason = self._reason(uai, situation)
        destination = await self.pupils.doors(destination_uai)
        if is_automatic(pupil.source, pupil.ine_status, pupil.doors, destination, reason):
            raise refusals.automatic(reason or Reason.NOT_YET_ANNOUNCED)

    def _reason(self, uai: str, situation: Situation | None) -> Reason | None:
        if situation is None:
            return None
        facts = (situation.match_key, situation.enrolments, situation.doors, situation.transfers)
        return explain(uai, *facts, now=self.clock.now()).reason


def _going(uai: str, situation: Situation | None) -> Transfer | None:
    """A transfer out of here that is to happen without any authorisation."""
    if situation is None or situation.match_key.startswith(AUTHORISATION_KEY_PREFIX):
        return None
    return next((one for one in situation.transfers if one.origin_uai == uai and one.state in _GOING), None)
