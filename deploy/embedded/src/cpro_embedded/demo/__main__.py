"""`python -m cpro_embedded.demo`: play the story, say how it ended in one last line, exit with 0 or 1."""

import asyncio
import traceback
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from textwrap import shorten
from typing import Annotated

import psycopg
import typer

from cpro_embedded.demo import report
from cpro_embedded.demo.checks import Findings, check
from cpro_embedded.demo.errors import DemoFailedError
from cpro_embedded.demo.narrator import Narrator
from cpro_embedded.demo.outside_siecle import OutsideSiecle
from cpro_embedded.demo.schools import CFA, CLUSTERS, PARIS
from cpro_embedded.demo.story import FEWEST_PUPILS, Story, Way
from cpro_embedded.demo.world import World, opened_world
from cpro_embedded.errors import EmbeddedError
from cpro_embedded.interrupts import end_in_good_order
from cpro_embedded.stack import EmbeddedStack

_LONGEST_SECONDS = 600
_WHY_LENGTH = 500

Played = tuple[Sequence[Way], Findings]

app = typer.Typer(add_completion=False)


class Tampering(StrEnum):
    """What to do to one record before the checks, to see them fail."""

    CHANGED = "changed"
    LOST = "lost"
    MOVED = "moved"
    LOST_AT_CFA = "lost-at-cfa"


_LOSE_ONE = "DELETE FROM assessment WHERE id = (SELECT min(id::text)::uuid FROM assessment)"
_TAMPERING = {
    Tampering.CHANGED: "UPDATE report SET title = title || ' !' WHERE id = (SELECT min(id::text)::uuid FROM report)",
    Tampering.LOST: _LOSE_ONE,
    Tampering.LOST_AT_CFA: _LOSE_ONE,
    Tampering.MOVED: """
        UPDATE assessment SET pupil_id = (SELECT max(id::text)::uuid FROM pupil WHERE active)
        WHERE id = (SELECT min(a.id::text)::uuid FROM assessment a
            WHERE pupil_id <> (SELECT max(id::text)::uuid FROM pupil WHERE active))
    """,
}


@app.command()
def main(
    *,
    pupils: Annotated[int, typer.Option(min=FEWEST_PUPILS, help="how many each school has")] = 80,
    single_moves: Annotated[int, typer.Option(min=1, help="how many pupils move one at a time")] = 20,
    run_folder: Annotated[Path, typer.Option(help="where data and logs are")] = Path(".run"),
    tamper: Annotated[list[Tampering], typer.Option(hidden=True, default_factory=list)],
) -> None:
    """Play the whole way on real servers and check every record."""
    end_in_good_order()
    narrator = Narrator()
    folder = run_folder / "demo"
    try:
        ways, findings = _play(folder, narrator, pupils, single_moves, tamper)
    except KeyboardInterrupt:
        _fail(narrator, "interrupted", folder)
    except EmbeddedError as failure:
        _fail(narrator, str(failure), folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, the last line says so
        log = folder / "logs" / "demo.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
        _fail(narrator, f"{type(error).__name__}: {error}", folder)
    else:
        narrator.line(report.ok_line(ways, findings, narrator.seconds))


def _play(folder: Path, narrator: Narrator, pupils: int, single_moves: int, tamper: Sequence[Tampering]) -> Played:
    narrator.chapter("Servers")
    stack = EmbeddedStack(folder, clusters=CLUSTERS)
    with narrator.doing("PostgreSQL (two clusters), Kafka and S3 started"):
        stack.start()
    try:
        return asyncio.run(_story(stack, narrator, pupils, single_moves, tamper))
    finally:
        with narrator.doing("everything stopped"):
            stack.stop()


async def _story(
    stack: EmbeddedStack, narrator: Narrator, pupils: int, single_moves: int, tamper: Sequence[Tampering]
) -> Played:
    async with asyncio.timeout(_LONGEST_SECONDS), opened_world(stack, narrator) as world:
        story = Story(world, pupils, min(single_moves, pupils // 4))
        await story.last_school_year()
        await story.departures_first()
        await story.arrivals_first()
        await story.opt_in_missing()
        await story.opt_in_given()
        await story.wrong_file()
        await story.one_pupil_at_a_time()
        outside = OutsideSiecle(story)
        await outside.authorised()
        await outside.carried_out()
        await outside.taken_back()
        await outside.audited()
        for how in tamper:
            await _tamper(world, how)
        narrator.chapter("Checks")
        with narrator.doing("every record in every database, and every file, compared with what was seeded"):
            findings = await check(story)
    narrator.table(report.moves_table(story.ways))
    narrator.table(report.waits_table(story, findings))
    narrator.table(report.latency_table(story.ways))
    if findings.problems:
        raise DemoFailedError(", ".join(findings.problems))
    return story.ways, findings


async def _tamper(world: World, how: Tampering) -> None:
    school = CFA if how is Tampering.LOST_AT_CFA else PARIS
    async with await psycopg.AsyncConnection.connect(world.conninfo(school)) as tx:
        await tx.execute(_TAMPERING[how])


def _fail(narrator: Narrator, why: str, folder: Path) -> None:
    narrator.say(f"what servers and services said is in {folder / 'logs'}")
    narrator.line(f"demo: FAILED {shorten(why, _WHY_LENGTH, placeholder=' …')}", good=False)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
