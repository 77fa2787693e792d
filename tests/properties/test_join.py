"""The join's SQL agrees with the pure rule, whatever the order, the duplication and the batching of the events."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import (
    EnrolmentSource,
    PupilCreated,
    PupilDeactivated,
    PupilEvent,
    PupilReactivated,
    PupilWithdrawn,
)
from cpro_contracts.transfers import Reason
from cpro_platform.clock import SystemClock
from cpro_test_support.depth import examples
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.adapters.support_desk import PostgresSupportDesk
from cpro_transfer.domain.matching import Enrolment, Held, Move, decide
from cpro_transfer.domain.support import Order
from cpro_transfer.domain.transfers import Claim
from cpro_transfer.ports.joining import Fact

_SCHOOLS, _PUPILS = 3, 2
_MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)
_NAMESPACE = UUID("8d0c9f0e-7a8e-4c1c-9d0f-1f3b5a7c9e11")

Happening = tuple[str, int, int]
"""What happens, at which school, to which pupil (an opt-in has none: 0)."""

pupils_happenings = st.tuples(
    st.sampled_from(["arrives", "arrives", "arrives", "leaves", "leaves", "leaves", "withdrawn", "by_hand", "another"]),
    st.integers(0, _SCHOOLS - 1),
    st.sampled_from([0, 0, 0, 1]),
)
doors_happenings = st.tuples(
    st.sampled_from(["opts_in", "opts_in", "opts_out"]), st.integers(0, _SCHOOLS - 1), st.just(0)
)
# Mostly the one pupil who can be joined: with chance alone, hardly any history would call for a transfer.
happenings = st.one_of(pupils_happenings, pupils_happenings, pupils_happenings, doors_happenings)
histories = st.lists(happenings, min_size=3, max_size=14)

doors_open: list[Happening] = [("opts_in", school, 0) for school in range(_SCHOOLS)]
called_for: list[Happening] = [*doors_open, ("leaves", 0, 0), ("arrives", 1, 0)]
"""Where most histories that mean anything begin: a transfer is called for, and then something happens."""
journeys = st.lists(
    st.tuples(
        st.sampled_from(["arrives", "arrives", "leaves", "leaves", "another"]), st.integers(0, _SCHOOLS - 1), st.just(0)
    ),
    min_size=2,
    max_size=8,
)
"""One pupil, going from school to school with all doors open."""

mover_steps = st.sampled_from(["nothing", "nothing", "claims", "goes_on", "gives_way", "stumbles"])
"""What a mover does between two batches: it claims what is due, completes what it has, or stops where it was asked to."""


@dataclass(slots=True)
class Play:
    """One example, with establishments and match keys that no other example has."""

    uais: list[str]
    match_keys: list[str]

    @classmethod
    def new(cls) -> "Play":
        keys = [f"ine:1:{new_ine()}" for _ in range(_PUPILS - 1)]
        uais = [new_uai() for _ in range(_SCHOOLS)]
        # The last pupil has no INE: by construction never joined, even if two schools should claim the key.
        return cls(uais, [*keys, f"pupil:{uais[0]}:{new_ine()}"])

    def facts(self, history: Sequence[Happening]) -> list[Fact]:
        """The events of the history: each takes the next revision of its school."""
        revisions = dict.fromkeys(self.uais, 0)
        facts = []
        for minute, (what, school, pupil) in enumerate(history):
            uai = self.uais[school]
            revisions[uai] += 1
            time = _MORNING + timedelta(minutes=minute)
            facts.append(Fact(self._event(what, uai, self.match_keys[pupil], revisions[uai], time), time))
        return facts

    @staticmethod
    def _event(what: str, uai: str, match_key: str, revision: int, time: datetime) -> PupilEvent | TransferOptInChanged:
        if what in {"opts_in", "opts_out"}:
            return TransferOptInChanged(
                uai=uai,
                enabled=what == "opts_in",
                roster_source=RosterSource.SIECLE,
                revision=revision,
                occurred_at=time,
            )
        kind = {
            "arrives": PupilReactivated if revision % 2 else PupilCreated,
            "by_hand": PupilCreated,
            "another": PupilCreated,
            "leaves": PupilDeactivated,
            "withdrawn": PupilWithdrawn,
        }[what]
        joined = match_key.startswith("ine:")
        # The INE turns out to be another pupil's of the same school: the key stays, the pupil is another.
        name = uai + match_key + (str(revision) if what == "another" else "")
        return kind(
            match_key=match_key, uai=uai, pupil_id=uuid5(_NAMESPACE, name), revision=revision,
            occurred_at=time, source=EnrolmentSource.MANUAL if what == "by_hand" else EnrolmentSource.SIECLE,
            ine_status=IneStatus.TRUSTED if joined else IneStatus.ABSENT,
        )  # fmt: skip


def expected(facts: Iterable[Fact], moved: dict[tuple[str, str], int] | None = None) -> set[tuple[object, ...]]:
    """What the pure rule calls for: (match key, origin, its pupil, revision, destination, its pupil, state)."""
    newest: dict[object, Fact] = {}
    for fact in facts:
        place = (getattr(fact.event, "match_key", "opt-in"), fact.event.uai)
        if place not in newest or fact.event.revision > newest[place].event.revision:
            newest[place] = fact
    opted_in = frozenset(
        fact.event.uai
        for fact in newest.values()
        if isinstance(fact.event, TransferOptInChanged) and fact.event.enabled
    )
    by_key: dict[str, list[Enrolment]] = {}
    for fact in newest.values():
        if isinstance(fact.event, PupilEvent):
            by_key.setdefault(fact.event.match_key, []).append(_enrolment(fact.event, moved or {}))
    called_for: set[tuple[object, ...]] = set()
    for key, enrolments in by_key.items():
        for origin in enrolments:
            decision = decide(key, origin, enrolments, opted_in)
            leaver = (key, origin.uai, origin.pupil_id, origin.revision)
            if isinstance(decision, Move):
                (there,) = [e.pupil_id for e in enrolments if e.uai == decision.destination_uai]
                called_for.add((*leaver, decision.destination_uai, there, "planned"))
            elif isinstance(decision, Held):
                called_for.add((*leaver, None, None, "held"))
    return called_for


def _enrolment(event: PupilEvent, moved: dict[tuple[str, str], int]) -> Enrolment:
    withdrawn = isinstance(event, PupilWithdrawn)
    return Enrolment(
        uai=event.uai, pupil_id=event.pupil_id, active=not withdrawn and not isinstance(event, PupilDeactivated),
        source=event.source, ine_status=event.ine_status, revision=event.revision, withdrawn=withdrawn,
        moved_at_revision=moved.get((event.match_key, event.uai), 0),
    )  # fmt: skip


async def live(world: TransferWorld, play: Play) -> set[tuple[object, ...]]:
    """The transfers that stand: planned or held."""
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai, destination_pupil_id, state"
            " FROM transfer WHERE match_key = ANY (%s) AND state IN ('planned', 'held')",
            (play.match_keys,),
        )
        return set(await rows.fetchall())


async def take_in(world: TransferWorld, facts: Sequence[Fact], cuts: Sequence[int]) -> None:
    """Take the facts in, in batches that end at the cuts."""
    store = PostgresFacts(world.database, Projection(), SystemClock())
    edges = [0, *sorted({cut % (len(facts) + 1) for cut in cuts}), len(facts)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            await store.take_in([store.prepare(fact) for fact in facts[start:end]], ["cpro.pupil/0"])


@settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, data=st.data())
async def test_any_order_duplication_and_batching_leads_to_what_the_rule_says(
    world: TransferWorld, history: list[Happening], data: st.DataObject
) -> None:
    play = Play.new()
    facts = play.facts([*data.draw(st.sampled_from([called_for, called_for, doors_open, []]), label="start"), *history])
    known = data.draw(st.integers(0, _SCHOOLS), label="taken in before the others")
    repeated = data.draw(st.lists(st.sampled_from(facts), max_size=6), label="delivered again")
    delivered = data.draw(st.permutations([*facts, *repeated]), label="order of delivery")
    cuts = data.draw(st.lists(st.integers(0, 30), max_size=4), label="ends of batches")

    await take_in(world, facts[:known], [])
    await take_in(world, delivered, cuts)

    assert await live(world, play) == expected(facts)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=journeys, after=journeys, data=st.data())
async def test_what_has_moved_is_planned_again_by_new_facts_only(
    world: TransferWorld, before: list[Happening], after: list[Happening], data: st.DataObject
) -> None:
    play = Play.new()
    facts = play.facts([*doors_open, *before, *after])
    await take_in(world, facts[: len(doors_open) + len(before)], [])
    moved = await _complete_all(world, play)

    late = data.draw(st.permutations(facts), label="everything ever published, again")
    await take_in(world, late, [3, 7])

    assert await live(world, play) == expected(facts, moved)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, data=st.data())
async def test_whatever_a_mover_does_meanwhile_what_stands_in_the_end_is_what_the_rule_says(
    world: TransferWorld, history: list[Happening], data: st.DataObject
) -> None:
    play = Play.new()
    mover = _Mover(world, play)
    facts = play.facts([*data.draw(st.sampled_from([called_for, doors_open]), label="start"), *history])
    order = data.draw(st.sampled_from([facts, data.draw(st.permutations(facts), label="shuffled")]), label="order")
    edges = sorted(
        {
            0,
            len(doors_open),
            len(order),
            *data.draw(st.lists(st.integers(0, len(order)), max_size=6), label="ends of batches"),
        }
    )

    for start, end in itertools.pairwise(edges):
        await take_in(world, order[start:end], [])
        await mover.does(data.draw(mover_steps, label="the mover"))
    await mover.does("gives_way")
    await mover.does("goes_on")

    moved = await _moved(world, play)
    assert await mover.in_hand() == []
    assert await mover.stands() == expected(facts, moved)


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.one_of(histories, journeys), news=st.lists(happenings, max_size=4), data=st.data())
async def test_what_support_has_cancelled_stands_until_one_of_its_facts_has_changed(
    world: TransferWorld, history: list[Happening], news: list[Happening], data: st.DataObject
) -> None:
    play = Play.new()
    start = data.draw(st.sampled_from([called_for, called_for, doors_open]), label="start")
    facts = play.facts([*start, *history, *news])
    before = facts[: len(start) + len(history)]
    await take_in(world, before, [])
    await _support_cancels_all(world, play)

    late = data.draw(st.permutations([*before, *before[:3]]), label="everything published so far, again")
    await take_in(world, late, [3, 7])
    assert await live(world, play) == set()

    await take_in(world, facts, data.draw(st.lists(st.integers(0, 30), max_size=3), label="ends of batches"))
    standing = {_facts_of(row, before) for row in expected(before)}
    assert await live(world, play) == {row for row in expected(facts) if _facts_of(row, facts) not in standing}


async def _support_cancels_all(world: TransferWorld, play: Play) -> None:
    desk = PostgresSupportDesk(world.database, SystemClock())
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT id FROM transfer WHERE match_key = ANY (%s) AND state IN ('planned', 'held')", (play.match_keys,)
        )
        transfers = await rows.fetchall()
    for (transfer_id,) in transfers:
        await desk.cancel(transfer_id, Order("a-support", "support", "CPRO-1"), dry_run=False)


def _facts_of(row: tuple[object, ...], facts: Sequence[Fact]) -> tuple[object, ...]:
    """The business key of what is called for; with a destination, the revisions of the other facts as well."""
    match_key, origin, _, origin_revision, destination, _, _ = row
    key = (match_key, origin, origin_revision, destination)
    if destination is None:
        return key
    arrival = (
        fact.event.revision
        for fact in facts
        if isinstance(fact.event, PupilEvent) and (fact.event.match_key, fact.event.uai) == (match_key, destination)
    )
    doors = (
        max(f.event.revision for f in facts if isinstance(f.event, TransferOptInChanged) and f.event.uai == uai)
        for uai in (origin, destination)
    )
    return (*key, max(arrival), *doors)


class _Mover:
    """Carries transfers of one example through their states in the transfer database, as a mover does."""

    def __init__(self, world: TransferWorld, play: Play) -> None:
        self._world = world
        self._play = play
        self._ledger = PostgresLedger(
            world.database, Projection(), SystemClock(), worker="property", lease=timedelta(minutes=5)
        )
        self._claims: list[Claim] = []

    async def does(self, step: str) -> None:
        if step == "claims":
            while claims := await self._ledger.claim(50):
                self._claims += claims
        elif step == "goes_on" and self._claims:
            await self._ledger.complete(dict.fromkeys(self._claims, 1))
            self._claims = []
        elif step == "stumbles" and self._claims:
            await self._ledger.hold(self._claims, Reason.IDENTITY_MISMATCH)
            self._claims = []
        elif step == "gives_way":
            asked = {row["id"] for row in await self.in_hand() if row["cancel_requested"]}
            stopping = [claim for claim in self._claims if claim.id in asked]
            if stopping:
                await self._ledger.cancel(stopping)
            self._claims = [claim for claim in self._claims if claim.id not in asked]

    async def in_hand(self) -> list[dict[str, Any]]:
        return await self._transfers("state IN ('holding', 'copying', 'landed')")

    async def stands(self) -> set[tuple[object, ...]]:
        """What is live, where what the mover has held counts as planned: the facts call for it as before."""
        set_aside = {row["match_key"] + row["origin_uai"] for row in await self._transfers("detail IS NOT NULL")}
        found = await live(self._world, self._play)
        return {(*row[:-1], "planned" if str(row[0]) + str(row[1]) in set_aside else row[-1]) for row in found}

    async def _transfers(self, condition: str) -> list[dict[str, Any]]:
        async with self._world.database.begin() as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(
                f"SELECT * FROM transfer WHERE match_key = ANY (%s) AND {condition}", (self._play.match_keys,)
            )
            return await cursor.fetchall()


async def _complete_all(world: TransferWorld, play: Play) -> dict[tuple[str, str], int]:
    """Carry what is planned to its end in the transfer database."""
    mover = _Mover(world, play)
    while await _any_planned(world, play):
        await mover.does("claims")
        await mover.does("goes_on")
    return await _moved(world, play)


async def _any_planned(world: TransferWorld, play: Play) -> bool:
    return any(row[-1] == "planned" for row in await live(world, play))


async def _moved(world: TransferWorld, play: Play) -> dict[tuple[str, str], int]:
    """At which revision the records of each pupil last left each school."""
    moved: dict[tuple[str, str], int] = {}
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT match_key, origin_uai, origin_revision FROM transfer WHERE match_key = ANY (%s) AND state = 'completed'",
            (play.match_keys,),
        )
        for match_key, uai, revision in await rows.fetchall():
            moved[match_key, uai] = max(revision, moved.get((match_key, uai), 0))
    return moved
