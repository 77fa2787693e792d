"""The HTTP border, the same for every service: `create_app` for one, `combine` for several on one port."""

from cpro_platform.http.access import UnguardedRouteError
from cpro_platform.http.api_book import Answer, ApiBook, Guidance, Guide, Operation, as_json, page, shown
from cpro_platform.http.app import UaiPath, create_app, operations_router
from cpro_platform.http.combined import combine
from cpro_platform.http.conditional import IfMatch, IfNoneMatch, is_not_modified, require_match
from cpro_platform.http.declared_problems import documented
from cpro_platform.http.idempotency import IDEMPOTENCY, Once
from cpro_platform.http.languages import Language, language_of
from cpro_platform.http.page_links import Links
from cpro_platform.http.pages import Page, decode_cursor, encode_cursor, read_cursor
from cpro_platform.http.problem_responses import FieldProblem, Problem

__all__ = [
    "IDEMPOTENCY",
    "Answer",
    "ApiBook",
    "FieldProblem",
    "Guidance",
    "Guide",
    "IfMatch",
    "IfNoneMatch",
    "Language",
    "Links",
    "Once",
    "Operation",
    "Page",
    "Problem",
    "UaiPath",
    "UnguardedRouteError",
    "as_json",
    "combine",
    "create_app",
    "decode_cursor",
    "documented",
    "encode_cursor",
    "is_not_modified",
    "language_of",
    "operations_router",
    "page",
    "read_cursor",
    "require_match",
    "shown",
]
