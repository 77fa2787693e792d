"""What the API answers. Field descriptions are in French: the users of the API's documentation are the UI's authors."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from cpro_contracts.transfers import Reason
from cpro_transfer.domain.explanation import Condition, Direction, Explanation
from cpro_transfer.domain.sentences import Turn, next_step, sentence, turn
from cpro_transfer.domain.transfers import Transfer, TransferState
from cpro_transfer.ports.reading import PupilName, Receipt


class PupilOut(BaseModel):
    """Un élève, tel que son établissement l'écrit."""

    id: UUID
    family_name: str | None = None
    first_name: str | None = None

    @classmethod
    def of(cls, pupil_id: UUID, names: Mapping[UUID, PupilName]) -> "PupilOut":
        """The pupil, with a name where this establishment's database has one."""
        name = names.get(pupil_id)
        return cls(
            id=pupil_id,
            family_name=name.family_name if name else None,
            first_name=name.first_name if name else None,
        )


class EstablishmentOut(BaseModel):
    """L'autre établissement."""

    uai: str
    name: str | None = None


_REASONS_OF_STATES = {TransferState.COMPLETED: Reason.COMPLETED, TransferState.UNDONE: Reason.UNDONE}


class TransferOut(BaseModel):
    """Un transfert, vu de l'établissement qui le demande."""

    id: UUID
    direction: Direction
    state: TransferState
    reason: Reason | None = Field(default=None, description="Code de la liste fermée des raisons")
    explanation: str | None = Field(default=None, description="La raison, en une phrase")
    since: datetime = Field(description="Depuis quand il en est ainsi, quel que soit le nombre d'essais")
    waits_for: Turn = Field(description="De qui, ou de quoi, dépend la suite")
    next_step: str = Field(description="Ce qui changera la situation, en une phrase")
    tried_again_at: datetime | None = Field(
        default=None, description="Prochain essai automatique ; absent si seul un fait nouveau peut le déclencher"
    )
    pupil: PupilOut
    other_establishment: EstablishmentOut | None = Field(
        default=None, description="Nommé seulement une fois le transfert prévu : les deux établissements l'ont activé"
    )
    planned_at: datetime
    called_for_at: datetime = Field(description="Le dernier fait qui appelait ce transfert")
    state_changed_at: datetime
    finished_at: datetime | None = Field(default=None, description="Les deux reçus sont écrits")
    completed_at: datetime | None = None
    records: int | None = Field(default=None, description="Nombre d'enregistrements transférés")
    undoes: UUID | None = Field(
        default=None, description="Le transfert que celui-ci défait, à la demande de l'assistance"
    )


def transfer_out(
    uai: str,
    transfer: Transfer,
    *,
    pupils: Mapping[UUID, PupilName],
    names: Mapping[str, str],
    language: str,
) -> TransferOut:
    """A transfer as the establishment `uai` may see it."""
    outgoing = transfer.origin_uai == uai
    other = (transfer.destination_uai if outgoing else transfer.origin_uai) if transfer.names_the_schools else None
    pupil_id = transfer.origin_pupil_id if outgoing else transfer.destination_pupil_id
    assert pupil_id is not None
    standing = transfer.reason or _REASONS_OF_STATES.get(transfer.state, Reason.IN_PROGRESS)
    return TransferOut(
        id=transfer.id,
        direction=Direction.OUTGOING if outgoing else Direction.INCOMING,
        state=transfer.state,
        reason=transfer.reason,
        explanation=sentence(transfer.reason, language) if transfer.reason else None,
        since=transfer.standing_since,
        waits_for=turn(standing),
        next_step=next_step(standing, language),
        tried_again_at=transfer.tried_again_at,
        pupil=PupilOut.of(pupil_id, pupils),
        other_establishment=EstablishmentOut(uai=other, name=names.get(other)) if other else None,
        planned_at=transfer.planned_at,
        called_for_at=transfer.called_for_at,
        state_changed_at=transfer.state_changed_at,
        finished_at=transfer.finished_at,
        completed_at=transfer.completed_at,
        records=transfer.records,
        undoes=transfer.undoes,
    )


