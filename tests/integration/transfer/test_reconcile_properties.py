"""Whatever happened and whichever events were lost: once reconciled, the transfer database is as if it had heard all."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpro_test_support.depth import examples
from cpro_test_support.reconciling import database_lost, hears, kinds, knowledge, reconciled, row_versions, said
from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai, opened_world

_SCHOOLS, _PUPILS = 3, 3

Happening = tuple[str, int, int]
"""What happens, at which school, to which pupil (an opt-in has none: 0)."""

happenings = st.one_of(
    st.tuples(
        st.sampled_from(["changes", "changes", "changes", "corrected"]),
        st.integers(0, _SCHOOLS - 1),
        st.integers(0, _PUPILS - 1),
    ),
    st.tuples(st.sampled_from(["opts_in", "opts_in", "opts_out"]), st.integers(0, _SCHOOLS - 1), st.just(0)),
)
histories = st.lists(happenings, min_size=1, max_size=12)


@dataclass(slots=True)
class Stage:
    """The same schools for every example, a transfer database that loses events and one that hears all."""

    losing: TransferWorld
    hearing: TransferWorld
    schools: list[School]
    lost: set[UUID] = field(default_factory=set)

    async def play(self, history: list[Happening]) -> list[UUID]:
        """Pupils of this example alone. Returns the events that were said."""
        before = set(await said(self.losing))
        ines = [new_ine() for _ in range(_PUPILS)]
        here: dict[tuple[int, int], UUID] = {}
        active: dict[tuple[int, int], bool] = {}
        for what, number, pupil in history:
            school, place = self.schools[number], (number, pupil)
            if what in {"opts_in", "opts_out"}:
                await (school.opts_in() if what == "opts_in" else school.opts_out())
            elif place not in here:
                here[place] = await school.has(ines[pupil])
                active[place] = True
            elif what == "corrected":
                await school.corrects_ine(here[place], new_ine())
                active[place] = True
                await school.execute("UPDATE pupil SET active = true WHERE id = %s", here[place])
            else:
                await (school.loses(here[place]) if active[place] else school.has_again(here[place]))
                active[place] = not active[place]
        return [event for event in await said(self.losing) if event not in before]


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    """No event of it is on Kafka: what is heard is told by the test."""
    async with opened_world(servers.endpoints, on_their_way_seconds=0) as world, database_lost(world) as hearing:
        schools = await world.schools.create(*(new_uai() for _ in range(_SCHOOLS)))
        yield Stage(world, hearing, schools)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, data=st.data())
async def test_whichever_events_are_lost_reconciling_ends_as_if_none_had_been(
    stage: Stage, history: list[Happening], data: st.DataObject
) -> None:
    events = await stage.play(history)
    stage.lost |= set(data.draw(st.sets(st.sampled_from(events)), label="lost"))
    await hears(stage.hearing)
    await hears(stage.losing, lost=stage.lost)

    before = await row_versions(stage.losing)
    looked = await reconciled(stage.losing, dry_run=True)
    assert await row_versions(stage.losing) == before

    assert kinds(await reconciled(stage.losing)) == kinds(looked)
    await hears(stage.losing, lost=stage.lost)

    assert await knowledge(stage.losing) == await knowledge(stage.hearing)
    at_rest = await row_versions(stage.losing)
    assert kinds(await reconciled(stage.losing)) == {}
    assert await row_versions(stage.losing) == at_rest


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
async def test_saying_everything_again_changes_nothing_where_nothing_is_missing(
    stage: Stage, history: list[Happening]
) -> None:
    await stage.play(history)
    await hears(stage.hearing)
    before = await row_versions(stage.hearing)

    # The other database has heard nothing since the last example: the schools say it all again, to both.
    await reconciled(stage.losing)
    await hears(stage.losing)
    await hears(stage.hearing)

    after = await row_versions(stage.hearing)
    assert after["transfers"] == before["transfers"]
    assert await knowledge(stage.losing) == await knowledge(stage.hearing)
