"""The settings of this service: `CPRO_SETTINGS_…`."""

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
