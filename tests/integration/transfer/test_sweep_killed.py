"""A sweep is a process like the others: it can be killed anywhere, says what it did, and is measured."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cpro_platform.metrics import Metrics
from cpro_test_support.depth import in_part, slow
from cpro_test_support.schools import School
from cpro_test_support.sweeping import FILES, SweptWorld, swept_world
from cpro_test_support.transfers import TransferWorld, environment_of, eventually, new_ine, new_uai
from cpro_transfer.bootstrap import Service, Work

AT_ONCE: dict[str, Any] = {"sweep_copy_age_hours": 1e-9, "sweep_unclaimed_age_hours": 1e-9}


@pytest.fixture
async def swept(world: TransferWorld) -> AsyncIterator[SweptWorld]:
    """A world with a bucket of its own."""
    async with swept_world(world) as opened:
        yield opened


async def _leftovers(swept: SweptWorld) -> tuple[School, School, set[str]]:
    """Copies of a cancelled transfer, a file whose row has left, and files that rows name. Returns the last."""
    origin, destination, leaver = await swept.a_transfer()
    sleeper = await swept.claim()
    await swept.hold(sleeper)
    await origin.has_again(leaver)
    await swept.world.take_in_events()
    await swept.moved_until("cancelled")
    await swept.copy_files(sleeper, origin, leaver)
    named = await swept.files(origin)
    noted = await swept.puts(origin)
    await origin.execute("INSERT INTO transfer_object_removal VALUES (%s, gen_random_uuid())", noted)
    return origin, destination, named


@pytest.mark.parametrize("point", in_part(["sweep.removed", "sweep.fenced", "sweep.fenced#2", "sweep.removed#2"]))
async def test_a_sweep_killed_anywhere_takes_nothing_that_is_named_and_the_next_one_ends_it(
    swept: SweptWorld, point: str
) -> None:
    origin, destination, named = await _leftovers(swept)

    with swept.world.process("sweep", crash_at=point, **AT_ONCE) as sweep:
        await sweep.start()
        assert await sweep.ended() == -signal.SIGKILL
    assert named <= await swept.files(origin)
    assert (await swept.world.schools.verify()).clean
    with swept.world.process("sweep", **AT_ONCE) as sweep:
        await sweep.start()
        assert await sweep.ended() == 0

    assert await swept.files(origin) == named
    assert await swept.files(destination) == set()
    assert await origin.fetch("SELECT * FROM transfer_object_removal") == []
    assert (await swept.world.schools.verify()).clean


@slow
async def test_the_command_says_what_it_does_or_would_do(swept: SweptWorld) -> None:
    origin, destination, named = await _leftovers(swept)

    foretold_code, foretold = await _command(swept, "--dry-run")
    assert len(await swept.files(destination)) == FILES.attachments
    code, said = await _command(swept)

    assert (foretold_code, code) == (0, 0)
    assert foretold.replace("would remove", "removed").splitlines()[:-1] == said.splitlines()[:-1]
    assert said.count("removed copy ") == FILES.attachments
    assert said.count("removed left ") == 1
    assert said.splitlines()[-1].startswith(f"removed {FILES.attachments + 1} files: ")
    assert await swept.files(origin) == named


async def test_the_exit_code_says_that_an_establishment_could_not_be_asked(swept: SweptWorld) -> None:
    await swept.puts(School(swept.world.schools, new_uai()))

    code, said = await _command(swept)

    assert code == 3
    assert "keep unread" in said


async def test_a_sweep_that_stays_is_measured(swept: SweptWorld) -> None:
    origin, _, named = await _leftovers(swept)
    (suspected,) = await swept.world.schools.create(new_uai())
    for _ in range(11):
        await swept.puts(suspected)
    await suspected.has(new_ine())
    metrics = Metrics()

    async with Service(swept.world.config.model_copy(update=AT_ONCE), metrics=metrics, work=Work.SWEEP):

        async def swept_once() -> str | None:
            text = metrics.render().decode()
            return text if "cpro_transfer_sweep_timestamp_seconds 0.0" not in text else None

        text = await eventually(swept_once)

    assert f'cpro_transfer_swept_files_total{{fate="copy"}} {FILES.attachments}.0' in text
    assert 'cpro_transfer_swept_files_total{fate="left"} 1.0' in text
    assert 'cpro_transfer_swept_bytes_total{fate="copy"} 0.0' not in text
    assert 'cpro_transfer_sweep_suspect_files{fate="too_many"} 11.0' in text
    assert origin.uai not in text
    assert await swept.files(origin) == named


async def _command(swept: SweptWorld, *options: str) -> tuple[int | None, str]:
    """`cpro-transfer sweep` as operations run it: exit code and what it prints."""
    environment = environment_of(swept.world.config.model_copy(update=AT_ONCE))
    code = "from cpro_transfer.entrypoints.cli import app; app()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "sweep", *options, env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()
