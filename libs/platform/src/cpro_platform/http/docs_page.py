"""`/docs`: the interactive documentation, all of it from here.

A script from another host would run beside the tokens that people paste into this page. The files come in a wheel
(`fastapi-offline`), locked by hash like all the rest, and the page's policy lets nothing else in.
"""

import base64
import hashlib
import re
from importlib.resources import files

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

PATH = "/docs"
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "favicon.png": "image/png"}
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_A_DAY = "public, max-age=86400"


def docs_routes(*, openapi_url: str, title: str) -> list[Route]:
    """The page and the files that it loads."""
    page = get_swagger_ui_html(
        openapi_url=openapi_url,
        title=title,
        swagger_js_url=f"{PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{PATH}/swagger-ui.css",
        swagger_favicon_url=f"{PATH}/favicon.png",
    ).body
    html = bytes(page).decode()
    headers = {"Content-Security-Policy": _policy(html)}

    async def docs(_request: Request) -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    return [Route(PATH, docs, include_in_schema=False), *(_asset_route(name) for name in _ASSETS)]


def _asset_route(name: str) -> Route:
    async def asset(_request: Request) -> Response:
        content = files("fastapi_offline").joinpath("static", name).read_bytes()
        return Response(content, media_type=_ASSETS[name], headers={"Cache-Control": _A_DAY})

    return Route(f"{PATH}/{name}", asset, include_in_schema=False)


def _policy(html: str) -> str:
    """Scripts from here only, besides the page's own, which is named by its digest."""
    own = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in _INLINE_SCRIPT.findall(html))
    digests = "".join(f" 'sha256-{digest}'" for digest in own)
    return (
        f"default-src 'none'; script-src 'self'{digests}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
