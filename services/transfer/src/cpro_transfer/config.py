"""The settings of this service: `CPRO_TRANSFER_…`."""

from pydantic import Field
from pydantic_settings import BaseSettings

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
    """Read from the environment (`CPRO_TRANSFER_DATABASE__URL`), or built in code with keyword arguments."""

    model_config = settings_of("transfer")

    database: DatabaseSettings
    tenants: TenantSettings
    kafka: KafkaSettings
    object_store: ObjectStoreSettings
    oidc: OidcSettings
    http: HttpSettings = HttpSettings()
    operations: OperationsSettings = OperationsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    undo_within_days: float = Field(default=30, gt=0)
    """How long after its completion support may undo a transfer."""
    settling_seconds: float = Field(default=0, ge=0)
    """How long a planned transfer waits, so that a school can correct a mistaken import."""
    batch_pupils: int = Field(default=50, gt=0)
    """How many pupils of one pair of establishments move together."""
    concurrent_batches: int = Field(default=2, gt=0)
    lease_seconds: float = Field(default=30, gt=0)
    stop_grace_seconds: float = Field(default=20, ge=0)
    """How long a mover that is told to stop may end its batch. What it leaves waits for the end of its lease."""
    idle_in_transaction_seconds: float = Field(default=10, gt=0)
    """Shorter than the lease: the server ends the transaction of a mover that sleeps through it."""
    statistics_seconds: float = Field(default=30, gt=0)
    """How often the process whose turn it is (one relay) reads the statistics for its metrics."""
    poll_seconds: float = Field(default=1, gt=0)
    """How long a due transfer whose notification was lost waits at most."""
    join_group: str = "cpro-transfer-join"
    """The consumer group of the join. Another name reads every topic again from its beginning."""
    join_batch_messages: int = Field(default=8_000, gt=0)
    consumer_session_seconds: float = Field(default=30, gt=0)
    on_their_way_seconds: float = Field(default=60, ge=0)
    """How long after its publication an event is not missed: the join may not have taken it in yet."""

    authorisation_days: int = Field(default=365, gt=0)
    """How long an authorisation holds, from the day on which it was given: a school year."""

    sweep_interval_hours: float = Field(default=24, gt=0)
    """How long a sweep that stays waits before the next."""
    sweep_copy_age_hours: float = Field(default=24, gt=0)
    """Copies that movers have left, and files whose rows have left, are let be for so long."""
    sweep_unclaimed_age_hours: float = Field(default=168, gt=0)
    """So long the core application may take from putting a file to writing its row."""
    sweep_max_unclaimed_percent: float = Field(default=50, ge=0, le=100)
    """Where more of an establishment's files have no row, its database is suspected and they stay."""

    receipts_kept_days: int = Field(default=1826, ge=365)
    """Five years: how long schools may be asked what left and what arrived. Never less than a year."""
    stubs_kept_days: int = Field(default=400, ge=60)
    """What is left at the origin of a pupil whose records have moved: longer than undoing and than the topics."""
    authorisations_kept_days: int = Field(default=400, gt=0)
    """Counted from the end of an authorisation."""
    audit_kept_days: int = Field(default=1826, ge=366)
    """The database refuses to let go of what is younger than a year."""
    import_details_kept_days: int = Field(default=90, gt=0)
    """Names in the remarks and changes of imports, in establishments that import no more."""

    replay_events_per_second: int = Field(default=500, gt=0)
    """How fast a replay of event logs publishes, unless asked for less."""
    replay_poll_seconds: float = Field(default=1, gt=0)
    """How long a replay that was asked for waits at most."""
