"""A reconciliation as the API answers it: ids and counts, never a name or a national number."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from cpro_transfer.domain.reconciliation import FOR_A_PERSON, Kind, first
from cpro_transfer.handlers.reconciling import Reconciliation

_SHOWN_IDS = 10
_OF_TRANSFERS = frozenset({Kind.TRANSFER_UNKNOWN, Kind.TRANSFER_BEHIND, Kind.TRANSFER_UNTRACED, Kind.RECEIPT_MISSING})


class EstablishmentOut(BaseModel):
    """Un établissement qui a une base de données."""

    uai: str


class ReconciliationIn(BaseModel):
    """Ce qui est demandé."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"dry_run": True}]})

    dry_run: bool = Field(strict=True, default=False, description="Compter sans rien écrire, nulle part")


class DifferenceOut(BaseModel):
    """Un écart entre la base de l'établissement et celle des transferts, et ce qui en a été fait."""

    kind: Kind
    number: int
    repaired: int = Field(description="Combien ont été réparés ; 0 quand rien ne devait être écrit")
    for_a_person: bool = Field(description="Une personne doit décider : voir le guide d'exploitation")
    pupil_ids: list[UUID] = Field(description=f"Les {_SHOWN_IDS} premiers élèves concernés, dans cet établissement")
    transfer_ids: list[UUID] = Field(description=f"Les {_SHOWN_IDS} premiers transferts concernés")


class MissingReceiptOut(BaseModel):
    """Un transfert terminé dont cet établissement n'a pas le reçu : sa base a été restaurée."""

    transfer_id: UUID
    records: dict[str, int] = Field(description="Par table, le nombre de lignes selon le reçu de l'autre établissement")


class ReconciliationOut(BaseModel):
    """Ce qui différait, ce qui a été réparé, ce qui reste."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "uai": "0752387M", "dry_run": False, "pupils": 1480, "transfers": 96, "on_their_way": 0,
                    "under_way": 1, "come_back": False, "revisions_continue_after": None, "missing_receipts": [],
                    "differences": [
                        {
                            "kind": "pupil_behind", "number": 1, "repaired": 1, "for_a_person": False,
                            "pupil_ids": ["7f0f6f0e-55d5-4e0a-9d4b-5f0cf5b8a1c2"], "transfer_ids": [],
                        }
                    ],
                }
            ]
        }
    )  # fmt: skip

    uai: str
    dry_run: bool
    pupils: int = Field(description="Élèves comparés")
    transfers: int = Field(description="Transferts dont l'établissement garde une trace")
    differences: list[DifferenceOut]
    missing_receipts: list[MissingReceiptOut] = Field(description=f"Les {_SHOWN_IDS} premiers")
    on_their_way: int = Field(description="Faits déjà annoncés, pas encore pris en compte : pas un écart")
    under_way: int = Field(description="Transferts en cours")
    come_back: bool = Field(description="À redemander quand les autres établissements auront été rapprochés")
    revisions_continue_after: int | None = Field(
        description="La base a été restaurée d'une sauvegarde : ses révisions reprennent après celle-ci"
    )

    @classmethod
    def of(cls, found: Reconciliation) -> "ReconciliationOut":
        """As it is shown."""
        missing = first(found.missing_receipts, _SHOWN_IDS)
        return cls(
            uai=found.uai,
            dry_run=found.dry_run,
            pupils=found.pupils,
            transfers=found.transfers,
            differences=[_difference(kind, found) for kind in Kind if kind in found.found],
            missing_receipts=[
                MissingReceiptOut(transfer_id=one, records=dict(found.missing_receipts[one])) for one in missing
            ],
            on_their_way=found.on_their_way,
            under_way=found.under_way,
            come_back=found.come_back,
            revisions_continue_after=found.continue_after,
        )


def _difference(kind: Kind, found: Reconciliation) -> DifferenceOut:
    ids = found.found[kind]
    shown = first(ids, _SHOWN_IDS)
    of_transfers = kind in _OF_TRANSFERS
    return DifferenceOut(
        kind=kind,
        number=len(ids) or 1,
        repaired=found.repaired.get(kind, 0),
        for_a_person=kind in FOR_A_PERSON,
        pupil_ids=[] if of_transfers else shown,
        transfer_ids=shown if of_transfers else [],
    )
