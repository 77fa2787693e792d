"""The manual's situation 2: a school outside SIECLE, an administrator who authorises, and support who carries out."""

import re
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from cpro_contracts.pupils import PupilCreated, PupilDeactivated
from cpro_embedded.demo import report
from cpro_embedded.demo.administrator import Json
from cpro_embedded.demo.errors import DemoFailedError, RefusedError
from cpro_embedded.demo.schools import BELLEVUE, CFA, PARIS
from cpro_embedded.demo.story import Story, Undone, Way, at
from cpro_embedded.demo.support_desk import Command
from cpro_embedded.demo.untouched import untouched
from cpro_embedded.demo.waiting import until
from cpro_embedded.demo.world import Pupil
from cpro_test_support.records import rows_of

_TICKET, _UNDO_TICKET = "CPRO-20431", "CPRO-20467"
_TRAIL = Counter(
    {
        ("authorisation.recorded", None): 3,
        ("authorisation.revoked", None): 1,
        ("authorisation.replay_chosen", _TICKET): 2,
        ("authorisation.replayed", _TICKET): 2,
        ("transfer.undo_asked", _UNDO_TICKET): 1,
    }
)


@dataclass(slots=True)
class OutsideSiecle:
    """Plays on after any chapter in which pupils of Paris are still there to leave."""

    story: Story
    _entered: Pupil = field(init=False)
    """Has a sheet at the CFA, entered by hand."""
    _unknown: Pupil = field(init=False)
    """Has none there."""
    _revoked: Pupil = field(init=False)
    """What was authorised is taken back."""
    _authorisations: dict[str, str] = field(default_factory=dict)
    """By the pupil's name."""

    async def authorised(self) -> None:
        """Pupils leave Paris for a CFA. Their administrator authorises, and is told for whom not to."""
        story, world = self.story, self.story.world
        world.narrator.chapter("Outside SIECLE")
        self._entered, self._unknown, self._revoked, to_bellevue = leavers = story.take(PARIS, 4)
        story.depart(PARIS, leavers)
        await story.imports(PARIS)
        for pupil in leavers:
            await story.explained(pupil, PARIS, "not_arrived")
        await world.enters(CFA, self._entered)
        world.narrator.say(f"{at(CFA)} enters {self._entered.name} by hand, without an INE")

        await self._refused_where_it_is_automatic(to_bellevue)
        for pupil in (*self._both, self._revoked):
            await self._authorise(pupil)
        await story.administrator(PARIS).revokes(self._revoked.ids[PARIS.uai])
        await story.stays("authorisation taken back", self._revoked, "authorisation_revoked")

    async def carried_out(self) -> None:
        """Support looks, tries without writing anything, and carries both out; the ordinary join and move follow."""
        story, support = self.story, self.story.world.support
        queue, *candidates, refused = await support.runs_together(
            [
                Command(["authorisations"]),
                *(Command(["candidates", self._authorisation(pupil)]) for pupil in self._both),
                Command(self._replay(self._revoked, "--create"), exit_code=1),
            ]
        )
        _expect(refused, "authorisation_revoked")
        _expect(queue, *map(self._authorisation, self._both), "no candidate at the destination")
        if len(re.findall(CFA.uai, queue)) != len(self._both):
            raise DemoFailedError(f"more than {len(self._both)} authorisations are to be carried out: {queue}")
        _expect(candidates[0], self._entered.ids[CFA.uai], "same names and birth date")
        _expect(candidates[1], "No pupil is like this one")

        replays = (
            self._replay(self._entered, "--pupil", self._entered.ids[CFA.uai]),
            self._replay(self._unknown, "--create"),
        )
        world = story.world
        databases = [world.conninfo(PARIS), world.conninfo(CFA), world.installation.transfer.database.conninfo]
        async with untouched("the dry run", databases):
            shown = await support.runs_together([Command(replay) for replay in replays])
        for pupil, told in zip(self._both, shown, strict=True):
            _expect(told, PupilDeactivated.type, PupilCreated.type, "Dry run: nothing was written.")
            self._expect_records(told, pupil)
        world.narrator.say(f"and nothing was: no row of {PARIS.uai}, {CFA.uai} and the transfers is another one")

        await support.runs_together([Command([*replay, "--execute", "--yes"]) for replay in replays])
        await self._followed()

    async def taken_back(self) -> None:
        """The CFA says that the one it had entered is another person of that name: support takes the records back."""
        story, pupil, support = self.story, self._entered, self.story.world.support
        story.world.narrator.say(f"{at(CFA)} says: that is another {pupil.name}, born on the same day")
        (transfer,) = await story.moved(PARIS, CFA, [pupil])
        undo = ("transfers", "undo", transfer["id"], "--ticket", _UNDO_TICKET)
        await support.runs(*undo, "--execute", "--yes")
        returned = await self._returned(transfer["id"])
        story.undone.append(Undone(pupil, transfer["id"], returned["id"]))
        await story.stays("undone by support", pupil, "undone")

    async def audited(self) -> None:
        """The administrator of Paris reads who has done what."""
        trail = await self.story.administrator(PARIS).audit()
        told = Counter((line["action"], line["ticket"]) for line in trail)
        if told != _TRAIL or any(line["actor"] is None for line in trail):
            raise DemoFailedError(f"the audit trail of {PARIS.uai} says {told}")
        names = {str(pupil.ids[PARIS.uai]): pupil.name for pupil in self.story.world.pupils if pupil.origin is PARIS}
        self.story.world.narrator.table(report.audit_table(PARIS, trail, names))

    @property
    def _both(self) -> tuple[Pupil, Pupil]:
        return self._entered, self._unknown

    def _authorisation(self, pupil: Pupil) -> str:
        return self._authorisations[pupil.name]

    def _replay(self, pupil: Pupil, *how: object) -> list[object]:
        return ["replay", "authorisation", self._authorisation(pupil), *how, "--ticket", _TICKET]

    def _terms(self, destination_uai: str) -> Json:
        today = self.story.world.clock.now().date()
        return {
            "destination_uai": destination_uai, "given_by": "both", "given_on": str(today), "collected_by": "head",
        }  # fmt: skip

    async def _authorise(self, pupil: Pupil) -> None:
        administrator = self.story.administrator(PARIS)
        given = await administrator.authorises(pupil.ids[PARIS.uai], self._terms(CFA.uai))
        self._authorisations[pupil.name] = given["id"]
        self.story.world.narrator.say(f"{at(PARIS)} authorises the transfer of {pupil.name} to {at(CFA)}")

    async def _refused_where_it_is_automatic(self, pupil: Pupil) -> None:
        narrator = self.story.world.narrator
        try:
            await self.story.administrator(PARIS).authorises(pupil.ids[PARIS.uai], self._terms(BELLEVUE.uai))
        except RefusedError as refused:
            if refused.code != "transfer_is_automatic":
                raise
            narrator.say(f"{at(PARIS)} wants to authorise {pupil.name} for {at(BELLEVUE)}: refused")
            narrator.quote(f"{refused.code}: {refused}")
        else:
            raise DemoFailedError(f"{PARIS.uai} was allowed to authorise an automatic transfer")
        await self.story.stays("automatic, and not arrived", pupil, "not_arrived")

    def _expect_records(self, printed: str, pupil: Pupil) -> None:
        """The dry run's table counts what was written for this pupil."""
        tables = [table for table, _ in self.story.world.seeded.of_pupil(pupil.ids[PARIS.uai])]
        for table in set(tables):
            if not re.search(rf"\b{table}\W+{tables.count(table)}\b", printed):
                raise DemoFailedError(f"the dry run says something else than {tables.count(table)} of {table}")

    async def _followed(self) -> None:
        story = self.story
        with story.world.narrator.doing(f"the records of {len(self._both)} pupils: {at(PARIS)} → {at(CFA)}"):
            transfers = await story.moved(PARIS, CFA, self._both)
        for arrived in await story.administrator(CFA).incoming("completed"):
            await self._has_all(arrived, {one["id"]: one["pupil"]["id"] for one in transfers}[arrived["id"]])
        kept = [one for one in transfers if one["pupil"]["id"] == str(self._unknown.ids[PARIS.uai])]
        story.note(Way("authorised, outside SIECLE", PARIS, CFA, [self._unknown], kept, by_support=True))

    async def _has_all(self, arrived: Json, pupil_at_origin: str) -> None:
        """Both are looked at while they are there: one of them will go back."""
        seeded = self.story.world.seeded
        wanted = {row: seeded.rows[row] for row in seeded.of_pupil(UUID(pupil_at_origin))}
        async with await psycopg.AsyncConnection.connect(self.story.world.conninfo(CFA)) as tx:
            found = await rows_of(tx, UUID(arrived["pupil"]["id"]))
        if found != wanted:
            raise DemoFailedError(f"{CFA.uai} has {len(found)} records of a pupil instead of {len(wanted)}, or others")

    async def _returned(self, transfer_id: str) -> Json:
        """Wait until a transfer is undone; returns the one that undoes it."""

        async def look() -> list[Json]:
            back = await self.story.administrator(CFA).outgoing("completed")
            gone = await self.story.administrator(PARIS).outgoing("undone")
            return [one for one in back if one["undoes"] == transfer_id] if gone else []

        with self.story.world.narrator.doing(f"the records of {self._entered.name}: {at(CFA)} → {at(PARIS)}"):
            (returned,) = await until(f"transfer {transfer_id} is undone", look, lambda found: len(found) == 1)
        return returned


def _expect(printed: str, *wanted: object) -> None:
    missing = [str(one) for one in wanted if str(one) not in printed]
    if missing:
        raise DemoFailedError(f"cpro-support does not say {missing}: {printed[-300:]}")
