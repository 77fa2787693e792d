"""What the routes share: the service, pages, and how an unknown establishment is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Query, Request

from cpro_contracts import problems
from cpro_platform.auth import Principal, Role, any_of
from cpro_platform.errors import RefusedError
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.bootstrap import Service
from cpro_transfer.domain.explanation import Explanation, explain
from cpro_transfer.ports.reading import Situation


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


SupportOrOperations = Annotated[Principal, Depends(any_of(Role.SUPPORT, Role.OPERATIONS))]
Wired = Annotated[Service, Depends(_service)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(description="Le `next_cursor` de la page précédente")]


@contextmanager
def known_establishment() -> Iterator[None]:
    """Tell the caller of an establishment that has no database."""
    try:
        yield
    except TenantUnknownError as unknown:
        raise RefusedError(
            problems.ESTABLISHMENT_UNKNOWN,
            f"Aucun établissement {unknown.uai} n'utilise CPro.",
            f"No establishment {unknown.uai} uses CPro.",
        ) from unknown


def explained(service: Service, uai: str, situation: Situation) -> Explanation:
    """What the facts say of a pupil, now."""
    facts = (situation.match_key, situation.enrolments, situation.doors, situation.transfers)
    return explain(uai, *facts, now=service.clock.now())
