"""What a reconciliation comes to, over all establishments: the table, what a person must know, or JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cpro_transfer.domain.reconciliation import FOR_A_PERSON, Kind
from cpro_transfer.entrypoints.reconciliation_models import ReconciliationOut
from cpro_transfer.entrypoints.support_cli.output import Output
from cpro_transfer.entrypoints.support_cli.words import SPOKEN

_WENT_BACK = frozenset({Kind.PUPIL_AHEAD, Kind.OPT_IN_AHEAD, Kind.REVISIONS_BEHIND})


@dataclass(slots=True)
class Tally:
    """Of one kind of difference: how many were found, repaired, and are left."""

    number: int = 0
    repaired: int = 0

    @property
    def left(self) -> int:
        """How many still differ."""
        return max(0, self.number - self.repaired)


@dataclass(slots=True)
class Visit:
    """What came of one establishment, asked once or several times."""

    last: ReconciliationOut
    kinds: dict[Kind, Tally] = field(default_factory=dict)

    def add(self, found: ReconciliationOut) -> None:
        """Another answer: what it repaired is added, what it left is what is left."""
        self.last = found
        for kind in FOR_A_PERSON | {kind for kind, tally in self.kinds.items() if tally.left}:
            self.kinds.pop(kind, None)
        for difference in found.differences:
            tally = self.kinds.setdefault(difference.kind, Tally())
            tally.number += difference.number
            tally.repaired += difference.repaired

    @property
    def is_settled(self) -> bool:
        """Whether asking once more would show nothing new."""
        repaired = any(difference.repaired for difference in self.last.differences)
        return not (self.last.come_back or self.last.on_their_way or repaired)

    @property
    def went_back(self) -> bool:
        """Whether the establishment's database was restored."""
        return bool(_WENT_BACK & self.kinds.keys())


def show(output: Output, visits: Mapping[str, Visit], unread: Mapping[str, str], *, dry_run: bool) -> None:
    """The table, then what a person must know; or all of it as JSON."""
    totals = _totals(visits.values())
    last = [visit.last for visit in visits.values()]
    if output.as_json:
        output.json({"dry_run": dry_run} | _as_json(visits, unread, totals))
        return
    counts = {
        "establishments": len(last),
        "pupils": sum(one.pupils for one in last),
        "transfers": sum(one.transfers for one in last),
    }
    output.line(SPOKEN.summary.format(**counts))
    if totals:
        rows = [(SPOKEN.kinds[kind], tally.number, tally.repaired, tally.left) for kind, tally in totals.items()]
        output.table(SPOKEN.columns, rows)
        output.line(SPOKEN.read_more)
    else:
        output.line(SPOKEN.nothing_differs)
    for text, number in (
        (SPOKEN.under_way, sum(one.under_way for one in last)),
        (SPOKEN.on_their_way, sum(one.on_their_way for one in last)),
    ):
        if number:
            output.line(text.format(number=number))
    _show_what_is_left(output, visits, unread)


def _show_what_is_left(output: Output, visits: Mapping[str, Visit], unread: Mapping[str, str]) -> None:
    for uai, visit in sorted(visits.items()):
        if visit.went_back:
            after = visit.last.revisions_continue_after
            output.remark(SPOKEN.went_back.format(uai=uai, revisions=f" (> {after})" if after else ""), loud=True)
    persons = [line for _, visit in sorted(visits.items()) for line in _for_a_person(visit.last)]
    if persons:
        output.line(SPOKEN.for_a_person)
        for line in persons:
            output.line(f"  {line}")
    for uai, why in sorted(unread.items()):
        output.remark(SPOKEN.unread.format(uai=uai, why=why))


def _for_a_person(found: ReconciliationOut) -> Iterable[str]:
    receipts = {one.transfer_id: one.records for one in found.missing_receipts}
    for difference in found.differences:
        if difference.for_a_person:
            for transfer_id in difference.transfer_ids:
                records = ", ".join(f"{table} {number}" for table, number in receipts.get(transfer_id, {}).items())
                said = f" ({SPOKEN.receipt} {records})" if records else ""
                yield f"{found.uai} {SPOKEN.kinds[difference.kind]} {transfer_id}{said}"


def _totals(visits: Iterable[Visit]) -> dict[Kind, Tally]:
    totals: dict[Kind, Tally] = {}
    for visit in visits:
        for kind, tally in visit.kinds.items():
            total = totals.setdefault(kind, Tally())
            total.number += tally.number
            total.repaired += tally.repaired
    return {kind: totals[kind] for kind in Kind if kind in totals}


def _as_json(visits: Mapping[str, Visit], unread: Mapping[str, str], totals: Mapping[Kind, Tally]) -> dict[str, Any]:
    last = [visit.last for _, visit in sorted(visits.items())]
    return {
        "establishments": len(last),
        "pupils": sum(one.pupils for one in last),
        "transfers": sum(one.transfers for one in last),
        "on_their_way": sum(one.on_their_way for one in last),
        "under_way": sum(one.under_way for one in last),
        "differences": [
            {"kind": kind, "number": tally.number, "repaired": tally.repaired, "left": tally.left}
            for kind, tally in totals.items()
        ],
        "restored": sorted(uai for uai, visit in visits.items() if visit.went_back),
        "not_compared": [{"uai": uai, "code": why} for uai, why in sorted(unread.items())],
        "last_answers": [one.model_dump(mode="json") for one in last if one.differences],
    }
