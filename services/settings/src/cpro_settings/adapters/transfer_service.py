"""Asks the transfer service on HTTP, with the caller's own token: it decides by itself what the caller may know."""

from datetime import datetime

import httpx
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from cpro_contracts.transfers import Reason
from cpro_settings.config import TransferServiceSettings
from cpro_settings.domain.effect import Figures, Side
from cpro_settings.errors import FiguresAwayError


class _Waiting(BaseModel):
    reason: Reason
    number: int = Field(ge=0)


class _Side(BaseModel):
    starts: int = Field(ge=0)
    under_way: int = Field(ge=0)
    stops: int = Field(ge=0)
    done: int | None = Field(ge=0)
    others: list[_Waiting]

    def side(self) -> Side:
        others = {waiting.reason: waiting.number for waiting in self.others}
        return Side(self.starts, self.under_way, self.stops, self.done, others)


class _Outlook(BaseModel):
    uai: str
    enabled: bool
    taken_at: AwareDatetime
    opt_in_revision: int
    outgoing: _Side
    incoming: _Side


class HttpTransferOutlook:
    """Implements `ports.TransferOutlook`."""

    def __init__(self, settings: TransferServiceSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._client = httpx.AsyncClient(
            base_url=settings.url, timeout=settings.timeout_seconds, transport=transport, follow_redirects=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(self, uai: str, *, enabled: bool, since: datetime | None, token: str) -> Figures:
        if not self._settings.url:
            raise FiguresAwayError("no transfer service is configured", not_configured=True)
        parameters = {"enabled": str(enabled).lower()} | ({"since": since.isoformat()} if since else {})
        try:
            answer = await self._client.get(
                f"/v1/establishments/{uai}/transfer-outlook",
                params=parameters,
                headers={"Authorization": f"Bearer {token}"},
            )
        except httpx.HTTPError as error:
            raise FiguresAwayError(type(error).__name__) from error
        if answer.status_code != httpx.codes.OK:
            raise FiguresAwayError(f"status {answer.status_code}")
        try:
            outlook = _Outlook.model_validate_json(answer.content)
        except ValidationError as error:
            raise FiguresAwayError("an answer of another form") from error
        if (outlook.uai, outlook.enabled) != (uai, enabled):
            raise FiguresAwayError("an answer to another question")
        return Figures(outlook.taken_at, outlook.opt_in_revision, outlook.outgoing.side(), outlook.incoming.side())
