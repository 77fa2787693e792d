"""The join's SQL agrees with the pure rule, whatever the order, the duplication and the batching of the events."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from cpro_platform.clock import SystemClock
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.domain.matching import Enrolment, Held, Move, decide
from cpro_transfer.ports import Fact

_SCHOOLS, _PUPILS = 3, 2
_MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)
_NAMESPACE = UUID("8d0c9f0e-7a8e-4c1c-9d0f-1f3b5a7c9e11")

Happening = tuple[str, int, int]
"""What happens, at which school, to which pupil (an opt-in has none: 0)."""

happenings = st.one_of(
    st.tuples(
        st.sampled_from(["arrives", "arrives", "leaves", "leaves", "withdrawn", "by_hand"]),
        st.integers(0, _SCHOOLS - 1),
        st.integers(0, _PUPILS - 1),
    ),
    st.tuples(st.sampled_from(["opts_in", "opts_in", "opts_out"]), st.integers(0, _SCHOOLS - 1), st.just(0)),
)
histories = st.lists(happenings, min_size=1, max_size=14)

doors_open: list[Happening] = [("opts_in", school, 0) for school in range(_SCHOOLS)]
journeys = st.lists(
    st.tuples(st.sampled_from(["arrives", "leaves"]), st.integers(0, _SCHOOLS - 1), st.just(0)), min_size=2, max_size=8
)
"""One pupil, going from school to school with all doors open."""


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
            "leaves": PupilDeactivated,
            "withdrawn": PupilWithdrawn,
        }[what]
        joined = match_key.startswith("ine:")
        return kind(
            match_key=match_key, uai=uai, pupil_id=uuid5(_NAMESPACE, uai + match_key), revision=revision,
            occurred_at=time, source=EnrolmentSource.MANUAL if what == "by_hand" else EnrolmentSource.SIECLE,
            ine_status=IneStatus.TRUSTED if joined else IneStatus.ABSENT,
        )  # fmt: skip


def expected(facts: Iterable[Fact], moved: dict[tuple[str, str], int] | None = None) -> set[tuple[object, ...]]:
    """What the pure rule calls for: (match key, origin, revision, destination, state)."""
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
            if isinstance(decision, Move):
                called_for.add((key, origin.uai, origin.revision, decision.destination_uai, "planned"))
            elif isinstance(decision, Held):
                called_for.add((key, origin.uai, origin.revision, None, "held"))
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
            "SELECT match_key, origin_uai, origin_revision, destination_uai, state FROM transfer"
            " WHERE match_key = ANY (%s) AND state IN ('planned', 'held')",
            (play.match_keys,),
        )
        return set(await rows.fetchall())


async def take_in(world: TransferWorld, facts: Sequence[Fact], cuts: Sequence[int]) -> None:
    """Take the facts in, in batches that end at the cuts."""
    store = PostgresFacts(world.database, Projection(), SystemClock())
    edges = [0, *sorted({cut % (len(facts) + 1) for cut in cuts}), len(facts)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            await store.take_in(facts[start:end], ["cpro.pupil/0"])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, data=st.data())
async def test_any_order_duplication_and_batching_leads_to_what_the_rule_says(
    world: TransferWorld, history: list[Happening], data: st.DataObject
) -> None:
    play = Play.new()
    facts = play.facts([*data.draw(st.sampled_from([[], doors_open]), label="doors"), *history])
    repeated = data.draw(st.lists(st.sampled_from(facts), max_size=6), label="delivered again")
    delivered = data.draw(st.permutations([*facts, *repeated]), label="order of delivery")
    cuts = data.draw(st.lists(st.integers(0, 30), max_size=4), label="ends of batches")

    await take_in(world, delivered, cuts)

    assert await live(world, play) == expected(facts)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


async def _complete_all(world: TransferWorld, play: Play) -> dict[tuple[str, str], int]:
    """Carry what is planned to its end in the transfer database, as a mover does."""
    ledger = PostgresLedger(world.database, Projection(), SystemClock(), worker="property", lease=timedelta(minutes=5))
    moved: dict[tuple[str, str], int] = {}
    while claims := await ledger.claim(50):
        await ledger.complete(dict.fromkeys(claims, 1))
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT match_key, origin_uai, origin_revision FROM transfer WHERE match_key = ANY (%s) AND state = 'completed'",
            (play.match_keys,),
        )
        for match_key, uai, revision in await rows.fetchall():
            moved[match_key, uai] = max(revision, moved.get((match_key, uai), 0))
    return moved
