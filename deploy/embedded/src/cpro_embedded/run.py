"""`python -m cpro_embedded.run`: the servers and the four services with demo schools, until Ctrl-C."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cpro_embedded.demo.narrator import Narrator
from cpro_embedded.demo.outside_siecle import OutsideSiecle
from cpro_embedded.demo.schools import CAEN, CLUSTERS, PERPIGNAN, School
from cpro_embedded.demo.story import FEWEST_PUPILS, Story
from cpro_embedded.demo.world import TOKEN_SECONDS, World, opened_world
from cpro_embedded.errors import EmbeddedError, ServerFailedError
from cpro_embedded.interrupts import end_in_good_order
from cpro_embedded.ports import LOCALHOST
from cpro_embedded.stack import EmbeddedStack

PORT = 8080
_WATCH_SECONDS = 0.5
_PUPILS_GONE_WITHOUT_ARRIVAL = 2

app = typer.Typer(add_completion=False)


@app.command()
def main(
    *,
    pupils: Annotated[int, typer.Option(min=FEWEST_PUPILS, help="how many each school has")] = 40,
    run_folder: Annotated[Path, typer.Option(help="where data, logs and session.json are")] = Path(".run"),
    smtp_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="a mail server on this machine that takes notifications")
    ] = None,
    for_seconds: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run everything on one machine, with schools that have transfers completed and waiting."""
    end_in_good_order()
    narrator = Narrator()
    folder = run_folder / "servers"
    session = run_folder / "session.json"
    stack = EmbeddedStack(folder, clusters=CLUSTERS)
    try:
        narrator.chapter("Servers")
        with narrator.doing("PostgreSQL (two clusters), Kafka and S3 started"):
            stack.start()
        asyncio.run(_serve(stack, narrator, session, pupils, for_seconds, smtp_port=smtp_port))
    except KeyboardInterrupt:
        narrator.line("\nrun: stopping")
    except EmbeddedError as error:
        narrator.line(f"run: FAILED {error}\nThe logs are in {folder / 'logs'}", good=False)
        raise typer.Exit(1) from error
    finally:
        with narrator.doing("everything stopped"):
            stack.stop()


async def _serve(
    stack: EmbeddedStack,
    narrator: Narrator,
    session: Path,
    pupils: int,
    for_seconds: float | None,
    *,
    smtp_port: int | None,
) -> None:
    port = PORT if _is_free(PORT) else None
    async with opened_world(stack, narrator, port=port, smtp_port=smtp_port) as world:
        story = Story(world, pupils, single_moves=_PUPILS_GONE_WITHOUT_ARRIVAL)
        await story.last_school_year()
        await story.departures_first()
        await story.arrivals_first()
        await story.opt_in_missing()
        await OutsideSiecle(story).authorised()
        tokens = _tokens(stack, world)
        with _session_file(session, stack, world, tokens):
            _invite(narrator, world, tokens, session)
            try:
                async with asyncio.timeout(for_seconds):
                    await _watch(world)
            except TimeoutError:
                narrator.say(f"{for_seconds:g} s are over")


def _tokens(stack: EmbeddedStack, world: World) -> dict[str, str]:
    return {
        _administrator(PERPIGNAN): world.administrators[PERPIGNAN.uai].token,
        _administrator(CAEN): world.administrators[CAEN.uai].token,
        "support": world.support.token,
        "operations": stack.tokens.token("operations-1", ["operations"], ttl_seconds=TOKEN_SECONDS),
    }


@contextmanager
def _session_file(session: Path, stack: EmbeddedStack, world: World, tokens: dict[str, str]) -> Iterator[None]:
    """For programs, as long as it runs. Readable by this user only: it holds tokens and, in the URLs, passwords."""
    endpoints = stack.endpoints
    content = {
        "url": world.services.url,
        "docs": f"{world.services.url}/docs",
        "tokens": tokens,
        "ports": {"http": world.services.port},
        "servers": {
            "postgres": dict(endpoints.postgres_clusters),
            "kafka": endpoints.kafka_bootstrap,
            "s3": endpoints.s3_endpoint,
            "oidc_issuer": endpoints.oidc_issuer,
        },
        "pids": world.services.pids,
        "logs": str(stack.folder / "logs"),
    }
    draft = session.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
    draft.replace(session)
    try:
        yield
    finally:
        session.unlink(missing_ok=True)


def _invite(narrator: Narrator, world: World, tokens: dict[str, str], session: Path) -> None:
    url = world.services.url
    narrator.chapter("Ready")
    narrator.line(f"API documentation: {url}/docs")
    for who, token in tokens.items():
        narrator.chapter(f"Token: {who}").line(token)
    narrator.chapter(f"Try it: what waits at {PERPIGNAN.uai} ({PERPIGNAN.place}) goes to {CAEN.uai} ({CAEN.place})")
    narrator.line(f"TOKEN='{tokens[_administrator(CAEN)]}'")
    narrator.line(
        f'curl -X PUT {url}/v1/establishments/{CAEN.uai}/transfer-settings -H "Authorization: Bearer $TOKEN"'
        " -H 'Content-Type: application/json' -d "
        '\'{"enabled": true, "roster_source": "siecle", "accepted_conditions": 1}\''
    )
    narrator.line(
        f"curl '{url}/v1/establishments/{CAEN.uai}/transfers?direction=incoming' -H \"Authorization: Bearer $TOKEN\""
    )
    narrator.chapter("Try it as support: what was authorised waits for somebody to carry it out")
    narrator.line(f"export CPRO_SUPPORT_URL={url} CPRO_SUPPORT_TOKEN='{tokens['support']}'")
    narrator.line("cpro-support authorisations")
    narrator.chapter(f"The same for programs is in {session}. Ctrl-C ends it.")


def _administrator(school: School) -> str:
    return f"administrator {school.uai}"


async def _watch(world: World) -> None:
    """Return never, unless a process of the services ends.

    Raises:
        ServerFailedError: one did.
    """
    while world.services.running:  # noqa: ASYNC110 - processes send no event
        await asyncio.sleep(_WATCH_SECONDS)
    raise ServerFailedError("a process of the services has ended")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections of an earlier run that linger don't count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    app()
