"""The links of a page (RFC 8288) beside its cursor: a client that follows `next` needs to know nothing of cursors."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Request, Response

from cpro_platform.http.pages import Item, Page


class PageLinks:
    """Answers a page of the list that the request asks for, and links to the next one and the first."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request = request
        self._response = response

    def page(self, *, items: Sequence[Item], next_cursor: str | None) -> Page[Item]:
        """The page. The links keep what else was asked for: filters, order, the size of pages."""
        links = [f'<{self._address(None)}>; rel="first"']
        if next_cursor is not None:
            links.insert(0, f'<{self._address(next_cursor)}>; rel="next"')
        self._response.headers["Link"] = ", ".join(links)
        return Page(items=list(items), next_cursor=next_cursor)

    def _address(self, cursor: str | None) -> str:
        """Without scheme and host: who asked knows them better than a server behind proxies."""
        asked = [(name, value) for name, value in self._request.query_params.multi_items() if name != "cursor"]
        if cursor is not None:
            asked.append(("cursor", cursor))
        return quote(self._request.url.path) + (f"?{urlencode(asked)}" if asked else "")


Links = Annotated[PageLinks, Depends(PageLinks)]
"""Every route that answers a `Page` takes it; a test sees to that."""
