"""The topics: names, what is kept, and how many partitions a new installation makes."""

from dataclasses import dataclass

PUPIL = "cpro.pupil"
ESTABLISHMENT = "cpro.establishment"
SIECLE_IMPORT_JOBS = "cpro.siecle-import.jobs"
SIECLE_IMPORT = "cpro.siecle-import"
TRANSFER = "cpro.transfer"

_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as an installation creates it. `retention_ms` is None where it is compacted instead."""

    name: str
    partitions: int
    retention_ms: int | None

    def config(self) -> dict[str, str]:
        """The topic's settings for the Kafka admin API."""
        if self.retention_ms is None:
            return {"cleanup.policy": "compact"}
        return {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


def dead_letters_of(topic: str) -> str:
    """The topic that holds the messages of `topic` that could not be handled."""
    return f"{topic}.dlq"


_SOURCES = (
    Topic(PUPIL, partitions=12, retention_ms=400 * _DAY_MS),
    Topic(ESTABLISHMENT, partitions=6, retention_ms=None),
    Topic(SIECLE_IMPORT_JOBS, partitions=24, retention_ms=30 * _DAY_MS),
    Topic(SIECLE_IMPORT, partitions=6, retention_ms=400 * _DAY_MS),
    Topic(TRANSFER, partitions=6, retention_ms=400 * _DAY_MS),
)
ALL: tuple[Topic, ...] = _SOURCES + tuple(
    Topic(dead_letters_of(topic.name), partitions=1, retention_ms=400 * _DAY_MS) for topic in _SOURCES
)