class TableReceiptOut(BaseModel):
    """Ce qui est parti ou arrivé d'une table."""

    count: int
    digest: str


class ChainOut(BaseModel):
    """La place d'un reçu dans la chaîne des reçus de son établissement : chacun contient l'empreinte du précédent."""

    sequence: int = Field(description="Numéro du reçu dans l'établissement, à partir de 1", examples=[42])
    hash: str = Field(description="SHA-256 du reçu, en hexadécimal", examples=["9f2c" + "0" * 60])
    previous_hash: str | None = Field(description="Celui du reçu précédent ; absent du premier")


class ReceiptOut(BaseModel):
    """Ce qu'un établissement peut prouver."""

    tables: dict[str, TableReceiptOut]
    origin_opt_in: dict[str, Any]
    destination_opt_in: dict[str, Any]
    origin_import_id: UUID | None
    destination_import_id: UUID | None
    written_at: datetime
    chain: ChainOut | None = Field(
        default=None, description="Seulement dans le reçu de l'établissement qui demande : la chaîne est la sienne"
    )

    @classmethod
    def of(cls, receipt: Receipt, *, own: bool) -> "ReceiptOut":
        """The receipt without the ids of the rows. The chain tells how many receipts there are: only to their owner."""
        chained = own and receipt.sequence is not None and receipt.hash is not None
        return cls(
            chain=ChainOut.model_validate(receipt, from_attributes=True) if chained else None,
            tables={name: TableReceiptOut(count=t["count"], digest=t["digest"]) for name, t in receipt.tables.items()},
            origin_opt_in=dict(receipt.origin_opt_in),
            destination_opt_in=dict(receipt.destination_opt_in),
            origin_import_id=receipt.origin_import_id,
            destination_import_id=receipt.destination_import_id,
            written_at=receipt.written_at,
        )


class ReceiptsOut(BaseModel):
    """Les deux reçus : ils disent la même chose."""

    outgoing: ReceiptOut | None = None
    incoming: ReceiptOut | None = None


class TransferWithReceipts(TransferOut):
    """Un transfert avec ses reçus."""

    receipts: ReceiptsOut
    missing: dict[str, int] | None = Field(
        default=None,
        description="Raison `landing_lost` : ce que l'établissement d'origine a envoyé et que celui d'accueil "
        "n'a plus, en nombre d'enregistrements par nature",
    )


class ExplanationOut(BaseModel):
    """Pourquoi les données d'un élève ont été transférées, ou ne le sont pas encore."""

    pupil_id: UUID
    direction: Direction = Field(description="Du point de vue de l'établissement : départ ou arrivée")
    code: Reason
    explanation: str
    since: datetime = Field(description="La date du fait le plus récent dont dépend la réponse")
    waits_for: Turn = Field(description="De qui, ou de quoi, dépend la suite")
    next_step: str = Field(description="Ce qui changera la situation, en une phrase")
    tried_again_at: datetime | None = Field(default=None, description="Prochain essai automatique")
    conditions: dict[Condition, bool]
    transfer_id: UUID | None = None
    other_establishment: EstablishmentOut | None = None


def explanation_out(
    pupil_id: UUID, explanation: Explanation, *, names: Mapping[str, str], language: str
) -> ExplanationOut:
    """An explanation, in words."""
    other = explanation.other_uai
    return ExplanationOut(
        pupil_id=pupil_id,
        direction=explanation.direction,
        code=explanation.reason,
        explanation=sentence(explanation.reason, language),
        since=explanation.since,
        waits_for=turn(explanation.reason),
        next_step=next_step(explanation.reason, language),
        tried_again_at=explanation.transfer.tried_again_at if explanation.transfer else None,
        conditions=dict(explanation.conditions),
        transfer_id=explanation.transfer.id if explanation.transfer else None,
        other_establishment=EstablishmentOut(uai=other, name=names.get(other)) if other else None,
    )
