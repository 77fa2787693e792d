"""After any history every school that ever had the pupil gets an answer that is true, and says since when it has been."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource, PupilCreated, PupilDeactivated, PupilEvent, PupilWithdrawn
from cpro_contracts.transfers import Reason
from cpro_platform.clock import SystemClock
from cpro_test_support.depth import examples
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai
from cpro_transfer.adapters.ledger import PostgresLedger
from cpro_transfer.adapters.projection import PostgresFacts, Projection
from cpro_transfer.adapters.queries import TransferQueries
from cpro_transfer.domain.explanation import Direction, Explanation, explain
from cpro_transfer.domain.sentences import NEXT_STEPS, SENTENCES
from cpro_transfer.ports.joining import Fact

_SCHOOLS = 3
_MORNING = datetime(2026, 9, 1, 8, tzinfo=UTC)
_NAMESPACE = UUID("8d0c9f0e-7a8e-4c1c-9d0f-1f3b5a7c9e12")

Happening = tuple[str, int]
happenings = st.tuples(
    st.sampled_from(
        ["arrives", "arrives", "leaves", "leaves", "by_hand", "leaves_by_hand", "withdrawn", "opts_in", "opts_out"]
    ),
    st.integers(0, _SCHOOLS - 1),
) | st.just(("moves", 0))
journeys = st.tuples(st.sampled_from(["arrives", "leaves"]), st.integers(0, _SCHOOLS - 1))
"""One pupil, going from school to school: what decides is who let go, or took them in, last."""
changes_of_mind = st.tuples(st.sampled_from(["arrives", "leaves", "opts_in", "opts_out", "moves"]), st.integers(0, 1))
"""Two schools only, and their doors."""
histories = (
    st.lists(happenings, min_size=1, max_size=10)
    | st.lists(journeys, min_size=4, max_size=10)
    | st.lists(changes_of_mind, min_size=3, max_size=10)
)
doors_open: list[Happening] = [("opts_in", school) for school in range(_SCHOOLS)]


@dataclass(slots=True)
class Story:
    """One pupil and three schools that no other example has, and what is true of them: kept apart from the service."""

    match_key: str = field(default_factory=lambda: f"ine:1:{new_ine()}")
    uais: list[str] = field(default_factory=lambda: [new_uai() for _ in range(_SCHOOLS)])
    revisions: dict[str, int] = field(default_factory=dict)
    here_by_file: set[str] = field(default_factory=set)
    open_doors: set[str] = field(default_factory=set)

    def pupil_at(self, uai: str) -> UUID:
        """The pupil's id there."""
        return uuid5(_NAMESPACE, uai + self.match_key)

    def fact(self, what: str, uai: str, time: datetime) -> Fact:
        """The event of one happening; notes what it makes true."""
        self.revisions[uai] = self.revisions.get(uai, 0) + 1
        if what in {"opts_in", "opts_out"}:
            (self.open_doors.add if what == "opts_in" else self.open_doors.discard)(uai)
            return Fact(
                TransferOptInChanged(
                    uai=uai, enabled=what == "opts_in", roster_source=RosterSource.SIECLE,
                    revision=self.revisions[uai], occurred_at=time,
                ),
                time,
            )  # fmt: skip
        (self.here_by_file.add if what == "arrives" else self.here_by_file.discard)(uai)
        return Fact(self._pupil_event(what, uai, time), time)

    def _pupil_event(self, what: str, uai: str, time: datetime) -> PupilEvent:
        kind: Any = {
            "arrives": PupilCreated, "by_hand": PupilCreated, "leaves": PupilDeactivated,
            "leaves_by_hand": PupilDeactivated, "withdrawn": PupilWithdrawn,
        }[what]  # fmt: skip
        event: PupilEvent = kind(
            match_key=self.match_key, uai=uai, pupil_id=self.pupil_at(uai), revision=self.revisions[uai],
            occurred_at=time, source=EnrolmentSource.MANUAL if "by_hand" in what else EnrolmentSource.SIECLE,
            ine_status=IneStatus.TRUSTED,
        )  # fmt: skip
        return event


