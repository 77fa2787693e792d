"""`cpro-support reconcile`: one request an establishment, and again where something was on its way.

Every request can be repeated, so there is nothing to keep between runs: an interrupted one is started again, from the
establishment that it names or from the beginning.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.progress import Progress

from cpro_contracts.identifiers import MalformedUaiError, parse_uai
from cpro_platform.retry import backoff
from cpro_transfer.entrypoints.reconciliation_models import ReconciliationOut
from cpro_transfer.entrypoints.support_cli import reconciliation_report
from cpro_transfer.entrypoints.support_cli.client import Client, ProblemError, UnreachableError
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.reconciliation_report import Visit
from cpro_transfer.entrypoints.support_cli.session import DONE, LEFT, NOT_ALL_SEEN, WRONG_USE, run, wrong
from cpro_transfer.entrypoints.support_cli.words import SPOKEN


@dataclass(slots=True)
class Round:
    """All establishments of one run."""

    client: Client
    output: Output
    dry_run: bool
    concurrency: int
    seconds_between: float
    visits: dict[str, Visit] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    async def go(self, uais: Sequence[str], progress: Progress, description: str) -> None:
        """Ask for each of these once."""
        task = progress.add_task(description, total=len(uais))
        turns = asyncio.Semaphore(self.concurrency)
        async with asyncio.TaskGroup() as group:
            for uai in uais:
                await turns.acquire()
                asked = group.create_task(self._ask(uai))
                asked.add_done_callback(lambda _: turns.release())
                asked.add_done_callback(lambda _: progress.advance(task))
                await asyncio.sleep(self.seconds_between)

    async def settle(self, progress: Progress, seconds: float) -> None:
        """Ask again where something was repaired or is on its way, until nothing is, or the time is over."""
        deadline = time.monotonic() + seconds
        for delay in backoff(first_seconds=1, longest_seconds=15):
            unsettled = [uai for uai, visit in sorted(self.visits.items()) if not visit.is_settled]
            if not unsettled or time.monotonic() + delay > deadline:
                return
            await asyncio.sleep(delay)
            await self.go(unsettled, progress, SPOKEN.settling)

    def first_unseen(self, uais: Iterable[str]) -> str | None:
        """Where to go on after an interruption."""
        return next((uai for uai in uais if uai not in self.visits and uai not in self.unread), None)

    async def _ask(self, uai: str) -> None:
        try:
            answer = await self.client.post(
                f"/v1/support/establishments/{uai}/reconciliation", {"dry_run": self.dry_run}
            )
        except ProblemError as problem:
            if problem.status in {401, 403}:
                raise
            self.unread[uai] = problem.code
            return
        found = ReconciliationOut.model_validate(answer)
        self.unread.pop(uai, None)
        self.visits.setdefault(uai, Visit(found)).add(found)


def reconcile(
    *,
    uai: Annotated[list[str] | None, typer.Option(help=SPOKEN.help_uai)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=SPOKEN.help_dry_run)] = False,
    as_json: Annotated[bool, typer.Option("--json", help=SPOKEN.help_json)] = False,
    start: Annotated[str, typer.Option("--from", help=SPOKEN.help_from)] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=64, help=SPOKEN.help_concurrency)] = 4,
    rate: Annotated[float, typer.Option(min=0.01, help=SPOKEN.help_rate)] = 50.0,
    settle_seconds: Annotated[float, typer.Option(min=0, help=SPOKEN.help_settle)] = 120.0,
) -> None:
    """Compare and repair; the words of the options are `words.SPOKEN`."""
    output = Output(as_json=as_json)
    chosen = _checked(uai or [], output)

    async def compare(client: Client) -> int:
        asked = Round(client, output, dry_run, concurrency, 1 / rate)
        return await _compare(asked, chosen, start.strip().upper(), 0 if dry_run else settle_seconds)

    run(output, compare)


async def _compare(asked: Round, chosen: Sequence[str], start: str, settle_seconds: float) -> int:
    uais: list[str] = list(chosen)
    try:
        if not chosen:
            uais = [one["uai"] async for one in asked.client.pages("/v1/support/establishments")]
        uais = [one for one in uais if one >= start]
        with asked.output.progress() as progress:
            await asked.go(uais, progress, SPOKEN.comparing)
            await asked.settle(progress, settle_seconds)
    except (ProblemError, UnreachableError, ExceptionGroup) as errors:
        error = _first(errors)
        if not isinstance(error, ProblemError | UnreachableError):
            raise
        asked.output.remark(str(error), loud=True)
        _tell_where_to_go_on(asked, uais)
        return WRONG_USE if isinstance(error, ProblemError) else NOT_ALL_SEEN
    except asyncio.CancelledError:  # Ctrl-C
        _tell_where_to_go_on(asked, uais)
        raise
    reconciliation_report.show(asked.output, asked.visits, asked.unread, dry_run=asked.dry_run)
    left = sum(tally.left for visit in asked.visits.values() for tally in visit.kinds.values())
    return LEFT if left else NOT_ALL_SEEN if asked.unread else DONE


def _tell_where_to_go_on(asked: Round, uais: Sequence[str]) -> None:
    unseen = asked.first_unseen(uais)
    if unseen and asked.visits:
        asked.output.remark(SPOKEN.interrupted.format(uai=unseen))


def _first(errors: BaseException) -> BaseException:
    """What it was, however deep the groups have it."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _checked(uais: Sequence[str], output: Output) -> list[str]:
    try:
        return sorted({parse_uai(uai) for uai in uais})
    except MalformedUaiError as malformed:
        wrong(output, SPOKEN.not_a_uai.format(uai=malformed))
