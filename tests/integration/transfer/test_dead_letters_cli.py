"""`cpro-support dead-letters`, as support runs it: a process of its own, over HTTP, with a token."""

from typing import Any
from uuid import uuid4

from cpro_contracts import topics
from cpro_test_support.depth import slow
from cpro_test_support.letters import TICKET, Desk, an_arrival, desk_of, message_of, new_cause, set_aside
from cpro_test_support.reconciling import answering, row_versions
from cpro_test_support.servers import Servers
from cpro_test_support.support_tool import cpro_support
from cpro_test_support.transfers import TransferWorld
from cpro_transfer.bootstrap import Work


async def known_letters(desk: Desk, world: TransferWorld, number: int) -> tuple[type[Exception], list[dict[str, Any]]]:
    cause = new_cause()
    await set_aside(world, [message_of(an_arrival()) for _ in range(number)], cause)
    return cause, await desk.waiting(cause, number)


async def test_support_looks_replays_and_discards_with_the_tool(world: TransferWorld, servers: Servers) -> None:
    async with desk_of(world, servers) as desk, answering(world) as (_, url):
        cause, letters = await known_letters(desk, world, 3)
        chosen = ("--topic", topics.PUPIL, "--cause", cause.__name__, "--ticket", TICKET)

        listed = await cpro_support(servers, url, "dead-letters", "list", "--cause", cause.__name__)
        shown = await cpro_support(servers, url, "dead-letters", "show", letters[0]["id"])
        one = await cpro_support(
            servers, url, "dead-letters", "discard", letters[0]["id"], "--ticket", TICKET, "--reason", "a trial",
            "--execute", "--json",
        )  # fmt: skip
        replayed = await cpro_support(servers, url, "dead-letters", "replay", *chosen, "--execute")
        afterwards = await cpro_support(servers, url, "dead-letters", "list", "--cause", cause.__name__, "--json")
        consumers = await cpro_support(servers, url, "dead-letters", "consumers")

    assert listed.code == 1
    assert all(letter["id"] in listed.out for letter in letters)
    assert cause.__name__ in listed.out
    assert shown.code == 0
    assert f"  uai = {letters[0]['uai']}" in shown.out
    assert (one.code, one.json["settled"], one.json["left"]) == (0, 1, 0)
    assert replayed.code == 0
    assert "2 letters settled." in replayed.out
    assert afterwards.code == 0
    assert consumers.code in {0, 1}, "the session's other consumers may have stopped"
    assert world.config.join_group in consumers.out
    assert "They stop after 20 failures in a row, or more than 50 % of the last 100 messages." in consumers.out
    assert {(count["state"], count["number"]) for count in afterwards.json["counts"]} == {
        ("discarded", 1),
        ("replayed", 2),
    }


@slow
async def test_without_execute_the_tool_says_what_it_would_do_and_writes_nothing(
    world: TransferWorld, servers: Servers
) -> None:
    async with desk_of(world, servers) as desk:
        cause, _ = await known_letters(desk, world, 2)
    chosen = ("--topic", topics.PUPIL, "--cause", cause.__name__, "--ticket", TICKET)
    before = await row_versions(world)

    async with answering(world) as (_, url):
        english = await cpro_support(servers, url, "dead-letters", "replay", *chosen)
        french = await cpro_support(servers, url, "dead-letters", "replay", *chosen, LC_ALL="fr_FR.UTF-8")

    assert await row_versions(world) == before
    assert (english.code, french.code) == (1, 1)
    assert "2 letters would be settled." in english.out
    assert "Nothing was done. To do it: --execute" in english.err
    assert "2 messages seraient concernés." in french.out


@slow
async def test_wrong_usage_and_refusals_end_with_2_and_their_words(world: TransferWorld, servers: Servers) -> None:
    async with desk_of(world, servers, work=Work.NOTHING), answering(world) as (_, url):
        neither = await cpro_support(servers, url, "dead-letters", "replay", "--ticket", TICKET)
        unknown = await cpro_support(servers, url, "dead-letters", "replay", str(uuid4()), "--ticket", TICKET)
        formless = await cpro_support(servers, url, "dead-letters", "replay", str(uuid4()), "--ticket", "please")
        nobody = await cpro_support(servers, url, "dead-letters", "show", str(uuid4()))

    assert [ran.code for ran in (neither, unknown, formless, nobody)] == [2, 2, 2, 2]
    assert "Give ids, or --topic and --cause." in neither.err
    assert "Dead letter not known" in unknown.err
    assert "Invalid ticket number" in formless.err
    assert "There is no such letter." in nobody.err
