"""How transfers go, for those who operate the system: over HTTP, as metrics, and without naming anyone."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgi_lifespan import LifespanManager
from httpx import ASGITransport, AsyncClient

from cpro_platform.metrics import Metrics
from cpro_test_support.records import Amounts
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, eventually, new_ine, new_uai
from cpro_transfer.adapters import statistics as statements
from cpro_transfer.bootstrap import Service, Work
from cpro_transfer.entrypoints.api import create

URL = "/v1/support/statistics"
SOME = """
INSERT INTO transfer (match_key, origin_uai, origin_pupil_id, origin_revision, destination_uai, origin_opt_in_revision,
    state, reason, called_for_at, landed_at)
SELECT gen_random_uuid()::text, %(uai)s, gen_random_uuid(), 1, %(uai)s, 1, %(state)s, %(reason)s,
    now() - make_interval(secs => %(age)s + number * %(apart)s), now() - make_interval(secs => %(age)s + number * %(apart)s - %(took)s)
FROM generate_series(0, %(number)s - 1) AS number
"""


async def there_are(world: TransferWorld, number: int, state: str, reason: str | None = None, **values: float) -> None:
    """So many transfers in a state; the newest of them called for `age` seconds ago, each `apart` seconds before the next."""
    arguments = {
        "uai": new_uai(),
        "number": number,
        "state": state,
        "reason": reason,
        "age": 0,
        "apart": 1,
        "took": None,
    } | values
    async with world.database.begin() as tx:
        await tx.execute(SOME, arguments)


@asynccontextmanager
async def api_of(world: TransferWorld, work: Work = Work.NOTHING) -> AsyncIterator[AsyncClient]:
    app = create(Service(world.config, work=work))
    async with (
        LifespanManager(app) as running,
        AsyncClient(transport=ASGITransport(running.app), base_url="http://transfers") as client,
    ):
        yield client


def as_(servers: Servers, *roles: str, uai: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {servers.tokens.token('tests', list(roles), uai)}"}


async def statistics(world: TransferWorld, servers: Servers, path: str = URL) -> dict[str, Any]:
    async with api_of(world) as client:
        answer = await client.get(path, headers=as_(servers, "operations"))
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found


async def test_transfers_are_counted_by_state_and_reason(world: TransferWorld, servers: Servers) -> None:
    await there_are(world, 5, "completed")
    await there_are(world, 3, "cancelled", "returned")
    await there_are(world, 4, "held", "identity_mismatch", age=3600, apart=600)
    await there_are(world, 2, "held", "ambiguous_destination")
    await there_are(world, 6, "planned", age=100)

    found = (await statistics(world, servers))["transfers"]

    assert {(one["state"], one["reason"]): one["number"] for one in found} == {
        ("completed", None): 5, ("cancelled", "returned"): 3, ("held", "identity_mismatch"): 4,
        ("held", "ambiguous_destination"): 2, ("planned", None): 6,
    }  # fmt: skip
    ages = {(one["state"], one["reason"]): one["oldest_seconds"] for one in found}
    assert ages["held", "identity_mismatch"] == pytest.approx(5400, abs=30)
    assert ages["planned", None] == pytest.approx(105, abs=30)
    assert ages["completed", None] is None


async def test_the_oldest_waiting_is_one_that_should_move_not_one_that_is_held(
    world: TransferWorld, servers: Servers
) -> None:
    await there_are(world, 1, "held", "identity_mismatch", age=90_000)
    await there_are(world, 1, "landed", age=500)
    await there_are(world, 3, "planned", age=50)

    oldest = (await statistics(world, servers))["oldest_waiting"]

    (landed,) = await _ids(world, "landed")
    assert (oldest["transfer_id"], oldest["state"]) == (landed, "landed")
    assert oldest["seconds"] == pytest.approx(500, abs=30)


async def test_landing_times_are_those_of_the_hours_that_are_asked_for(world: TransferWorld, servers: Servers) -> None:
    await there_are(world, 90, "completed", age=1_000, took=2)
    await there_are(world, 10, "completed", age=2_000, took=30)
    await there_are(world, 7, "completed", age=8_000, took=600)

    hour = (await statistics(world, servers, f"{URL}?hours=1"))["landings"]
    day = (await statistics(world, servers))["landings"]

    assert (hour["number"], hour["median_seconds"], hour["longest_seconds"]) == (100, 2, 30)
    assert (day["hours"], day["number"], day["longest_seconds"]) == (24, 107, 600)


async def test_without_transfers_there_is_nothing_to_say(world: TransferWorld, servers: Servers) -> None:
    found = await statistics(world, servers)

    assert (found["transfers"], found["oldest_waiting"]) == ([], None)
    assert (found["landings"]["number"], found["landings"]["median_seconds"]) == (0, None)


async def test_only_support_and_operations_may_ask(world: TransferWorld, servers: Servers) -> None:
    uai = new_uai()
    async with api_of(world) as client:
        answers = {
            role: (await client.get(URL, headers=as_(servers, role, uai=uai))).status_code
            for role in ("support", "operations", "administrator", "platform")
        }
        without = await client.get(URL)
        nonsense = await client.get(f"{URL}?hours=9999", headers=as_(servers, "support"))

    assert answers == {"support": 200, "operations": 200, "administrator": 403, "platform": 403}
    assert (without.status_code, nonsense.status_code) == (401, 422)


async def test_a_real_move_is_timed_once_and_names_no_one(world: TransferWorld, servers: Servers) -> None:
    origin, destination = await world.schools.opted_in(new_uai(), new_uai())
    ines = [new_ine() for _ in range(3)]
    leavers = [await origin.has(ine, family_name="HAUTECŒUR", records=Amounts(1, 0, 0, 0, 0, 0)) for ine in ines]
    for ine, leaver in zip(ines, leavers, strict=True):
        await origin.loses(leaver)
        await destination.has(ine, family_name="HAUTECŒUR")
    await world.take_in_events()

    world.config = world.config.model_copy(update={"statistics_seconds": 0.05})
    async with api_of(world, work=Work.MOVE | Work.RELAY) as client:
        await world.ends("completed", number=3)
        landings = (await client.get(URL, headers=as_(servers, "support"))).text
        measured = await _metrics_with(client, 'cpro_transfers{reason="",state="completed"} 3.0')

    assert "cpro_transfer_landing_seconds_count 3.0" in measured
    assert '"number":3' in landings
    for said in (measured, landings):
        assert not any(named in said for named in (origin.uai, destination.uai, *ines, *map(str, leavers), "HAUTEC"))
    labels = {name for line in measured.splitlines() if line.startswith("cpro_transfer") for name in _labels(line)}
    assert labels == {"state", "reason", "le"}


async def test_one_process_shows_the_figures_and_another_takes_over(world: TransferWorld) -> None:
    await there_are(world, 4, "planned")
    first, second = Metrics(), Metrics()

    def shows(metrics: Metrics) -> bool:
        return 'cpro_transfers{reason="",state="planned"} 4.0' in metrics.render().decode()

    async def one_shows() -> bool | None:
        return shows(first) or shows(second) or None

    async def other_shows() -> bool | None:
        return shows(second) or None

    async def refreshed(metrics: Metrics) -> None:
        shown = _taken_at(metrics)
        assert shown > 0

        async def later() -> bool | None:
            return _taken_at(metrics) > shown or None

        await eventually(later)

    world.config = world.config.model_copy(update={"statistics_seconds": 0.05})
    async with Service(world.config, work=Work.RELAY, metrics=first) as running:
        await eventually(one_shows)
        async with Service(world.config, work=Work.RELAY, metrics=second):
            for _ in range(4):
                await refreshed(first)
            assert (shows(first), shows(second)) == (True, False)
            await running.background.stop()
            await eventually(other_shows)
            assert "cpro_transfers{" not in first.render().decode()


@pytest.mark.parametrize("statement", ["_WAITING", "_ENDED", "_LANDINGS"])
async def test_the_figures_are_read_from_indexes_only(world: TransferWorld, statement: str) -> None:
    await there_are(world, 20_000, "completed", age=100, took=5)
    await there_are(world, 200, "held", "identity_mismatch")
    async with world.database.session() as session:
        await session.execute("VACUUM (ANALYZE) transfer")
        found = await session.execute(f"EXPLAIN {getattr(statements, statement)}", {"since": "2100-01-01"})
        plan = "\n".join(row[0] for row in await found.fetchall())

    assert set(re.findall(r"(\w[\w ]*?) (?:using \w+ )?on transfer", plan)) <= {
        "Index Only Scan",
        "Parallel Index Only Scan",
    }
    assert "Index Only Scan" in plan


async def test_the_documentation_of_the_api_shows_an_example(world: TransferWorld) -> None:
    async with api_of(world) as client:
        document = (await client.get("/openapi.json")).json()

    schema = document["paths"][URL]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    (example,) = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["examples"]
    assert example["oldest_waiting"]["state"] == "planned"


async def _metrics_with(client: AsyncClient, line: str) -> str:
    async def there() -> str | None:
        text = (await client.get("/metrics")).text
        return text if line in text else None

    found: str = await eventually(there)
    return found


def _taken_at(metrics: Metrics) -> float:
    found = re.search(r"^cpro_transfer_statistics_timestamp_seconds (\S+)", metrics.render().decode(), re.MULTILINE)
    assert found
    return float(found[1])


def _labels(line: str) -> list[str]:
    return re.findall(r'[{,](\w+)="', line)


async def _ids(world: TransferWorld, state: str) -> list[str]:
    async with world.database.begin() as tx:
        rows = await (await tx.execute("SELECT id FROM transfer WHERE state = %s", (state,))).fetchall()
    return [str(row[0]) for row in rows]
