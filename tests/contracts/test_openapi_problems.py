"""Every problem that a route's code can answer is in its OpenAPI operation, and no other is."""

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_platform.auth import AdministratorOf
from cpro_platform.errors import RefusedError
from cpro_platform.http import documented
from cpro_platform.http.declared_problems import ALWAYS_POSSIBLE, codes_in, declare_problems
from cpro_test_support import reference
from cpro_test_support.raised_problems import raised_by
from cpro_transfer.refusals import NAMED_TWICE

OF_THE_BORDER = {*ALWAYS_POSSIBLE, problems.INVALID_REQUEST, problems.INVALID_UAI, problems.PAYLOAD_TOO_LARGE}
NOT_ANSWERED = {
    # It is told in `outcomes`, of one pupil of several.
    "POST /v1/establishments/{uai}/transfer-authorisations": {NAMED_TWICE.code},
    # `as_problems` words what `undo` is refused for as well.
    "POST /v1/support/transfers/{transfer_id}/retry": {"undo_refused", "establishment_unknown"},
    "POST /v1/support/transfers/{transfer_id}/cancel": {"undo_refused", "establishment_unknown"},
    # It has just been written.
    "POST /v1/support/event-replays": {"event_replay_unknown"},
}


def _routes() -> list[APIRoute]:
    return [
        route
        for app in reference.services().values()
        for included in app.router.routes
        for route in getattr(getattr(included, "original_router", None), "routes", ())
        if isinstance(route, APIRoute) and route.include_in_schema
    ]


def _named(route: APIRoute) -> str:
    return f"{min(route.methods or {''})} {route.path_format}"


ROUTES = _routes()


def test_the_routes_are_the_published_operations() -> None:
    published = reference.operation_ids(reference.documents()[reference.OF_ALL])

    assert sorted(map(_named, ROUTES)) == sorted(published)


@pytest.mark.parametrize("route", ROUTES, ids=_named)
def test_a_route_declares_what_its_code_can_answer_and_nothing_else(route: APIRoute) -> None:
    declared = set(codes_in(route.responses))
    raised = raised_by(route) - {problems.METHOD_NOT_ALLOWED}

    assert {code.code for code in raised - declared} == NOT_ANSWERED.get(_named(route), set())
    assert declared - raised <= OF_THE_BORDER


TOO_LATE = ProblemCode("too_late", 409, "Trop tard", "Too late")
TOO_EARLY = ProblemCode("too_early", 409, "Trop tôt", "Too early")
router = APIRouter(prefix="/v1/establishments/{uai}")


class _Clock:
    def check(self) -> None:
        _refuse()


class _Desk:
    def __init__(self) -> None:
        self._clock = _Clock()

    async def serve(self) -> None:
        self._clock.check()


def _refuse() -> None:
    raise RefusedError(TOO_LATE)


def _refused_and_caught() -> str:
    try:
        raise RefusedError(TOO_EARLY)
    except RefusedError:
        return TOO_EARLY.code


@router.get("/declared", responses=documented(TOO_LATE))
async def declared(_: AdministratorOf) -> None:
    await _Desk().serve()


@router.get("/forgotten")
async def forgotten(_: AdministratorOf) -> str:
    await _Desk().serve()
    return _refused_and_caught()


def test_a_forgotten_code_is_found_however_deep_it_is_and_a_caught_one_does_not_count() -> None:
    declare_problems(router)
    found = {}
    for route in router.routes:
        assert isinstance(route, APIRoute)
        found[route.name] = raised_by(route) - set(codes_in(route.responses))

    assert found == {"declared": set(), "forgotten": {TOO_LATE}}
