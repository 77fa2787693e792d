"""The settings of this service: `CPRO_SETTINGS_…`."""

from email.errors import MessageError
from email.headerregistry import Address
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from cpro_platform.config import (
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    OidcSettings,
    OperationsSettings,
    TelemetrySettings,
    TenantSettings,
    settings_of,
)

_OPERATIONS_OF_AN_ATTEMPT = 5
"""MAIL, RCPT, DATA, the mail itself, and RSET after a refusal: each may take the whole time-out."""


def _address(value: str) -> str:
    expected = "an address like ne-pas-repondre@cpro.example is expected"
    try:
        if value and Address(addr_spec=value).addr_spec != value:
            raise ValueError(expected)
    except (IndexError, MessageError) as error:
        raise ValueError(expected) from error
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"no time zone {value}") from error
    return value


class SmtpSettings(BaseModel):
    """The mail server that takes the notifications. Without a host there is none, and nothing is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = ""
    port: int = Field(default=587, gt=0, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` and `tls` check the server's certificate and never fall back to clear text."""
    ca_file: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = None
    """The certificates to check the server's against, where they are not those of the system."""
    user: str = ""
    password: SecretStr = SecretStr("")
    sender: Annotated[str, AfterValidator(_address)] = ""
    """The address that mails come from. Its domain is also that of the message ids."""
    timeout_seconds: float = Field(default=20, gt=0)
    """For connecting, and for each answer."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.host and not self.sender:
            raise ValueError("a mail server needs a sender")
        if self.user and self.security == "none":
            raise ValueError("a password is not sent in clear: security must be starttls or tls")
        return self


class TransferServiceSettings(BaseModel):
    """Where the transfer service answers. Without a URL, what an opt-in would do is told without figures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(pattern=r"^(https?://[^\s<>\"]+)?$")] = ""
    timeout_seconds: float = Field(default=3, gt=0)


class NotificationSettings(BaseModel):
    """When mails go, and where they lead."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    list_url: Annotated[str, Field(pattern=r"^(https?://[^\s<>\"]+)?$")] = ""
    """The page with the list of transfers; `{uai}` in it stands for the establishment."""
    hour: int = Field(default=7, ge=0, le=23)
    """When the mails of a day begin to go, by the clock of `time_zone`."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "Europe/Paris"
    poll_seconds: float = Field(default=30, gt=0)
    lease_seconds: float = Field(default=180, gt=0)
    """How long a mail whose sender died waits for another. Longer than any attempt can take."""
    retry_first_seconds: float = Field(default=300, gt=0)
    retry_longest_seconds: float = Field(default=21_600, gt=0)
    group: str = "cpro-settings-notify"
    """The consumer group. Another name reads `cpro.transfer` again, which tells nobody anything twice."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.time_zone)


class Config(BaseSettings):
    """Read from the environment (`CPRO_SETTINGS_DATABASE__URL`), or built in code with keyword arguments."""

    model_config = settings_of("settings")

    database: DatabaseSettings
    tenants: TenantSettings
    kafka: KafkaSettings
    oidc: OidcSettings
    http: HttpSettings = HttpSettings()
    operations: OperationsSettings = OperationsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    transfer_service: TransferServiceSettings = TransferServiceSettings()
    smtp: SmtpSettings = SmtpSettings()
    notifications: NotificationSettings = NotificationSettings()

    @model_validator(mode="after")
    def _mails_can_be_sent(self) -> Self:
        if self.smtp.host and not self.notifications.list_url:
            raise ValueError("mails need notifications.list_url, where they lead")
        if self.notifications.lease_seconds <= _OPERATIONS_OF_AN_ATTEMPT * self.smtp.timeout_seconds:
            raise ValueError("notifications.lease_seconds must be longer than an attempt: 5 times smtp.timeout_seconds")
        return self
