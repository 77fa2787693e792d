"""What came of it, in tables for people and one line for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich import box
from rich.table import Table

from cpro_embedded.demo.administrator import Json
from cpro_embedded.demo.checks import Findings
from cpro_embedded.demo.schools import School
from cpro_embedded.demo.story import ONE_PUPIL, Story, Way

_NAMED_PUPILS = 3


def moves_table(ways: Sequence[Way]) -> Table:
    """Who moved from where to where, how long after the second event."""
    table = _table("Records that followed", "", "who", "from", "to", "records", "after the second event")
    for way in ways:
        others = len(way.pupils) - _NAMED_PUPILS
        names = ", ".join(pupil.name for pupil in way.pupils[:_NAMED_PUPILS])
        taken = _milliseconds(way.transfers)
        table.add_row(
            way.title,
            names + (f" and {others} more" if others > 0 else ""),
            f"{way.origin.uai}\n{way.origin.place}",
            f"{way.destination.uai}\n{way.destination.place}",
            str(sum(transfer["records"] for transfer in way.transfers)),
            f"{taken[0]:.0f} to {taken[-1]:.0f} ms",
        )
    return table


def waits_table(story: Story, findings: Findings) -> Table:
    """What waits and why, in the words that the administrator reads."""
    table = _table("Records that stay", "", "who", "at", "code", "what the administrator reads")
    for wait, explained in zip(story.waits, findings.explanations, strict=True):
        place = f"{wait.pupil.origin.uai}\n{wait.pupil.origin.place}"
        table.add_row(wait.title, wait.pupil.name, place, explained["code"], explained["explanation"])
    return table


def latency_table(ways: Sequence[Way]) -> Table:
    """From the second event to both receipts: the pupils of one import are called for at the same instant."""
    table = _table("From the second event to both receipts", "", "pupils", "p50 ms", "p99 ms")
    for way in _timed(ways):
        table.add_row(*_latency_row(way.title, way.transfers))
    batches = [transfer for way in _timed(ways) if way.title != ONE_PUPIL for transfer in way.transfers]
    table.add_row(*_latency_row("whole imports together", batches))
    table.add_row(*_latency_row("all", _all(ways)))
    return table


def audit_table(school: School, trail: Sequence[Json], names: Mapping[str, str]) -> Table:
    """What a school reads of what was done about its pupils; `names` by the id of a pupil."""
    table = _table(f"The audit trail of {school.uai}", "when", "who", "as", "act", "ticket", "whose")
    for line in trail:
        when = datetime.fromisoformat(line["occurred_at"]).strftime("%Y-%m-%d %H:%M:%S")
        whose = names.get(line["pupil_id"], "")
        table.add_row(when, line["actor"], line["role"], line["action"], line["ticket"] or "", whose)
    return table


def ok_line(ways: Sequence[Way], findings: Findings, seconds: float) -> str:
    """The last line of a demo in which everything is as it must be."""
    taken = _milliseconds(_all(ways))
    return (
        f"demo: ok moved={findings.moved} expected={findings.expected}"
        f" lost={len(findings.verdict.lost)} doubled={len(findings.verdict.doubled)}"
        f" p50_ms={percentile(taken, 50):.0f} p99_ms={percentile(taken, 99):.0f} seconds={seconds:.1f}"
    )


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The nearest-rank percentile of values in ascending order: one that was measured."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


def _all(ways: Sequence[Way]) -> list[Json]:
    return [transfer for way in _timed(ways) for transfer in way.transfers]


def _timed(ways: Sequence[Way]) -> list[Way]:
    return [way for way in ways if not way.by_support]


def _milliseconds(transfers: Sequence[Json]) -> list[float]:
    return sorted(
        (
            datetime.fromisoformat(transfer["finished_at"]) - datetime.fromisoformat(transfer["called_for_at"])
        ).total_seconds()
        * 1000
        for transfer in transfers
    )


def _latency_row(title: str, transfers: Sequence[Json]) -> tuple[str, ...]:
    taken = _milliseconds(transfers)
    return (title, str(len(taken)), f"{percentile(taken, 50):.0f}", f"{percentile(taken, 99):.0f}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify = "right" if column in {"records", "pupils", "p50 ms", "p99 ms"} else "left"
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    return table
