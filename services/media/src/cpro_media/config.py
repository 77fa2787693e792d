"""The settings of this service: `CPRO_MEDIA_…`."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings

from cpro_platform.config import (
    DatabaseSettings,
    HttpSettings,
    ObjectStoreSettings,
    OidcSettings,
    OperationsSettings,
    TelemetrySettings,
    settings_of,
)


class DecoderSettings(BaseModel):
    """What decoding one image may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_processes: int = Field(default=2, gt=0)
    memory_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    processor_seconds: int = Field(default=2, gt=0)
    timeout_seconds: int = Field(default=10, gt=0)


class Config(BaseSettings):
    """Read from the environment (`CPRO_MEDIA_DATABASE__URL`), or built in code with keyword arguments."""

    model_config = settings_of("media")

    database: DatabaseSettings
    object_store: ObjectStoreSettings
    oidc: OidcSettings
    decoder: DecoderSettings = DecoderSettings()
    sweep_interval_seconds: float = Field(default=60.0, gt=0)
    orphan_sweep_interval_seconds: float = Field(default=86_400.0, gt=0)
    http: HttpSettings = HttpSettings()
    operations: OperationsSettings = OperationsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
