"""An API that is told to stop: readiness goes first, then it answers on for a while, then it ends with exit code 0."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator

import httpx
import pytest

from cpro_embedded.ports import free_ports

# A process, for a signal is for a process. Its routes stand for short requests and for one that takes its time.
SERVER = """
import asyncio, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, JSONResponse
from starlette.routing import Route
from cpro_platform.config import HttpSettings
from cpro_platform.process import serve
from cpro_platform.readiness import Readiness

readiness = Readiness()

async def quick(request):
    return PlainTextResponse("quick")

async def slow(request):
    await asyncio.sleep(float(request.query_params["seconds"]))
    return PlainTextResponse("slow")

async def readyz(request):
    missing = await readiness.missing()
    return JSONResponse(missing, status_code=503 if missing else 200)

routes = [Route("/quick", quick), Route("/slow", slow), Route("/readyz", readyz)]
port, drain = int(sys.argv[1]), int(sys.argv[2])
serve(Starlette(routes=routes), HttpSettings(port=port, drain_seconds=drain, shutdown_seconds=10), readiness)
"""


class Api:
    """A process that serves."""

    def __init__(self, process: Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def answers(self) -> bool:
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def exit_code(self) -> int:
        async with asyncio.timeout(20):
            return await self.process.wait()


@pytest.fixture
async def api(request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, str(port), str(request.param))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        api = Api(process, client)
        try:
            async with asyncio.timeout(20):
                while not await api.answers():
                    await asyncio.sleep(0.05)
            yield api
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@pytest.mark.parametrize("api", [1], indirect=True)
async def test_told_to_stop_it_is_not_ready_first_and_answers_on_closing_each_connection(api: Api) -> None:
    api.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        while await api.answers():
            await asyncio.sleep(0.02)
    ready, quick = await api.client.get("/readyz"), await api.client.get("/quick")

    assert (ready.status_code, ready.json()) == (503, {"process": "stopping"})
    assert (quick.status_code, quick.text, quick.headers["connection"]) == (200, "quick", "close")
    assert await api.exit_code() == 0
    with pytest.raises(httpx.ConnectError):
        await api.client.get("/quick")


@pytest.mark.parametrize("api", [0], indirect=True)
async def test_a_request_that_is_under_way_when_it_listens_no_more_is_answered_whole(api: Api) -> None:
    asked = asyncio.create_task(api.client.get("/slow", params={"seconds": 1}))
    await asyncio.sleep(0.2)

    api.process.send_signal(signal.SIGTERM)
    answer = await asked

    assert (answer.status_code, answer.text) == (200, "slow")
    assert await api.exit_code() == 0


@pytest.mark.parametrize("api", [60], indirect=True)
async def test_a_terminal_need_not_wait_for_the_drain(api: Api) -> None:
    api.process.send_signal(signal.SIGINT)

    assert await api.exit_code() == 0
