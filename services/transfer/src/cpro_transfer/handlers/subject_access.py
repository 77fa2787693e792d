"""What a pupil, or who has authority for them, may ask for: all that is held of them, and that it is erased.

**Whom it reaches.** A pupil is named by an establishment and the id there. What was carried out as a transfer of that
pupil leads to the other establishments: the databases compared the person then, under lock. That two pupils only share
a match key leads nowhere: a wrong INE must not erase somebody else.

**How an erasure goes on.** A dry run lists what goes, and its digest; only that list can be ordered. Then

| step   | where             | what commits                                         | if we die right after            |
|--------|-------------------|------------------------------------------------------|----------------------------------|
| begin  | transfer database | the order, the names of the places, all that is here | the order is found, and goes on  |
| erase  | each tenant       | rows gone, the files that go with them noted         | nothing more to delete there     |
| let go | store             | the files                                            | the notes are followed           |
| finish | transfer database | the order is done, and audited                       | nothing                          |

Each step can be run again, so whoever repeats the order finishes it. From the first on, the join takes in nothing about
these places: topics keep events for months, and one told again would bring the pupil back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpro_platform import crash_points
from cpro_transfer.domain.subjects import Erasure, ErasurePlan, Place
from cpro_transfer.domain.support import Order
from cpro_transfer.errors import ErasurePlanChangedError, SubjectUnknownError
from cpro_transfer.ports.subjects import SubjectLedger, SubjectTenants


@dataclass(frozen=True, slots=True)
class SubjectAccess:
    """Export and erasure, on support's order."""

    ledger: SubjectLedger
    tenants: SubjectTenants

    async def export(self, place: Place, order: Order) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """All that is held of the pupil: by place and `transfer_database`, then by table. Audited before it is told.

        Raises:
            SubjectUnknownError: nothing is held.
        """
        places = await self.ledger.places(place)
        found = {str(one): await self.tenants.contents(one) for one in places}
        found["transfer_database"] = await self.ledger.contents(places)
        rows = {where: sum(map(len, tables.values())) for where, tables in found.items()}
        if not any(rows.values()):
            raise SubjectUnknownError
        await self.ledger.note_export(place, order, rows)
        return found

    async def plan(self, place: Place) -> ErasurePlan:
        """What an erasure would take now.

        Raises:
            SubjectUnknownError: nothing is held, and nothing ever was erased.
        """
        places = await self.ledger.places(place)
        taken, left = await self.ledger.counts(places)
        rows: dict[Place, Mapping[str, int]] = {}
        kept = dict(left)
        for one in places:
            rows[one], staying = await self.tenants.counts(one)
            for table, number in staying.items():
                kept[table] = kept.get(table, 0) + number
        plan = ErasurePlan(rows, taken, kept)
        if plan.is_empty and not kept:
            raise SubjectUnknownError
        return plan

    async def erase(self, place: Place, order: Order, *, confirmed: str) -> Erasure:
        """Erase what the confirmed plan lists; or finish what was begun. Erased twice is as once.

        Raises:
            ErasurePlanChangedError: what is held is not what was confirmed; nothing was changed.
            TransferUnderWayError: a transfer of the pupil is in a mover's hands; nothing was changed here.
            SubjectUnknownError: nothing is held.
        """
        erasure = await self.ledger.erasure_of(place) or await self._begin(place, order, confirmed)
        if erasure.finished:
            return erasure
        for one in erasure.places:
            await self.tenants.erase(one, erasure.id)
            crash_points.reach("erasure.place_erased")
        await self.ledger.finish_erasure(erasure, place, order)
        finished = await self.ledger.erasure_of(place)
        assert finished is not None  # it was begun, and no order is ever taken back
        return finished

    async def _begin(self, place: Place, order: Order, confirmed: str) -> Erasure:
        try:
            plan = await self.plan(place)
            if plan.digest != confirmed:
                raise ErasurePlanChangedError(plan)
        except (ErasurePlanChangedError, SubjectUnknownError):
            # Somebody who ordered the same a moment ago has changed what is held.
            if begun := await self.ledger.erasure_of(place):
                return begun
            raise
        erasure = await self.ledger.begin_erasure(place, plan, order)
        crash_points.reach("erasure.begun")
        return erasure
