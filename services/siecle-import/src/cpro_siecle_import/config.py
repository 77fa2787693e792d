"""The settings of this service: `CPRO_SIECLE_IMPORT_…`."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from cpro_contracts.identifiers import MatchSecret
from cpro_platform.config import (
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    ObjectStoreSettings,
    OidcSettings,
    OperationsSettings,
    TelemetrySettings,
    TenantSettings,
    settings_of,
)


class Config(BaseSettings):
    """Read from the environment (`CPRO_SIECLE_IMPORT_DATABASE__URL`), or built in code with keyword arguments."""

    model_config = settings_of("siecle-import")

    database: DatabaseSettings
    tenants: TenantSettings
    kafka: KafkaSettings
    object_store: ObjectStoreSettings
    oidc: OidcSettings
    http: HttpSettings = HttpSettings()
    operations: OperationsSettings = OperationsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    match_secret: SecretStr = Field(min_length=32)
    """Makes the match keys of pupils from their INE. The same in every process, for ever: a change is a replay."""
    match_secret_version: int = Field(default=1, gt=0)

    max_upload_bytes: int = Field(default=200_000_000, gt=0)
    max_xml_bytes: int = Field(default=1_500_000_000, gt=0)
    max_expansion_ratio: int = Field(default=200, gt=0)

    guard_deactivated_share: float = Field(default=0.20, gt=0, le=1)
    guard_first_import_deactivated_share: float = Field(default=0.60, gt=0, le=1)
    guard_present_share: float = Field(default=0.50, ge=0, le=1)
    guard_at_least_pupils: int = Field(default=5, gt=0)

    uploads_kept_days: int = Field(default=30, gt=0)
    """After so many days the file of an import that is over is removed. Its figures stay."""
    unclaimed_uploads_kept_seconds: float = Field(default=3600, gt=0)
    """After so long a file that became no import is removed: its process died. Longer than the clocks differ."""
    sweep_interval_seconds: float = Field(default=3600, gt=0)

    max_attempts: int = Field(default=5, gt=0)
    """After so many deaths of its worker a job is given up."""
    lock_timeout_seconds: float = Field(default=30, gt=0)
    """How long an import waits for another of its school, or for writers of its pupils, before other schools go on."""
    ask_again_seconds: float = Field(default=30, gt=0)
    """After so long an import is tried again that was put aside because its school could not be had."""
    consumer_group: str = "cpro-siecle-import"
    consumer_session_seconds: float = Field(default=30, gt=0)
    consumer_max_poll_seconds: float = Field(default=300, gt=0)
    """After so long without a sign of life from its loop a worker loses its partitions. An import may take longer."""
    progress_interval_seconds: float = Field(default=0.5, gt=0)
    """How often the progress stream looks."""

    @property
    def secret(self) -> MatchSecret:
        """The match secret, in clear."""
        return MatchSecret(self.match_secret_version, self.match_secret.get_secret_value().encode())
