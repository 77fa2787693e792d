"""Support at its desk: the transfer service's API, asked with a support's token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient, Response

from cpro_test_support.schools import School
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.entrypoints.api import create

TICKET = "CPRO-10482"


@dataclass(slots=True)
class Desk:
    """Asks as support, unless another role is named."""

    client: AsyncClient
    servers: Servers

    async def act(
        self, transfer_id: object, act: str, *, ticket: str = TICKET, role: str = "support", **more: object
    ) -> Response:
        """Retry, cancel or undo a transfer."""
        return await self.client.post(
            f"/v1/support/transfers/{transfer_id}/{act}",
            json={"ticket": ticket} | more,
            headers=self._headers(role),
        )

    async def get(self, path: str, *, role: str = "support", school: School | None = None, **query: Any) -> Response:
        """GET below `/v1`."""
        headers = self._headers(role, school.uai if school else None)
        return await self.client.get(f"/v1/{path}", headers=headers, params=query)

    async def audit(self, transfer_id: UUID) -> list[tuple[str, str | None]]:
        """What the audit trail has of a transfer, oldest first: action and ticket."""
        items = (await self.get("support/audit", transfer_id=str(transfer_id))).json()["items"]
        return [(item["action"], item["ticket"]) for item in reversed(items)]

    def _headers(self, role: str, uai: str | None = None) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self.servers.tokens.token('a-support', [role], uai)}",
            "Accept-Language": "en",
        }


@asynccontextmanager
async def opened_desk(world: TransferWorld, servers: Servers, work: Work = Work.NOTHING) -> AsyncIterator[Desk]:
    """The API in this process, with other work beside it if asked."""
    app = create(Service(world.config, work=work))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield Desk(client, servers)


__all__ = ["TICKET", "Desk", "opened_desk"]
