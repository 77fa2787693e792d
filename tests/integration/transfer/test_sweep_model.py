"""In every mixture of states the sweep takes exactly what the words below say, and shuts no mover out of its work."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpro_test_support.depth import examples
from cpro_test_support.schools import School
from cpro_test_support.sweeping import SweptWorld, swept_world
from cpro_test_support.transfers import TransferWorld, new_ine, new_uai

_STATES = [
    "holding",
    "copying",
    "unknown",
    "planned",
    "holding",
    "copying",
    "landed",
    "completed",
    "held",
    "held_after_landing",
    "cancelled",
]
_epochs = st.integers(1, 3)


@dataclass(frozen=True)
class File:
    """One file: `epoch` 0 is one that the core application has put."""

    epoch: int
    has_a_row: bool
    is_noted: bool


@dataclass(frozen=True)
class Play:
    """A transfer as both databases have it, and files of it; the core application's files have none."""

    state: str
    epoch: int
    fence: int | None
    receipt: int | None
    files: tuple[File, ...]


def _file(epochs: st.SearchStrategy[int]) -> st.SearchStrategy[File]:
    rarely = st.sampled_from([False, False, False, True])
    return st.builds(File, epochs, has_a_row=rarely, is_noted=rarely)


plays = st.builds(
    Play,
    state=st.sampled_from(_STATES),
    epoch=_epochs,
    fence=st.sampled_from([None, 1, 1, 2, 2, 3, 4]),
    receipt=st.sampled_from([None, None, None, 1, 2, 3]),
    files=st.lists(_file(_epochs), min_size=1, max_size=3).map(tuple),
) | st.builds(
    Play, st.just("unknown"), st.just(1), st.none(), st.none(), st.lists(_file(st.just(0)), min_size=1).map(tuple)
)


def goes(play: Play, file: File, age: timedelta) -> bool:  # noqa: PLR0911 - one question, one answer
    """The rule, in words."""
    if file.has_a_row or age < timedelta(days=1):
        return False
    if file.is_noted:
        return True
    if file.epoch in {0, play.receipt}:  # a row named it once, or will
        return age > timedelta(days=7)
    if play.receipt is not None:
        return True
    if play.state in {"landed", "completed", "held_after_landing"}:  # the establishment went back in time
        return False
    if play.fence is None:
        return False
    in_hand = play.state in {"holding", "copying"}
    return not (in_hand and file.epoch >= play.epoch)


@pytest.fixture
async def swept(world: TransferWorld) -> AsyncIterator[SweptWorld]:
    """A world with a bucket of its own."""
    async with swept_world(world) as opened:
        yield opened


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_plays=st.lists(plays, min_size=1, max_size=5),
    age=st.sampled_from([timedelta(hours=1), timedelta(days=2), timedelta(days=30)]),
)
@example([Play("copying", 2, 2, None, (File(1, False, False), File(2, False, False)))], timedelta(days=30))
async def test_the_sweep_takes_what_the_rule_says_and_nothing_else(
    swept: SweptWorld, given_plays: list[Play], age: timedelta
) -> None:
    school, pupil = await _school(swept)
    transfers = [(uuid4(), play) for play in given_plays]
    keys = {}
    for transfer_id, play in transfers:
        await _set_up(swept, school, pupil, transfer_id, play)
        for file in play.files:
            name = f"{transfer_id}/{file.epoch}/{uuid4()}" if file.epoch else str(uuid4())
            key = await swept.puts(school, name, pupil=pupil if file.has_a_row else None)
            keys[key] = goes(play, file, age)
            if file.is_noted:
                await school.execute("INSERT INTO transfer_object_removal VALUES (%s, %s)", key, transfer_id)

    done = await swept.sweep(age, sweep_max_unclaimed_percent=100.0)

    left = await swept.files(school)
    assert {key: key not in left for key in keys} == keys
    assert done.removed >= sum(keys.values())
    fences = dict(await school.fetch("SELECT transfer_id, epoch FROM transfer_fence"))
    for transfer_id, play in transfers:
        before, after = play.fence, fences.get(transfer_id)
        assert (before is None) == (after is None)
        assert (after or 0) >= (before or 0)
        if play.state in {"holding", "copying"} and (before or 0) <= play.epoch:
            assert (after or 0) <= play.epoch, "a mover that is at work was shut out"


async def _school(swept: SweptWorld) -> tuple[School, UUID]:
    """One school for all examples: databases are dear, and keys are never used again."""
    known = list(swept.world.schools.known.values())
    if known:
        ((pupil,),) = await known[0].fetch("SELECT id FROM pupil")
        return known[0], pupil
    (school,) = await swept.world.schools.create(new_uai())
    return school, await school.has(new_ine())


async def _set_up(swept: SweptWorld, school: School, pupil: UUID, transfer_id: UUID, play: Play) -> None:
    if play.state != "unknown":
        state = play.state.removesuffix("_after_landing")
        async with swept.world.database.begin() as tx:
            await tx.execute(
                "INSERT INTO transfer (id, match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai,"
                " destination_pupil_id, origin_opt_in_revision, state, reason, epoch, called_for_at, landed_at)"
                " VALUES (%s, %s, %s, gen_random_uuid(), 1, %s, %s, 1, %s, 'returned', %s, now(), %s)",
                (
                    transfer_id, f"ine:1:{transfer_id}", new_uai(), school.uai, pupil, state, play.epoch,
                    "2026-01-01" if play.state in {"landed", "completed", "held_after_landing"} else None,
                ),
            )  # fmt: skip
    if play.fence is not None:
        await school.execute("INSERT INTO transfer_fence VALUES (%s, %s)", transfer_id, play.fence)
    if play.receipt is not None:
        await school.execute(
            "INSERT INTO transfer_receipt (transfer_id, direction, pupil_id, other_uai, epoch, tables, origin_opt_in,"
            " destination_opt_in) VALUES (%s, 'incoming', %s, '0752387M', %s, '{}', '{}', '{}')",
            transfer_id, pupil, play.receipt,
        )  # fmt: skip
