"""Prometheus metrics, with their unit in the name (`_seconds`, `_bytes`, `_total`). Labels hold codes, never a pupil.

A `Metrics` is given to whoever measures. Services that share a process share one, so asking twice for a name returns
the same metric.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

# When a counter began is a series more for each, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

Kind = TypeVar("Kind", bound=MetricWrapperBase)


class Metrics:
    """The metrics of a process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._made: dict[str, MetricWrapperBase] = {}

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """Something that is counted; the name ends in `_total`."""
        return self._once(name, Counter, lambda: Counter(name, documentation, labels, registry=self.registry))

    def gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        """Something that goes up and down."""
        return self._once(name, Gauge, lambda: Gauge(name, documentation, labels, registry=self.registry))

    def histogram(
        self, name: str, documentation: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS_BUCKETS
    ) -> Histogram:
        """Something whose distribution matters; in seconds unless the name says otherwise."""
        return self._once(
            name, Histogram, lambda: Histogram(name, documentation, labels, registry=self.registry, buckets=buckets)
        )

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def _once(self, name: str, kind: type[Kind], make: Callable[[], Kind]) -> Kind:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = make()
        if not isinstance(made, kind):
            raise TypeError(f"{name} is a {type(made).__name__}, not a {kind.__name__}")
        return made
