"""Support's routes for what a pupil may ask for: all that is held of them, and that it is erased."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from cpro_contracts import problems
from cpro_platform.auth import Principal, Role, Support, checked_uai
from cpro_platform.errors import RefusedError
from cpro_platform.http import documented
from cpro_transfer import refusals
from cpro_transfer.domain.subjects import KEPT, ErasurePlan, Place
from cpro_transfer.domain.support import Order
from cpro_transfer.entrypoints.dependencies import Wired, known_establishment
from cpro_transfer.entrypoints.tickets import Ticket
from cpro_transfer.errors import ErasurePlanChangedError, SubjectUnknownError, TransferUnderWayError

router = APIRouter(prefix="/v1/support/subjects", tags=["support"])
Rows = dict[str, list[dict[str, Any]]]


class SubjectIn(BaseModel):
    """L'élève, tel qu'un établissement le désigne, et à quel titre on demande."""

    uai: str = Field(examples=["0752387M"])
    pupil_id: UUID
    ticket: Ticket


class ErasureIn(SubjectIn):
    """Un effacement. Sans `confirm`, il est seulement dit ce qui serait effacé."""

    confirm: Annotated[str | None, Field(description="Le `digest` de ce qui a été dit, pour l'effacer")] = None


class SectionOut(BaseModel):
    """Une partie de l'export."""

    rows: int
    sha256: str = Field(description="Du JSON de la partie : clés triées, sans espace, en UTF-8")


class ManifestOut(BaseModel):
    """Ce que contient l'export."""

    uai: str
    pupil_id: UUID
    ticket: str
    made_at: datetime
    sections: dict[str, SectionOut] = Field(description="Par lieu (UAI/élève, ou transfer_database) et table")
    attachments: list[dict[str, Any]] = Field(description="Les fichiers, par référence, avec leur SHA-256")
    not_included: dict[str, str]


class ExportOut(BaseModel):
    """Tout ce qui est détenu sur un élève."""

    manifest: ManifestOut
    contents: dict[str, Rows]


class ErasureOut(BaseModel):
    """Ce qui serait effacé, ou l'a été, et ce qui reste."""

    erased: bool
    digest: str | None = Field(description="À redonner dans `confirm` pour effacer exactement cela")
    rows: dict[str, dict[str, int]] = Field(description="Par lieu et table")
    kept: dict[str, str] = Field(description="Ce qui n'est pas effacé, et pourquoi")


@router.post("/export", summary="Tout ce qui est détenu sur un élève",
             responses=documented(refusals.SUBJECT_UNKNOWN, refusals.TICKET_MALFORMED, problems.INVALID_UAI,
                                  problems.ESTABLISHMENT_UNKNOWN))  # fmt: skip
async def export(asked: SubjectIn, service: Wired, principal: Support, response: Response) -> ExportOut:
    """La demande est inscrite au journal avant la réponse."""
    response.headers["Cache-Control"] = "no-store"
    place = Place(checked_uai(asked.uai), asked.pupil_id)
    with _known_subject():
        contents = await service.subjects.export(place, _order(principal, asked))
    manifest = ManifestOut(
        uai=place.uai,
        pupil_id=place.pupil_id,
        ticket=asked.ticket,
        made_at=service.clock.now(),
        sections={f"{where}/{table}": _section(rows) for where, tables in contents.items()
                  for table, rows in tables.items()},
        attachments=[_reference(where, row) for where, tables in contents.items()
                     for row in tables.get("attachment", [])],
        not_included=dict(KEPT),
    )  # fmt: skip
    return ExportOut(manifest=manifest, contents=contents)


@router.post("/erase", summary="Effacer un élève",
             responses=documented(refusals.SUBJECT_UNKNOWN, refusals.TICKET_MALFORMED, problems.INVALID_UAI,
                                  refusals.TRANSFER_UNDER_WAY, refusals.ERASURE_PLAN_CHANGED,
                                  problems.ESTABLISHMENT_UNKNOWN))  # fmt: skip
async def erase(asked: ErasureIn, service: Wired, principal: Support) -> ErasureOut:
    """Redemander ce qui a été interrompu le termine ; redemander ce qui est fait ne change rien."""
    place = Place(checked_uai(asked.uai), asked.pupil_id)
    with _known_subject(), _erasable():
        if asked.confirm is None and await service.subjects.ledger.erasure_of(place) is None:
            plan = await service.subjects.plan(place)
            return ErasureOut(erased=False, digest=plan.digest, rows=plan.counts(), kept=_kept(plan.kept))
        erasure = await service.subjects.erase(place, _order(principal, asked), confirmed=asked.confirm or "")
    return ErasureOut(erased=True, digest=None, rows={w: dict(t) for w, t in erasure.erased.items()}, kept=dict(KEPT))


@contextmanager
def _known_subject() -> Iterator[None]:
    try:
        with known_establishment():
            yield
    except SubjectUnknownError as error:
        raise RefusedError(
            refusals.SUBJECT_UNKNOWN, "Aucune donnée n'est détenue.", "There is nothing about them."
        ) from error


@contextmanager
def _erasable() -> Iterator[None]:
    try:
        yield
    except TransferUnderWayError as error:
        raise RefusedError(
            refusals.TRANSFER_UNDER_WAY,
            "Les données sont en train d'être déplacées : redemandez une fois le transfert terminé.",
            "The records are being moved: ask again once the transfer has ended.",
        ) from error
    except ErasurePlanChangedError as error:
        raise RefusedError(
            refusals.ERASURE_PLAN_CHANGED, _changed(error.plan, "Redemandez"), _changed(error.plan, "Ask again")
        ) from error


def _changed(plan: ErasurePlan, again: str) -> str:
    return f"{again} : {plan.digest}."


def _order(principal: Principal, asked: SubjectIn) -> Order:
    return Order(principal.subject, Role.SUPPORT, asked.ticket)


def _kept(rows: Mapping[str, int]) -> dict[str, str]:
    counted = {f"rows of {table}": str(number) for table, number in sorted(rows.items())}
    return dict(KEPT) | counted


def _section(rows: list[dict[str, Any]]) -> SectionOut:
    form = json.dumps(rows, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    return SectionOut(rows=len(rows), sha256=hashlib.sha256(form).hexdigest())


def _reference(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("id", "file_name", "content_type", "object_key", "size_bytes", "sha256")
    return {"place": where} | {name: row[name] for name in wanted}
