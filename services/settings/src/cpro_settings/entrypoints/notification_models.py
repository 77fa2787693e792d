"""The bodies of requests and answers about notifications by e-mail."""

from datetime import date
from typing import Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from cpro_contracts.identifiers import Uai
from cpro_settings.domain.notifications import MailReport, MailState, Obstacle, Standing


class NotificationSettingsIn(BaseModel):
    """Le choix de l'administrateur."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    enabled: bool = Field(strict=True)


class NotificationSettingsOut(BaseModel):
    """Le choix en vigueur, et ce qui empêche d'envoyer les courriels voulus.

    `obstacle` vaut `no_address` (la fiche n'a plus d'adresse) ou `address_refused` : le serveur de messagerie a refusé
    `refused_address` définitivement, par la réponse `refused_with`. Corriger la fiche, ou refaire le même choix, y
    remédie.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "uai": "0752387M",
                    "enabled": True,
                    "address": "ce.0752387m@ac-paris.fr",
                    "obstacle": None,
                    "refused_address": None,
                    "refused_with": None,
                    "changed_at": "2026-09-01T08:00:00Z",
                    "changed_by": "administrateur-0752387M",
                }
            ]
        }
    )

    uai: Uai
    enabled: bool
    address: str | None
    obstacle: Obstacle | None
    refused_address: str | None
    refused_with: str | None
    changed_at: AwareDatetime | None
    changed_by: str | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """What is answered for a preference and its standing."""
        preference = standing.preference
        return cls(
            uai=preference.uai,
            enabled=preference.enabled,
            address=standing.address,
            obstacle=standing.obstacle,
            refused_address=standing.refused_address,
            refused_with=standing.refused_with,
            changed_at=preference.changed_at,
            changed_by=preference.changed_by,
        )


class NotificationOut(BaseModel):
    """Un courriel : ce qu'il annonce, où il est parti, et ce que le serveur de messagerie a répondu."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0b8f0f6e-2f5c-4b0e-9d0e-0f6a3c1b2a10",
                    "day": "2026-09-02",
                    "state": "sent",
                    "recipient": "ce.0752387m@ac-paris.fr",
                    "incoming": 12,
                    "outgoing": 3,
                    "attempts": 1,
                    "formed_at": "2026-09-02T05:00:12Z",
                    "settled_at": "2026-09-02T05:00:13Z",
                    "tried_again_at": None,
                    "reply": "250 OK",
                }
            ]
        }
    )

    id: UUID
    day: date
    state: MailState
    recipient: str | None
    incoming: int
    outgoing: int
    attempts: int
    formed_at: AwareDatetime
    settled_at: AwareDatetime | None
    tried_again_at: AwareDatetime | None
    reply: str | None

    @classmethod
    def of(cls, report: MailReport) -> Self:
        """What is answered for a mail."""
        return cls(**{name: getattr(report, name) for name in MailReport.__slots__})
