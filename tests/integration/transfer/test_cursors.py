"""A cursor that no list has given is refused, however well it is formed."""

import pytest

from cpro_platform.http import encode_cursor
from cpro_test_support.authorising import desk_of
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_uai
from cpro_transfer.bootstrap import Work


@pytest.mark.parametrize("path", ["transfers", "authorisations", "dead-letters", "event-replays"])
async def test_a_forged_cursor_of_support_s_lists_is_refused(world: TransferWorld, servers: Servers, path: str) -> None:
    async with desk_of(world, servers, Work.NOTHING) as desk:
        answer = await desk.support("GET", f"{path}?cursor={encode_cursor('yesterday', 'nobody')}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_forged_cursor_of_the_transferable_pupils_is_refused(world: TransferWorld, servers: Servers) -> None:
    (school,) = await world.schools.opted_in(new_uai())
    cursor = encode_cursor("name", "A", "B", "2026-01-01", "nobody")
    async with desk_of(world, servers, Work.NOTHING) as desk:
        answer = await desk.administrator(school, "GET", f"transferable-pupils?cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
