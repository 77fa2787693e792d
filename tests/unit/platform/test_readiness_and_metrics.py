import asyncio

import pytest

from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Readiness


async def test_a_probe_that_hangs_counts_as_not_ready() -> None:
    readiness = Readiness(timeout_seconds=0.01)
    readiness.add_probe("database", asyncio.Event().wait)

    assert await readiness.missing() == {"database": "TimeoutError"}


async def test_a_state_lasts_until_it_is_taken_back() -> None:
    readiness = Readiness()
    readiness.not_ready("kafka", "away")
    assert await readiness.missing() == {"kafka": "away"}

    readiness.ready("kafka")
    readiness.ready("never mentioned")
    assert await readiness.missing() == {}


def test_services_of_one_process_share_a_metric_by_its_name() -> None:
    metrics = Metrics()
    metrics.counter("cpro_things_total", "Things", ["service"]).labels("a").inc()
    metrics.counter("cpro_things_total", "Things", ["service"]).labels("b").inc(2)

    assert b'cpro_things_total{service="b"} 2.0' in metrics.render()
    with pytest.raises(TypeError):
        metrics.gauge("cpro_things_total", "Things")
