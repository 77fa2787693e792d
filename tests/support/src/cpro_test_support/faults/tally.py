"""What was done to the system during a run of the tests, and what came of it: counted over all processes of the run.

Whoever does a fault notes it here. The notes are lines of a file that `CPRO_FAULTS_TALLY` names, appended whole, so that
the processes of one run can share it; without it nothing is noted.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "CPRO_FAULTS_TALLY"
ENDS = ("lost", "doubled", "half", "stuck")
"""How a move can go wrong: see `checker.Findings`."""


def killed(what: str) -> None:
    """A process of this kind was ended by SIGKILL while it worked."""
    _note({"kill": what})


def slept(point: str) -> None:
    """A mover slept past its lease, from this point on, and woke up."""
    _note({"zombie": point})


def outage(dependency: str, phase: str, how: str) -> None:
    """A server was ended (`stop` or `kill`) while a process was at this point, and came back."""
    _note({"outage": dependency, "phase": phase, "how": how})


def moved(transfers: int) -> None:
    """So many transfers were completed under faults and checked."""
    _note({"moves": transfers})


def ended(findings: Mapping[str, int]) -> None:
    """The checker has looked: how many of each kind it found."""
    _note({"ended": dict(findings)})


def seed(test: str, number: int) -> None:
    """The seed that a test's random choices came from."""
    _note({"seed": number, "test": test})


def _note(what: dict[str, Any]) -> None:
    path = os.environ.get(VARIABLE)
    if path:
        with Path(path).open("a") as notes:
            notes.write(json.dumps(what) + "\n")


@dataclass(slots=True)
class Tally:
    """The sums of one run."""

    kills: Counter[str] = field(default_factory=Counter)
    zombies: Counter[str] = field(default_factory=Counter)
    outages: Counter[tuple[str, str]] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    seeds: list[str] = field(default_factory=list)
    moves: int = 0
    checks: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every check found everything in its place."""
        return not any(self.ends.values())

    def last_line(self) -> str:
        """The verdict in one line."""
        ends = " ".join(f"{end}={self.ends[end]}" for end in ENDS)
        return f"faults: kills={self.kills.total()} outages={self.outages.total()} {ends}"

    def table(self) -> list[str]:
        """Dependency by phase, with how many outages each cell has had; then the other sums."""
        dependencies = sorted({dependency for dependency, _ in self.outages})
        phases = list(dict.fromkeys(phase for _, phase in self.outages))
        width = max((len(phase) for phase in phases), default=0)
        lines = []
        if phases:
            lines.append("  ".join(["outages".ljust(width), *dependencies]))
        for phase in sorted(phases, key=lambda phase: (phase.partition(".")[0], phases.index(phase))):
            cells = [str(self.outages[one, phase] or "-").rjust(len(one)) for one in dependencies]
            lines.append("  ".join([phase.ljust(width), *cells]))
        lines.append("servers ended: " + _sums(self.ways))
        lines.append("processes killed: " + _sums(self.kills))
        lines.append("sleepers woken up: " + _sums(self.zombies))
        lines.append("seeds: " + (", ".join(self.seeds) or "none"))
        lines.append(f"moves under faults: {self.moves}, checks of everything: {self.checks}")
        return lines


def read(notes: Iterable[str]) -> Tally:
    """Sum up the lines of a run."""
    tally = Tally()
    for line in notes:
        note = json.loads(line)
        if "kill" in note:
            tally.kills[note["kill"]] += 1
        elif "zombie" in note:
            tally.zombies[note["zombie"]] += 1
        elif "outage" in note:
            tally.outages[note["outage"], note["phase"]] += 1
            tally.ways[note["how"]] += 1
        elif "seed" in note:
            tally.seeds.append(f"{note['test']} {note['seed']}")
        elif "moves" in note:
            tally.moves += note["moves"]
        else:
            tally.checks += 1
            tally.ends.update(note["ended"])
    return tally


def _sums(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items())) or "none"
