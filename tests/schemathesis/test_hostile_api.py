"""No request that can be made up is answered with 5xx, or otherwise than the OpenAPI document says.

schemathesis makes the requests up, from the document of the four services: valid ones, invalid ones, and chains of
them along the document's links. `make test` runs it briefly and always the same; `make hostile-api` for long, always
another.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cpro_contracts import topics
from cpro_embedded.process import minimal_environment
from cpro_embedded.services import Installation, ServiceProcesses, create_tenants, prepare
from cpro_platform.clock import SystemClock
from cpro_platform.dead_letters import DeadLetters
from cpro_platform.kafka import EventPublisher
from cpro_test_support.depth import slow
from cpro_test_support.import_world import EXPORT_DAY, EXPORTED, YEAR
from cpro_test_support.letters import SourceRecord, an_arrival, message_of, new_cause
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils, siecle_zip
from cpro_test_support.transfers import eventually

HERE = Path(__file__).parent
OWN, OTHER = "0752387M", "0750680G"
SECONDS = int(os.environ.get("HOSTILE_SECONDS", "0"))
"""Nothing in the usual run of the tests."""
_CALLERS = 60
"""So many of each role take turns, that no one of them asks too often."""
_BRIEFLY = """
[phases.coverage]
enabled = false  # every boundary of every field: some 2,000 requests, for the long run
[phases.examples.generation]
max-examples = 2
[phases.fuzzing.generation]
max-examples = 6
[phases.stateful.generation]
max-examples = 25
"""
_LINKS_WALKED = re.compile(r"API Links: +(\d+) covered")


class Hosts:
    """Two schools with pupils, imports and transfers, so that what is asked for is there to be found."""

    def __init__(self, url: str, servers: Servers) -> None:
        self._servers = servers
        self._client = httpx.AsyncClient(base_url=f"{url}/v1", timeout=30, trust_env=False)

    async def settle_in(self) -> dict[str, list[str]]:
        """Ids of what there is, by what they name."""
        async with self._client:
            stays, goes = list(generate_pupils(12, 1, school_year=YEAR)), list(generate_pupils(4, 2, school_year=YEAR))
            # Without an INE nobody can follow them by themselves: for this one there is an authorisation.
            goes[3] = replace(goes[3], ine=None)
            for uai in (OWN, OTHER):
                await self._opts_in(uai)
            await self._imports(OWN, [*stays, *goes], minute=1)
            await self._imports(OTHER, list(generate_pupils(6, 3, school_year=YEAR)), minute=1)
            await self._imports(OWN, [*stays, *(pupil.leaves(EXPORT_DAY) for pupil in goes)], minute=2)
            await self._imports(OTHER, [*generate_pupils(6, 3, school_year=YEAR), *goes[:3]], minute=2)
            transfers = await eventually(self._completed)
            waiting = await self._items(f"establishments/{OWN}/transferable-pupils")
            (alone,) = (one["pupil"]["id"] for one in waiting if not one["automatic"])
            await self._authorises(alone)
            letters = await self._letters()
            imports = await self._items(f"establishments/{OWN}/siecle-imports")
            return {
                "uais": [OWN],
                "imports": [one["id"] for one in imports],
                "pupils": [one["pupil"]["id"] for one in waiting],
                "transfers": [one["id"] for one in transfers],
                "letters": [one["id"] for one in letters],
                "topics": [topics.PUPIL],
                "causes": [one["cause"] for one in letters],
                "authorisations": [one["id"] for one in await self._items("support/authorisations")],
                "destinations": [OTHER],
                "tickets": ["CPRO-10482"],
                "versions": ["*", '"0"', '"1"'],
                "keys": ["button-1", "button-2"],
            }

    async def _opts_in(self, uai: str) -> None:
        choice = {"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}
        await self._ask("PUT", f"establishments/{uai}/transfer-settings", json=choice)

    async def _imports(self, uai: str, pupils: Sequence[SamplePupil], *, minute: int) -> None:
        file = siecle_zip(uai, list(pupils), exported_at=EXPORTED.replace(minute=minute), school_year=YEAR)
        path = f"establishments/{uai}/siecle-imports"
        asked = await self._ask("POST", path, content=file)

        async def over() -> bool | None:
            return (await self._ask("GET", f"{path}/{asked['id']}"))["state"] == "completed" or None

        await eventually(over)

    async def _authorises(self, pupil_id: str) -> None:
        given = {"destination_uai": OTHER, "given_by": "both", "given_on": str(EXPORT_DAY), "collected_by": "head"}
        await self._ask("PUT", f"establishments/{OWN}/transfer-authorisations/{pupil_id}", json=given)

    async def _letters(self) -> list[dict[str, Any]]:
        publisher = EventPublisher(self._servers.endpoints.kafka_bootstrap, client_id="tests")
        letters, cause = DeadLetters(publisher, group="tests", clock=SystemClock()), new_cause()
        try:
            for number in range(3):
                said = message_of(an_arrival())
                await letters.put(SourceRecord(said.topic, 0, number, said.key, said.value, said.headers), cause())
        finally:
            await publisher.stop()

        async def listed() -> list[dict[str, Any]] | None:
            found = await self._items(f"support/dead-letters?cause={cause.__name__}")
            return found if len(found) == 3 else None

        found: list[dict[str, Any]] = await eventually(listed)
        return found

    async def _completed(self) -> list[dict[str, Any]] | None:
        found = await self._items(f"establishments/{OWN}/transfers?direction=outgoing&status=completed")
        return found if len(found) == 3 else None

    async def _items(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask("GET", path))["items"]
        return found

    async def _ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        of_all = path.startswith("support/")
        role, uai = ("support", None) if of_all else ("administrator", path.split("/")[1])
        token = self._servers.tokens.token("the-host", [role], uai)
        answer = await self._client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **sent)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


def configured(folder: Path, known: Mapping[str, Sequence[str]]) -> Path:
    """The configuration with what is known of this installation."""
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(list(values))}" for name, values in known.items()]
    config = folder / "schemathesis.toml"
    depth = "" if SECONDS else _BRIEFLY
    config.write_text("\n".join([(HERE / "schemathesis.toml").read_text(), depth, *lines, ""]))
    return config


def callers(folder: Path, servers: Servers) -> Path:
    """Tokens by role."""
    lasting = {"ttl_seconds": SECONDS + 3600}
    tokens = {
        role: [servers.tokens.token(f"{role}-{number}", [role], uai, **lasting) for number in range(_CALLERS)]
        for role, uai in {"administrator": OWN, "support": None, "operations": None, "platform": None}.items()
    }
    path = folder / "tokens.json"
    path.write_text(json.dumps(tokens))
    return path


async def schemathesis(url: str, config: Path, tokens: Path, *options: str) -> tuple[int, str]:
    """Run it; its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json", *options,
        cwd=config.parent,
        env=minimal_environment(CPRO_TOKENS=str(tokens), PYTHONPATH=str(HERE), COLUMNS="160"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode()


@slow
@pytest.mark.timeout(SECONDS + 600)
async def test_whatever_is_asked_is_answered_as_the_document_says(servers: Servers, tmp_path: Path) -> None:
    installation = Installation.fresh(servers.endpoints)
    await prepare(installation)
    await create_tenants(installation, {OWN: "north", OTHER: "south"})
    options = ["--max-time", str(SECONDS)] if SECONDS else ["--seed", "7"]

    async with ServiceProcesses(installation, tmp_path) as services:
        known = await Hosts(services.url, servers).settle_in()
        status, report = await schemathesis(
            services.url, configured(tmp_path, known), callers(tmp_path, servers), *options
        )
        still_running = services.running

    sys.stdout.write(report)
    assert status == 0, report[-8000:]
    assert still_running
    walked = _LINKS_WALKED.search(report)
    assert walked, "no chain of requests was made"
    assert int(walked[1]) > 0
