"""Replace every process under load, one after the other, by SIGTERM: no request fails, no message is lost.

Pupils go from school to school and back, by files that two administrators upload, while others read from every API.
A transfer that is lost on the way would keep its school waiting for ever. `docs/runbook/telemetry.md` shows the table
that this prints (`pytest -s`).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from cpro_test_support.import_world import EXPORT_DAY, YEAR, School, new_school
from cpro_test_support.installations import Configs, fresh_configs
from cpro_test_support.mail_server import opened_mailbox
from cpro_test_support.records import Amounts, seed_records
from cpro_test_support.rolling import Balancer, Ended, Rolled, running
from cpro_test_support.schools import opened_on
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils
from cpro_test_support.transfers import eventually

DEADLINE_SECONDS = 30
"""What `deploy/compose.yaml` gives a process before it is killed."""
PROCESSES = (
    "siecle_import worker", "siecle_import relay", "siecle_import sweep", "siecle_import api",
    "transfer join", "transfer move", "transfer relay", "transfer sweep --stay", "transfer api",
    "settings relay", "settings notify", "settings api", "media sweep", "media api", "transfer retain --stay",
)  # fmt: skip
SERVICES = ("settings", "media", "siecle_import", "transfer")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Fleet:
    """One process of each kind, and what stands before the APIs."""

    configs: Configs
    folder: Path
    balancers: dict[str, Balancer]
    processes: dict[str, Rolled]

    def made(self, name: str) -> Rolled:
        service, command = name.split(maxsplit=1)
        return Rolled(getattr(self.configs, service), service, command, self.folder)

    async def replace(self, name: str, leaving: list[Rolled]) -> Ended:
        """Start another, then stop the one that was there, as an installation that is updated does."""
        old, new = self.processes[name], self.made(name)
        leaving.append(new)
        await new.start()
        service, command = name.split(maxsplit=1)
        if command == "api":
            self.balancers[service].add(new.port)
        ended = await old.stop(within_seconds=DEADLINE_SECONDS)
        if command == "api":
            self.balancers[service].forget(old.port)
        self.processes[name] = new
        return ended


@dataclass
class Commuters:
    """Pupils who go from one of two schools to the other and back."""

    schools: tuple[School, School]
    pupils: list[SamplePupil]
    staying: tuple[list[SamplePupil], list[SamplePupil]]
    transfers: Balancer
    rounds: int = 0

    async def go(self, stopping: asyncio.Event) -> None:
        """Go round until told to stop, each time waiting until the records have followed."""
        while not stopping.is_set():
            here, there = self.rounds % 2, (self.rounds + 1) % 2
            gone = [pupil.leaves(EXPORT_DAY) for pupil in self.pupils]
            await self._imports(here, [*self.staying[here], *gone])
            await self._imports(there, [*self.staying[there], *self.pupils])
            self.rounds += 1
            await eventually(self._followed, self._seen, within_seconds=60)

    async def _imports(self, at: int, pupils: list[SamplePupil]) -> None:
        imported = await self.schools[at].imports(pupils)
        assert imported["state"] == "completed", imported

    async def _followed(self) -> bool | None:
        return True if await self.arrived() >= self.rounds * len(self.pupils) else None

    async def _seen(self) -> str:
        return f"{await self.arrived()} arrivals after {self.rounds} rounds"

    async def arrived(self) -> int:
        """How many transfers are completed, as both schools see them."""
        number = 0
        for school in self.schools:
            async with _client(school, self.transfers) as client:
                query: dict[str, str | int] = {"direction": "incoming", "status": "completed", "limit": 100}
                while True:
                    page = (await client.get("/transfers", params=query)).json()
                    number += len(page["items"])
                    if not page.get("next_cursor"):
                        break
                    query["cursor"] = page["next_cursor"]
        return number


async def test_every_process_is_replaced_under_load_and_nothing_fails_or_is_lost(
    servers: Servers, tmp_path: Path
) -> None:
    async with _fleet(servers, tmp_path) as (fleet, schools):
        commuters = [await _commuters(fleet, servers, schools[at : at + 2], seed=50 + at) for at in (0, 2)]
        stopping = asyncio.Event()
        table: list[tuple[str, Ended, int]] = []
        leaving: list[Rolled] = []
        async with asyncio.TaskGroup() as group, running(leaving):
            load = [group.create_task(each.go(stopping)) for each in commuters]
            readers = [group.create_task(_reads(fleet, service, schools[0], stopping)) for service in SERVICES]
            for name in PROCESSES:
                before = sum(balancer.answered for balancer in fleet.balancers.values())
                ended = await fleet.replace(name, leaving)
                asked = sum(balancer.answered for balancer in fleet.balancers.values()) - before
                table.append((name, ended, asked))
                print(f"| `{name}` | {ended.exit_code} | {ended.seconds:.1f} | {asked} |")  # noqa: T201 - for `pytest -s`
            stopping.set()
            await asyncio.gather(*load, *readers)
        moved = sum(each.rounds * len(each.pupils) for each in commuters)

    refused = sum(balancer.refused for balancer in fleet.balancers.values())
    print(f"{moved} pupils moved, {refused} connections refused")  # noqa: T201
    assert {name: ended.exit_code for name, ended, _ in table} == dict.fromkeys(PROCESSES, 0)
    assert {name: ended.errors for name, ended, _ in table if ended.errors} == {}
    assert {name: balancer.broken for name, balancer in fleet.balancers.items() if balancer.broken} == {}
    assert all(each.rounds > 1 for each in commuters)


@asynccontextmanager
async def _fleet(servers: Servers, folder: Path) -> AsyncIterator[tuple[Fleet, list[School]]]:
    async with AsyncExitStack() as opened:
        mailbox = await opened.enter_async_context(opened_mailbox())
        configs = await fresh_configs(servers, mailbox.port)
        fleet = Fleet(configs, folder, {service: Balancer() for service in SERVICES}, {})
        fleet.processes |= {name: fleet.made(name) for name in PROCESSES}
        await opened.enter_async_context(running(list(fleet.processes.values())))
        for service, balancer in fleet.balancers.items():
            balancer.add(fleet.processes[f"{service} api"].port)
            opened.push_async_callback(balancer.aclose)
            looking = asyncio.create_task(balancer.look())
            opened.callback(looking.cancel)
        imports = configs.siecle_import
        schools = [
            await opened.enter_async_context(new_school(imports, fleet.balancers["siecle_import"], servers))
            for _ in range(4)
        ]
        yield fleet, schools


async def _commuters(fleet: Fleet, servers: Servers, schools: list[School], *, seed: int) -> Commuters:
    """Three pupils of the first school, with records; both schools have opened their doors."""
    pupils = list(generate_pupils(3, seed, school_year=YEAR))
    staying = tuple(list(generate_pupils(6, seed + 10 + at, school_year=YEAR)) for at in range(2))
    for school in schools:
        async with _client(school, fleet.balancers["settings"]) as client:
            choice = {"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}
            answer = await client.put("/transfer-settings", json=choice)
            assert answer.status_code == 200, answer.text
    await schools[0].imports([*pupils, *staying[0]])
    async with opened_on(servers.endpoints, schools[0].config.tenants) as world:
        for row in await schools[0].rows("SELECT id FROM pupil"):
            async with world.tenants.begin(schools[0].uai) as tx:
                amounts = Amounts(reports=2, attachments=1)
                await seed_records(tx, world.store, schools[0].uai, UUID(str(row["id"])), amounts=amounts)
    return Commuters((schools[0], schools[1]), pupils, (staying[0], staying[1]), fleet.balancers["transfer"])


async def _reads(fleet: Fleet, service: str, school: School, stopping: asyncio.Event) -> None:
    """Keep asking one API, some dozens of times a second."""
    path = {
        "settings": "/history",
        "media": "/images",
        "siecle_import": "/siecle-imports",
        "transfer": "/transferable-pupils",
    }
    async with _client(school, fleet.balancers[service]) as client:
        while not stopping.is_set():
            answer = await client.get(path[service])
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.05)


def _client(school: School, balancer: Balancer) -> httpx.AsyncClient:
    headers = dict(school.client.headers)
    return httpx.AsyncClient(transport=_Shared(balancer), base_url=school.client.base_url, headers=headers)


class _Shared(httpx.AsyncBaseTransport):
    """Outlives the clients that use it."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._balancer.handle_async_request(request)
