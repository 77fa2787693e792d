"""`/docs/problems`: what every problem means and what to do about it, where the `type` of a problem leads."""

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from cpro_contracts.problems import ProblemCode
from cpro_platform.http.api_book import Guidance, Guide
from cpro_platform.http.common_problems import COMMON_GUIDE

PATH = "/docs/problems"
_CONTENT_SECURITY_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def type_of(code: ProblemCode) -> str:
    """The `type` member of a problem: where this page explains its code."""
    return f"{PATH}#{code.code}"


def complete_guide(own: Guide) -> dict[ProblemCode, Guidance]:
    """The problems of a service and those that every service has, by code."""
    everything = {**COMMON_GUIDE, **own}
    return {code: everything[code] for code in sorted(everything, key=lambda code: code.code)}


def problems_route(own: Guide) -> Route:
    """The page. Open: it names nobody, and whoever is refused must be able to read why."""
    sections = "".join(_section(code, guidance) for code, guidance in complete_guide(own).items())
    html = (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8"><title>CPro : problèmes</title></head><body>'
        f'<h1>Problèmes <span lang="en">/ Problems</span></h1>{sections}</body></html>'
    )

    async def problems(_request: Request) -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": _CONTENT_SECURITY_POLICY})

    return Route(PATH, problems, include_in_schema=False)


def _section(code: ProblemCode, guidance: Guidance) -> str:
    french, english = (
        f"{escape(title)} {escape(when)} {escape(todo)}"
        for title, when, todo in (
            (f"{code.title_fr}.", guidance.when_fr, guidance.todo_fr),
            (f"{code.title_en}.", guidance.when_en, guidance.todo_en),
        )
    )
    head = f'<h2 id="{escape(code.code)}">{code.status} {escape(code.code)}</h2>'
    return f'{head}<p>{french}</p><p lang="en">{english}</p>'
