"""The service as an installation runs it: processes, configured by their environment, ended by SIGTERM."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import Process

import httpx

from cpro_embedded.ports import free_ports
from cpro_test_support.pictures import a_logo, encoded
from cpro_test_support.servers import Servers

COMMAND = "from cpro_media.entrypoints.cli import app; app()"


async def started(environment: dict[str, str], *arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )


async def ended(process: Process) -> tuple[int | None, list[dict[str, object]]]:
    """Its exit code and its log, once SIGTERM has ended it."""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        _, log = await process.communicate()
    return process.returncode, [json.loads(line) for line in log.splitlines()]


async def test_the_api_serves_until_it_is_told_to_stop_and_logs_json(
    environment: dict[str, str], servers: Servers, school: str
) -> None:
    (port,) = free_ports(1)
    process = await started(environment | {"CPRO_MEDIA_HTTP__PORT": str(port)}, "api")
    token = servers.tokens.token("admin-1", ["administrator"], school)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        async with asyncio.timeout(20):
            while not await answers(client):
                await asyncio.sleep(0.05)
        stored = await client.put(
            f"/v1/establishments/{school}/images/logo",
            content=encoded(a_logo(), "PNG"),
            headers={"X-Request-Id": "0c0ffee0-1"},
        )

    exit_code, log = await ended(process)

    assert stored.status_code == 200
    assert exit_code in {0, -signal.SIGTERM}  # uvicorn raises the signal again once it has ended in good order
    (handled,) = [line for line in log if line.get("request_id") == "0c0ffee0-1"]
    assert (handled["event"], handled["service"], handled["status"]) == ("request.handled", "media", 200)
    assert len(str(handled["trace_id"])) == 32
    assert school not in json.dumps(log)


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_the_sweep_says_that_it_is_ready_and_ends_in_good_order(environment: dict[str, str]) -> None:
    (port,) = free_ports(1)
    process = await started(environment | {"CPRO_MEDIA_OPERATIONS__PORT": str(port)}, "sweep")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client, asyncio.timeout(20):
        while not await answers(client):
            await asyncio.sleep(0.05)

    exit_code, log = await ended(process)

    assert (exit_code, log) == (0, [])


async def test_migrating_again_changes_nothing(environment: dict[str, str]) -> None:
    process = await started(environment, "migrate")

    async with asyncio.timeout(30):
        await process.communicate()

    assert process.returncode == 0
