"""A school's administrator: everything they do, they do through the HTTP API with a token of their own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from cpro_embedded.demo.errors import DemoFailedError, RefusedError
from cpro_embedded.demo.waiting import until

_AT_REST = {"awaiting_confirmation", "completed", "failed", "cancelled"}
_ITEMS_A_PAGE = 200

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Administrator:
    """The administrator of one school."""

    uai: str
    token: str
    client: httpx.AsyncClient

    async def fills_in_sheet(self, sheet: dict[str, str]) -> None:
        """Read the sheet, then save it as `sheet`."""
        etag = (await self._call("GET", "")).headers["ETag"]
        await self._call("PUT", "", json=sheet, headers={"If-Match": etag})

    async def uploads_image(self, kind: str, content: bytes) -> None:
        """Put the logo or the stamp."""
        await self._call("PUT", f"/images/{kind}", content=content, headers={"Content-Type": "image/png"})

    async def chooses_transfers(self, *, enabled: bool, roster_source: str = "siecle") -> None:
        """Switch the transfer of pupils' records on or off."""
        conditions = (await self._call("GET", "/transfer-settings/conditions")).json()
        choice = {"enabled": enabled, "roster_source": roster_source, "accepted_conditions": conditions["version"]}
        await self._call("PUT", "/transfer-settings", json=choice)

    async def imports(self, zipped: bytes) -> Json:
        """Upload a SIECLE file and wait until its import is at rest; returns the import."""
        started = await self._call(
            "POST", "/siecle-imports", content=zipped, headers={"Content-Type": "application/zip"}
        )
        return await self._at_rest(started.json()["id"])

    async def confirms(self, import_id: str) -> Json:
        """Let an import that asks go on, and wait until it is at rest again."""
        await self._call("POST", f"/siecle-imports/{import_id}/confirm")
        return await self._at_rest(import_id)

    async def explanation(self, pupil_id: UUID) -> Json:
        """Why a pupil's records wait. A pupil that the transfers have not heard of yet has an empty one."""
        answer = await self._call("GET", f"/pupils/{pupil_id}/transfer-explanation", unknown_is_fine=True)
        explained: Json = answer.json() if answer.is_success else {}
        return explained

    async def transferable_pupils(self) -> list[Json]:
        """The former pupils whose records are still here."""
        return [pupil async for pupil in self._pages("/transferable-pupils", {"limit": _ITEMS_A_PAGE})]

    async def outgoing(self, status: str | None = None) -> list[Json]:
        """The transfers out of this school."""
        return await self._transfers("outgoing", status)

    async def incoming(self, status: str | None = None) -> list[Json]:
        """The transfers to this school."""
        return await self._transfers("incoming", status)

    async def authorises(self, pupil_id: UUID, terms: Json) -> Json:
        """Record that a pupil's records may go to a school, as `terms` say; returns the authorisation.

        Raises:
            RefusedError: by the rules of authorisations.
        """
        given: Json = (await self._call("PUT", f"/transfer-authorisations/{pupil_id}", json=terms)).json()
        return given

    async def revokes(self, pupil_id: UUID) -> None:
        """Take back what was authorised for a pupil."""
        await self._call("DELETE", f"/transfer-authorisations/{pupil_id}")

    async def audit(self) -> list[Json]:
        """What was done about this school's transfers, the newest first."""
        return [line async for line in self._pages("/audit", {"limit": _ITEMS_A_PAGE})]

    async def transfer(self, transfer_id: str) -> Json:
        """One transfer with both receipts."""
        found: Json = (await self._call("GET", f"/transfers/{transfer_id}")).json()
        return found

    async def _transfers(self, direction: str, status: str | None) -> list[Json]:
        wanted = {"direction": direction, "limit": _ITEMS_A_PAGE} | ({"status": status} if status else {})
        return [transfer async for transfer in self._pages("/transfers", wanted)]

    async def _at_rest(self, import_id: str) -> Json:
        async def look() -> Json:
            found: Json = (await self._call("GET", f"/siecle-imports/{import_id}")).json()
            return found

        return await until(
            f"the import of {self.uai} is at rest", look, lambda found: found["state"] in _AT_REST, every_seconds=0.05
        )

    async def _pages(self, path: str, parameters: Json) -> AsyncIterator[Json]:
        cursor: Json = {}
        while True:
            page = (await self._call("GET", path, params=parameters | cursor)).json()
            for item in page["items"]:
                yield item
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    async def _call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        unknown_is_fine: bool = False,
        **content: Any,
    ) -> httpx.Response:
        answer = await self.client.request(
            method,
            f"/v1/establishments/{self.uai}{path}",
            headers={"Authorization": f"Bearer {self.token}"} | (headers or {}),
            **content,
        )
        if answer.is_success or (unknown_is_fine and answer.status_code == httpx.codes.NOT_FOUND):
            return answer
        if answer.status_code == httpx.codes.CONFLICT:
            raise RefusedError(answer.json())
        raise DemoFailedError(f"{method} {answer.url.path} answered {answer.status_code}: {answer.text[:300]}")
