"""Two people, or a person and a worker, decide at the same moment: one outcome, and what was answered is true."""

import asyncio
import random
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from cpro_siecle_import import handlers
from cpro_siecle_import.bootstrap import Service, Work
from cpro_siecle_import.config import Config
from cpro_test_support.import_world import YEAR, School
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


async def asked(school: School, pupils: list[SamplePupil], **query: Any) -> str:
    return str((await school.upload(school.file(pupils), **query)).json()["id"])


async def reaches(school: School, import_id: str, phase: str) -> None:
    async def there() -> bool | None:
        return (await school.job(import_id))["phase"] == phase or None

    await eventually(there, lambda: school.job(import_id))


async def decide(school: School, import_id: str, decision: str) -> httpx.Response:
    return await school.client.post(f"/siecle-imports/{import_id}/{decision}")


async def test_a_cancellation_in_time_is_a_promise_that_nothing_is_applied(school: School) -> None:
    async with school.holding("LOCK TABLE pupil IN ROW EXCLUSIVE MODE"):
        import_id = await asked(school, roster(5))
        await reaches(school, import_id, "comparing")
        answer = await decide(school, import_id, "cancel")

    ended = await school.rest(import_id)

    assert (answer.status_code, answer.json()["state"], answer.json()["cancel_requested"]) == (202, "running", True)
    assert ended["state"] == "cancelled"
    assert await school.pupils() == {}
    assert await school.outbox() == []


async def test_a_cancellation_while_it_is_being_applied_is_refused(school: School) -> None:
    async with school.holding("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"):
        import_id = await asked(school, roster(5))
        await reaches(school, import_id, "applying")
        answer = await decide(school, import_id, "cancel")

    ended = await school.rest(import_id)

    assert (answer.status_code, answer.json()["code"]) == (409, "import_not_cancellable")
    assert "en cours d'application" in answer.json()["detail"]
    assert (ended["state"], ended["cancel_requested"]) == ("completed", False)
    assert len(await school.pupils()) == 5


async def test_a_cancellation_of_an_import_about_to_stop_ends_it_instead(school: School) -> None:
    async with school.holding("LOCK TABLE siecle_import_change IN ACCESS EXCLUSIVE MODE"):
        import_id = await asked(school, roster(5), mode="preview")
        await reaches(school, import_id, "comparing")
        answer = await decide(school, import_id, "cancel")

    assert answer.status_code == 202
    assert (await school.rest(import_id))["state"] == "cancelled"


@pytest.mark.parametrize("seed", range(3))
async def test_whenever_it_is_cancelled_the_answer_and_the_pupils_agree(school: School, seed: int) -> None:
    dice = random.Random(seed)
    applied: list[SamplePupil] = []
    for number in range(6):
        pupils = [*applied, *roster(1, seed=100 + number)]
        import_id = await asked(school, pupils)
        await asyncio.sleep(dice.uniform(0, 0.25))  # when is the experiment
        answer = await decide(school, import_id, "cancel")
        ended = await school.rest(import_id)
        known = len(await school.pupils())

        if answer.status_code == 202:
            assert (ended["state"], known) == ("cancelled", len(applied))
        else:
            assert (answer.status_code, ended["state"], known) == (409, "completed", len(pupils))
            applied = pupils


async def test_an_import_that_is_confirmed_twice_and_cancelled_at_once_has_one_outcome(school: School) -> None:
    applied = roster(1)
    await school.imports(applied)
    for number in range(5):
        pupils = [*applied, *roster(1, seed=200 + number)]
        preview = await school.imports(pupils, mode="preview")

        confirmed, again, cancelled = await asyncio.gather(
            *(decide(school, preview["id"], decision) for decision in ("confirm", "confirm", "cancel"))
        )
        ended = await school.rest(preview["id"])
        if ended["state"] == "awaiting_confirmation":  # the answers overtook the worker
            await reaches(school, preview["id"], "done")
            ended = await school.read(preview["id"])

        assert [confirmed.status_code, again.status_code].count(202) <= 1
        assert ended["state"] == ("cancelled" if cancelled.status_code == 202 else "completed")
        applied = applied if cancelled.status_code == 202 else pupils
        assert len(await school.pupils()) == len(applied)


async def test_an_attempt_that_is_abandoned_does_not_count_and_the_next_carries_on(
    config_without_worker: Config, lone_school: School
) -> None:
    """As when a worker is told to stop, and the import takes longer than it may wait."""
    import_id = await asked(lone_school, roster(5))
    async with Service(config_without_worker, work=Work.NOTHING) as service:
        carry_out = partial(
            handlers.run_import, lone_school.uai, UUID(import_id), jobs=service.jobs, rosters=service.rosters,
            exports=service.exports, clock=service.clock, rules=service.rules,
        )  # fmt: skip
        async with lone_school.holding("LOCK TABLE pupil IN ROW EXCLUSIVE MODE"):
            attempt = asyncio.create_task(carry_out())
            await reaches(lone_school, import_id, "comparing")
            attempt.cancel()
            await asyncio.wait({attempt})
            abandoned = await lone_school.job(import_id)

        await carry_out()

    done = await lone_school.job(import_id)
    assert (attempt.cancelled(), abandoned["state"], abandoned["attempts"]) == (True, "running", 0)
    assert (done["state"], done["attempts"]) == ("completed", 1)
