"""Nothing is open by omission: every route declares its rule, and the OpenAPI document says it (`x-roles`)."""

from collections.abc import Iterator
from functools import reduce

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from cpro_platform.auth import AccessRule, Role

ROLES = "x-roles"


class UnguardedRouteError(TypeError):
    """A route declares no access rule, or one by which nobody could get in. Nothing is open by omission."""


def declare_access(router: APIRouter) -> None:
    """Write the roles that each route's rule lets in into its OpenAPI operation.

    Raises:
        UnguardedRouteError: a route depends on no `AccessRule`, or lets in administrators of no establishment.
    """
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise UnguardedRouteError(f"{getattr(route, 'path', route)} is no route with an access rule")
        roles = _roles_of(route)
        if Role.ADMINISTRATOR in roles and "{uai}" not in route.path:
            raise UnguardedRouteError(f"{route.path} is for administrators of an establishment that it does not name")
        route.openapi_extra = (route.openapi_extra or {}) | {ROLES: sorted(roles)}


def _roles_of(route: APIRoute) -> frozenset[Role]:
    """Those whom all of the route's rules let in."""
    rules = [
        dependant.call.roles for dependant in _with_nested(route.dependant) if isinstance(dependant.call, AccessRule)
    ]
    if not rules:
        raise UnguardedRouteError(f"{route.path} declares no access rule")
    return reduce(frozenset.intersection, rules)


def _with_nested(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for nested in dependant.dependencies:
        yield from _with_nested(nested)
