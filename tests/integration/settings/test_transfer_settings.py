import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import httpx
import psycopg
import pytest

from cpro_contracts.envelope import Event
from cpro_contracts.establishments import RosterSource, TransferOptInChanged
from cpro_platform.database import database_conninfo
from cpro_settings.bootstrap import Service, Work
from cpro_settings.config import Config
from cpro_settings.domain.conditions import EVERY_VERSION
from cpro_settings.domain.opt_in import Choice, OptIn
from cpro_tenant_db.provisioning import database_of

EventsOf = Callable[[int], Awaitable[list[Event]]]
ON = {"enabled": True, "roster_source": "siecle", "accepted_conditions": 1}
OFF = {"enabled": False, "roster_source": "siecle"}


def rows_of(config: Config, school: str, query: str) -> list[tuple[object, ...]]:
    cluster = config.tenants.cluster_conninfos["south"]
    with psycopg.connect(database_conninfo(cluster, database_of(school))) as connection:
        return connection.execute(query).fetchall()


async def test_nobody_takes_part_before_having_chosen_to(client: httpx.AsyncClient) -> None:
    answer = await client.get("/transfer-settings")

    assert answer.json() == {
        "enabled": False, "roster_source": "siecle", "changed_at": None, "changed_by": None, "accepted_conditions": None
    }  # fmt: skip


async def test_a_choice_is_kept_in_the_establishments_own_database_with_its_history(
    client: httpx.AsyncClient, config: Config, school: str
) -> None:
    await client.put("/transfer-settings", json=ON)
    answer = await client.put("/transfer-settings", json={"enabled": False, "roster_source": "manual"})

    assert answer.json()["changed_by"] == "admin-1"
    assert (await client.get("/transfer-settings")).json() == answer.json()
    query = "SELECT enabled, roster_source, changed_by FROM {} ORDER BY revision"
    assert rows_of(config, school, query.format("transfer_opt_in")) == [(False, "manual", "admin-1")]
    assert rows_of(config, school, query.format("transfer_opt_in_history")) == [
        (True, "siecle", "admin-1"),
        (False, "manual", "admin-1"),
    ]


async def test_each_change_is_an_event_with_a_growing_revision(client: httpx.AsyncClient, events_of: EventsOf) -> None:
    for choice in (ON, OFF, ON):
        await client.put("/transfer-settings", json=choice)

    events = [event for event in await events_of(3) if isinstance(event, TransferOptInChanged)]

    assert [event.enabled for event in events] == [True, False, True]
    assert [event.revision for event in events] == sorted({event.revision for event in events})
    assert events[0].roster_source is RosterSource.SIECLE


async def test_the_same_choice_again_changes_nothing_and_tells_nobody(
    client: httpx.AsyncClient, events_of: EventsOf
) -> None:
    first = await client.put("/transfer-settings", json=ON)

    again = await client.put("/transfer-settings", json=ON)

    assert again.json() == first.json()
    assert len(await events_of(1)) == 1


async def test_choices_at_the_same_time_follow_one_another(
    client: httpx.AsyncClient, config: Config, school: str, events_of: EventsOf
) -> None:
    answers = await asyncio.gather(
        *(client.put("/transfer-settings", json=choice) for choice in (ON, OFF, ON, OFF, ON, OFF))
    )

    assert {answer.status_code for answer in answers} == {200}
    history = rows_of(config, school, "SELECT enabled FROM transfer_opt_in_history ORDER BY revision")
    events = [event for event in await events_of(len(history)) if isinstance(event, TransferOptInChanged)]
    assert [(event.enabled,) for event in events] == history
    assert all(first != second for first, second in pairwise(history))


async def test_no_note_stays_once_the_event_is_on_kafka(client: httpx.AsyncClient, config: Config, school: str) -> None:
    await client.put("/transfer-settings", json=ON)

    with psycopg.connect(config.database.conninfo) as connection:
        notes = connection.execute("SELECT count(*) FROM tenant_outbox_note WHERE uai = %s", (school,)).fetchone()
    assert notes == (0,)
    assert rows_of(config, school, "SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(0,)]


async def test_a_choice_made_while_kafka_is_away_stands_and_its_event_follows(
    config: Config, school: str, client: httpx.AsyncClient, events_of: EventsOf
) -> None:
    away = config.model_copy(update={"kafka": config.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})})
    async with Service(away, work=Work.NOTHING) as cut_off, cut_off.opt_ins.changing(school) as change:
        revision = await change.next_revision()
        chosen = OptIn(Choice(True, RosterSource.SIECLE), revision, cut_off.clock.now(), "admin-1", 1)
        await change.save(chosen, EVERY_VERSION[0])
        await change.publish(
            TransferOptInChanged(
                uai=school,
                enabled=True,
                roster_source=RosterSource.SIECLE,
                revision=revision,
                occurred_at=cut_off.clock.now(),
            )
        )

    assert (await client.get("/transfer-settings")).json()["enabled"] is True
    with psycopg.connect(config.database.conninfo) as connection:
        connection.execute(
            "UPDATE tenant_outbox_note SET noted_at = noted_at - interval '1 minute' WHERE uai = %s", (school,)
        )
    async with Service(config):
        assert len(await events_of(1)) == 1


@pytest.mark.parametrize(
    "body",
    [{}, {"enabled": True}, {"enabled": "yes", "roster_source": "siecle"}, {"enabled": True, "roster_source": "paper"}],
)
async def test_half_a_choice_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    answer = await client.put("/transfer-settings", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_the_core_application_has_no_business_with_the_opt_in(
    client: httpx.AsyncClient, header_of: Callable[..., dict[str, str]]
) -> None:
    assert (await client.get("/transfer-settings", headers=header_of("platform"))).status_code == 403
