import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cpro_platform.clock import SettableClock
from cpro_platform.metrics import Metrics
from cpro_platform.readiness import Missing, Readiness


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


async def test_what_is_not_ready_is_said_with_since_when_until_it_is_back() -> None:
    clock, readiness_of = SettableClock(datetime(2026, 9, 1, tzinfo=UTC)), {"error": True}
    readiness = Readiness(clock=clock)

    async def ask() -> None:
        if readiness_of["error"]:
            raise ConnectionError

    readiness.add_probe("database", ask)
    readiness.not_ready("join", "connecting")
    first, since = await readiness.look(), clock.now()
    clock.advance(timedelta(minutes=1))
    readiness.not_ready("join", "KafkaConnectionError")
    later = await readiness.look()
    readiness_of["error"] = False
    back = await readiness.look()
    readiness_of["error"] = True
    again = await readiness.look()

    assert first == {"join": Missing("connecting", since), "database": Missing("ConnectionError", since)}
    assert later == {"join": Missing("KafkaConnectionError", since), "database": Missing("ConnectionError", since)}
    assert back.keys() == {"join"}
    assert again["database"].since == clock.now() != since


async def test_a_process_that_was_told_to_stop_is_not_ready_and_tells_once_those_who_would_stay() -> None:
    readiness, told = Readiness(), list[str]()
    readiness.at_the_end(lambda: told.append("told"))

    readiness.stop()
    readiness.stop()

    assert await readiness.missing() == {"process": "stopping"}
    assert told == ["told"]


def test_services_of_one_process_share_a_metric_by_its_name() -> None:
    metrics = Metrics()
    metrics.counter("cpro_things_total", "Things", ["service"]).labels("a").inc()
    metrics.counter("cpro_things_total", "Things", ["service"]).labels("b").inc(2)

    assert b'cpro_things_total{service="b"} 2.0' in metrics.render()
    with pytest.raises(TypeError):
        metrics.gauge("cpro_things_total", "Things")
