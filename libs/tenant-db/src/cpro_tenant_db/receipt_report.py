"""What `cpro-tenants verify-receipts` says of what it found: one line a finding, without a name of a person."""

from cpro_tenant_db.receipt_verification import Difference, LostCounterpart, Verified
from cpro_tenant_db.receipts import OUTGOING, Break, ChainBreak, Receipt

_MEANING = {
    Break.ALTERED: "altered: it does not say what it said when it was written",
    Break.MISSING: "missing",
    Break.OUT_OF_ORDER: "out of order: it was written as receipt {place}",
    Break.FORGOTTEN_EARLY: "and those before it have gone before their time",
    Break.REPLACED: "replaced: the next one was written after another",
}


def findings(verified: Verified) -> list[str]:
    """What is wrong about one establishment's receipts; empty when nothing is."""
    return [
        *map(_of_chain, verified.breaks),
        *map(_of_lost, verified.lost),
        *map(_of_difference, verified.differing),
    ]


def _of_chain(found: ChainBreak) -> str:
    which = f" ({found.direction} of transfer {found.transfer_id})" if found.transfer_id else ""
    return f"receipt {found.sequence}{which} {_MEANING[found.kind].format(place=found.place)}"


def _of_lost(lost: LostCounterpart) -> str:
    receipt = lost.receipt
    if receipt.direction == OUTGOING:
        return (
            f"{_what(receipt)} has arrived at {lost.uai}, which has no receipt of it: {lost.uai} was restored to a time"
            f" before the landing. Missing there: {_rows(receipt)}"
        )
    return (
        f"{_what(receipt)} has come from {lost.uai}, which has neither a receipt nor a hold: {lost.uai} was restored to"
        f" a time before the transfer. There again: {_rows(receipt)}"
    )


def _of_difference(found: Difference) -> str:
    return (
        f"{_what(found.outgoing)} differs from receipt {found.incoming.sequence} of {found.outgoing.other_uai}:"
        f" {'; '.join(found.about)}"
    )


def _what(receipt: Receipt) -> str:
    return f"receipt {receipt.sequence} (transfer {receipt.transfer_id}, {receipt.written_at:%Y-%m-%d %H:%M})"


def _rows(receipt: Receipt) -> str:
    return "; ".join(
        f"{table} {', '.join(said['ids'])}" for table, said in sorted(receipt.tables.items())
    ) or "no record"  # fmt: skip
