"""What every answer says to browsers, whoever gave it: take it for what it is, frame it nowhere, keep nothing."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cpro_platform.config import HttpSettings

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    # An answer of ours is data or a picture: nothing in it may load or run. The page of the documentation says its own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # Nearly all of it is about persons. What may be kept says so itself.
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """ASGI middleware, outside of everything else. What an answer has said for itself stays."""

    def __init__(self, app: ASGIApp, *, settings: HttpSettings) -> None:
        self._app = app
        self._headers = dict(_ALWAYS)
        if settings.hsts_seconds:
            self._headers["Strict-Transport-Security"] = f"max-age={settings.hsts_seconds}; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