async def answers(world: TransferWorld, story: Story) -> dict[str, Explanation]:
    """What every school that has the pupil is told."""
    queries, told = TransferQueries(world.database), {}
    for uai in story.uais:
        pupil_id = story.pupil_at(uai)
        situation = (await queries.situations(uai, [pupil_id])).get(pupil_id)
        if situation:
            told[uai] = explain(
                uai, situation.match_key, situation.enrolments, situation.doors, situation.transfers,
                now=SystemClock().now() + timedelta(days=1),
            )  # fmt: skip
    return told


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([], [("arrives", 0), ("leaves", 1), ("withdrawn", 1)])
@example(doors_open, [("leaves", 0), ("opts_out", 0)])
@example(doors_open, [("leaves", 0), ("arrives", 1), ("moves", 0), ("opts_out", 1)])
@example(doors_open, [("leaves", 0), ("arrives", 1), ("arrives", 2), ("leaves", 1), ("leaves", 2)])
@given(before=st.sampled_from([[], doors_open, doors_open]), history=histories)
async def test_every_answer_is_true_and_has_been_since_it_says(
    world: TransferWorld, before: Sequence[Happening], history: Sequence[Happening]
) -> None:
    story, facts = Story(), PostgresFacts(world.database, Projection(), SystemClock())
    told: list[tuple[datetime, dict[str, Explanation]]] = []
    with_the_pupil: set[str] = set()

    for minute, (what, school) in enumerate([*before, *history]):
        time, uai = _MORNING + timedelta(minutes=minute), story.uais[school]
        if what == "moves":
            await _complete_all(world)
        else:
            await facts.take_in([facts.prepare(story.fact(what, uai, time))], ["cpro.pupil/0"])
            with_the_pupil |= set() if what.startswith("opts") else {uai}
        told.append((time, await answers(world, story)))

    _, latest = told[-1]
    assert set(latest) == with_the_pupil, "everyone who has the pupil is answered"
    for uai, said in latest.items():
        assert said.reason in SENTENCES
        assert said.reason in NEXT_STEPS
        _names_no_one_without_need(story, uai, said)
        if said.direction is Direction.OUTGOING:
            await _agrees_with_the_join(world, story, uai, said)
            _has_been_so_since(told, uai, said)


def _names_no_one_without_need(story: Story, uai: str, said: Explanation) -> None:
    if said.other_uai is None:
        return
    present = story.here_by_file & {uai, said.other_uai}
    assert len(present) == 1, "the pupil is at one of the two"
    assert story.open_doors >= {uai, said.other_uai}
    assert len(story.here_by_file) == 1, "and at no third"


async def _agrees_with_the_join(world: TransferWorld, story: Story, uai: str, said: Explanation) -> None:
    async with world.database.begin() as tx:
        rows = await tx.execute(
            "SELECT t.state, t.reason FROM transfer t JOIN enrolment e ON e.match_key = t.match_key"
            " AND e.uai = t.origin_uai AND e.revision = t.origin_revision"
            " WHERE t.match_key = %s AND t.origin_uai = %s AND t.state <> 'cancelled'",
            (story.match_key, uai),
        )
        standing = await rows.fetchall()
    stands = {
        Reason.IN_PROGRESS: [("planned", None)],
        Reason.AMBIGUOUS_DESTINATION: [("held", "ambiguous_destination")],
        Reason.COMPLETED: [("completed", None)],
    }
    assert standing == stands.get(said.reason, []), said.reason


def _has_been_so_since(told: Sequence[tuple[datetime, dict[str, Explanation]]], uai: str, said: Explanation) -> None:
    """From the time that it names on, every answer was this one; and something happened at that time."""
    if said.reason is Reason.COMPLETED:
        return  # since the clock's time of the move, not the story's
    assert said.since in {time for time, _ in told}
    assert {then[uai].reason for time, then in told if time >= said.since} == {said.reason}


async def _complete_all(world: TransferWorld) -> None:
    """Carry what is planned to its end in the transfer database, as a mover does."""
    ledger = PostgresLedger(world.database, Projection(), SystemClock(), worker="story", lease=timedelta(minutes=5))
    while claims := await ledger.claim(50):
        await ledger.complete(dict.fromkeys(claims, 1))
