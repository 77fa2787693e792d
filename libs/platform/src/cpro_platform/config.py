"""The pieces that services compose their settings of: frozen, secrets kept out of reprs, units in the names.

A service's `Config` is a `pydantic_settings.BaseSettings` with `env_prefix="CPRO_<SERVICE>_"` and
`env_nested_delimiter="__"`, so that `CPRO_SETTINGS_DATABASE__URL` sets `database.url`. Each piece can also be built in
code with keyword arguments, which is what the embedded stack does.
"""

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict


class _Piece(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(_Piece):
    """A PostgreSQL database of the service's own. `url` may hold a password, so it is a secret."""

    url: SecretStr
    owner_url: SecretStr | None = None
    """As whom `migrate` owns the database. Only `migrate` needs it; it makes the login of `url`, with fewer rights."""
    max_connections: int = Field(default=10, gt=0)

    @property
    def conninfo(self) -> str:
        """The connection string, in clear."""
        return self.url.get_secret_value()

    @property
    def owner_conninfo(self) -> str:
        """The owner's connection string, in clear."""
        return (self.owner_url or self.url).get_secret_value()


class KafkaSettings(_Piece):
    """Where Kafka is: `host:port`, several separated by commas."""

    bootstrap_servers: str
    replication_factor: int = Field(default=1, gt=0)


class ObjectStoreSettings(_Piece):
    """An S3 bucket. `endpoint` is `host:port` without a scheme; `secure` says whether it speaks TLS."""

    endpoint: str
    access_key: SecretStr
    secret_key: SecretStr
    bucket: str
    secure: bool = True
    region: str = "us-east-1"
    max_connections: int = Field(default=8, gt=0)
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    read_timeout_seconds: float = Field(default=60.0, gt=0)


class OidcSettings(_Piece):
    """Who signs the access tokens. Without `jwks_url` the keys are found by OpenID Connect discovery."""

    issuer: str
    audience: str
    jwks_url: str | None = None
    leeway_seconds: int = Field(default=30, ge=0, le=300)
    keys_lifetime_seconds: int = Field(default=600, gt=0)
    refetch_interval_seconds: int = Field(default=10, gt=0)
    """How long an unknown key id waits before it may cause another fetch, so that bad tokens can't flood the issuer."""
    stale_keys_seconds: int = Field(default=3600, gt=0)
    """How long known keys serve while the issuer does not answer."""
    max_token_lifetime_seconds: int = Field(default=24 * 3600, gt=0)
    """A token that is valid for longer than this is refused: it could not be taken back."""
    fetch_timeout_seconds: float = Field(default=5.0, gt=0)


class TenantSettings(_Piece):
    """The establishments' databases: the directory, and where each cluster is (credentials never come from a table)."""

    directory_url: SecretStr
    clusters: dict[str, SecretStr]
    role_secret: SecretStr | None = Field(default=None, min_length=32)
    """The service logs in as a role of its own in each establishment, whose password comes of this."""
    max_open_connections: int = Field(default=50, gt=0)
    idle_seconds: float = Field(default=30.0, gt=0)
    event_log_days: int = Field(default=400, gt=0)
    """How long published events are kept, in the establishments' databases and in the service's own."""

    @property
    def event_log_kept(self) -> timedelta:
        """The same as a time."""
        return timedelta(days=self.event_log_days)

    @property
    def directory_conninfo(self) -> str:
        """The directory's connection string, in clear."""
        return self.directory_url.get_secret_value()

    @property
    def cluster_conninfos(self) -> dict[str, str]:
        """The clusters' connection strings, in clear."""
        return {name: conninfo.get_secret_value() for name, conninfo in self.clusters.items()}


class RateLimit(_Piece):
    """How often one caller may ask in the long run, and how many requests at once after a rest."""

    per_minute: float = Field(gt=0)
    burst: int = Field(gt=0)


class RateLimitSettings(_Piece):
    """The limits of one caller in one process, by what a request costs."""

    read: RateLimit = RateLimit(per_minute=1200, burst=600)
    write: RateLimit = RateLimit(per_minute=300, burst=150)
    upload: RateLimit = RateLimit(per_minute=60, burst=30)


class HttpSettings(_Piece):
    """Where an API listens, how long it lets requests finish when it is told to stop, and what it asks of callers."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    keep_alive_seconds: int = Field(default=75, gt=0)
    """How long an idle connection is kept. Longer than a proxy keeps it (60 s as a rule): else it sends a request on a
    connection that is being closed."""
    drain_seconds: int = Field(default=3, ge=0)
    """How long it goes on taking requests once it was told to stop and says that it is not ready: until nobody sends
    any more. Those under way then have `shutdown_seconds`."""
    shutdown_seconds: int = Field(default=20, gt=0)
    hsts_seconds: int = Field(default=0, ge=0)
    """How long browsers keep to HTTPS. Only where the service is reached by HTTPS alone; not said by default."""
    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may call the API from a browser. None by default: the UI is behind the same host."""
    rate_limits: RateLimitSettings = RateLimitSettings()


class OperationsSettings(_Piece):
    """Where a process that serves no API answers `/livez`, `/readyz` and `/metrics`. Without a port it does not."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)


class TelemetrySettings(_Piece):
    """Logs: level, and JSON (for a collector) or text (for a terminal). Traces: where they go, if anywhere."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    otlp_endpoint: str | None = None
    """The collector that takes spans, by OTLP over HTTP: `http://host:4318`. None: spans are made and not exported."""


def settings_of(service: str) -> SettingsConfigDict:
    """The `model_config` of a service's settings: frozen, read from `CPRO_<SERVICE>_…`, `__` between the levels."""
    prefix = f"CPRO_{service.upper().replace('-', '_')}_"
    return SettingsConfigDict(env_prefix=prefix, env_nested_delimiter="__", frozen=True, extra="forbid")
