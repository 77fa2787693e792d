"""The HTTP border, the same for every service: `create_app` for one, `combine` for several on one port."""

from cpro_platform.http.access import UnguardedRouteError
from cpro_platform.http.app import UaiPath, create_app, operations_router
from cpro_platform.http.combined import combine
from cpro_platform.http.conditional import IfMatch, IfNoneMatch, is_not_modified, require_match
from cpro_platform.http.idempotency import IDEMPOTENCY, Once
from cpro_platform.http.pages import Page, decode_cursor, encode_cursor, read_cursor
from cpro_platform.http.problem_responses import FieldProblem, Problem, documented

__all__ = [
    "IDEMPOTENCY",
    "FieldProblem",
    "IfMatch",
    "IfNoneMatch",
    "Once",
    "Page",
    "Problem",
    "UaiPath",
    "UnguardedRouteError",
    "combine",
    "create_app",
    "decode_cursor",
    "documented",
    "encode_cursor",
    "is_not_modified",
    "operations_router",
    "read_cursor",
    "require_match",
]
