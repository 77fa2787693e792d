"""kill -9 of a worker at each of its named points, then another worker: the end is the same as without the crash."""

import asyncio
import signal
import subprocess
from collections.abc import Callable

import pytest

from cpro_siecle_import.config import Config
from cpro_test_support.depth import points, slow
from cpro_test_support.faults import tally
from cpro_test_support.import_world import EXPORT_DAY, YEAR, School, pupil_events
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import generate_pupils

StartWorker = Callable[..., "subprocess.Popen[bytes]"]


async def ended(process: "subprocess.Popen[bytes]") -> int:
    async with asyncio.timeout(30):
        status = await asyncio.to_thread(process.wait)
    if status == -signal.SIGKILL:
        tally.killed("worker")
    return status


@pytest.mark.parametrize(
    "point",
    points(
        [
            "import.claimed",
            "import.parsed",
            "import.applied",
            "outbox.published",
            "import.published",
            "consumer.handled",
        ],
        in_every_run={"import.applied"},
    ),
)
async def test_an_import_killed_at_any_point_ends_as_if_nothing_had_happened(
    point: str, lone_school: School, config_without_worker: Config, worker: StartWorker, servers: Servers
) -> None:
    school = lone_school
    pupils = list(generate_pupils(40, 1, school_year=YEAR))
    victim = worker(config_without_worker, CPRO_CRASH_AT=point)
    asked = (await school.upload(school.file(pupils))).json()
    killed = await ended(victim)

    successor = worker(config_without_worker)
    done = await school.rest(asked["id"])
    # A second import through the same worker shows that the first left nothing in its way.
    later = await school.imports([pupils[0].leaves(EXPORT_DAY), *pupils[1:]])
    successor.terminate()

    events = await pupil_events(servers, school.uai, 41)
    assert killed == -9
    assert (done["state"], done["counts"]["created"]) == ("completed", 40)
    assert (later["state"], later["counts"]["deactivated"], later["counts"]["unchanged"]) == ("completed", 1, 39)
    assert len(await school.pupils()) == 40
    assert len(await school.outbox()) == 41
    assert len({(event.match_key, event.revision) for event in events}) == 41
    assert await school.rows("SELECT 1 FROM outbox WHERE published_at IS NULL") == []
    assert await ended(successor) in {0, -15}


@slow
async def test_a_job_that_kills_every_worker_is_given_up_and_does_not_block_the_next(
    lone_school: School, config_without_worker: Config, worker: StartWorker
) -> None:
    school = lone_school
    asked = (await school.upload(school.file(list(generate_pupils(3, 1, school_year=YEAR))))).json()
    for _ in range(2):
        assert await ended(worker(config_without_worker, CPRO_CRASH_AT="import.claimed")) == -9

    worker(config_without_worker, CPRO_SIECLE_IMPORT_MAX_ATTEMPTS="2")
    given_up = await school.rest(asked["id"])
    next_one = await school.imports(list(generate_pupils(4, 1, school_year=YEAR)))

    assert (given_up["state"], given_up["refusal"]["code"]) == ("failed", "processing_error")
    assert (next_one["state"], next_one["counts"]["created"]) == ("completed", 4)


@slow
async def test_an_import_that_is_applied_is_never_given_up(
    lone_school: School, config_without_worker: Config, worker: StartWorker
) -> None:
    asked = (await lone_school.upload(lone_school.file(list(generate_pupils(3, 1, school_year=YEAR))))).json()
    limit = {"CPRO_SIECLE_IMPORT_MAX_ATTEMPTS": "1"}
    assert await ended(worker(config_without_worker, CPRO_CRASH_AT="import.applied", **limit)) == -9

    # Nobody can cancel it meanwhile: the pupils are there.
    refused = await lone_school.client.post(f"/siecle-imports/{asked['id']}/cancel")
    worker(config_without_worker, **limit)
    done = await lone_school.rest(asked["id"])

    assert (refused.status_code, refused.json()["code"]) == (409, "import_not_cancellable")
    assert (done["state"], done["counts"]["created"], done["refusal"]) == ("completed", 3, None)
    assert (await lone_school.job(asked["id"]))["attempts"] == 2
