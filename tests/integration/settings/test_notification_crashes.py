"""`cpro-settings notify` as an installation runs it: killed at every point, stopped in good order, fed by Kafka."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from cpro_contracts.envelope import Envelope, Event
from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_platform.clock import SystemClock
from cpro_platform.kafka import EventPublisher, OutgoingMessage
from cpro_settings.config import Config
from cpro_test_support.depth import in_part, slow
from cpro_test_support.mail_server import opened_mailbox
from cpro_test_support.notifying import (
    NotifyProcess,
    NotifyWorld,
    completed,
    opened_notify_world,
    undone,
)
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import eventually

ADDRESS = "ce.origin@ac-paris.fr"
Pair = tuple[str, str]


@pytest.fixture
async def notify(config: Config, servers: Servers, pair: Pair) -> AsyncIterator[NotifyWorld]:
    """A service whose clock stood two days ago when the first school switched mails on, and stands now."""
    now = SystemClock().now()
    async with (
        opened_mailbox() as mailbox,
        opened_notify_world(config, servers.endpoints, mailbox, start=now - timedelta(days=2)) as world,
    ):
        await world.wants_mails(pair[0], ADDRESS)
        yield world


async def state_of(world: NotifyWorld, uai: str, state: str) -> bool | None:
    return True if [mail["state"] for mail in await world.mails(uai)] == [state] else None


async def lease_runs_out(world: NotifyWorld) -> None:
    """The claim of a dead process has ended: what a successor waits for."""
    async with world.database.begin() as tx:
        await tx.execute("UPDATE notification_mail SET claimed_until = now() - interval '1 second'")


@pytest.mark.parametrize(
    ("point", "copies"), in_part([("notify.accepted", 2), ("notify.claimed", 1), ("notify.settled", 1)], unpacked=True)
)
async def test_a_sender_that_is_killed_loses_no_mail_and_a_copy_is_known_as_one(
    notify: NotifyWorld, pair: Pair, point: str, copies: int
) -> None:
    await notify.transfers(*pair, 2)

    async with NotifyProcess(notify.config, crash_at=point) as killed:
        assert (await killed.ended())[0] == -signal.SIGKILL
    await notify.transfers(*pair)  # news that may not join the mail that is in doubt
    await lease_runs_out(notify)
    async with NotifyProcess(notify.config):
        await eventually(lambda: state_of(notify, pair[0], "sent"))

    assert len(notify.mailbox.received) == copies
    assert len({mail.content for mail in notify.mailbox.received}) == 1
    assert "parties vers un autre établissement : 2 élèves\n" in notify.mailbox.received[0].text


async def test_a_mail_is_not_sent_by_another_as_long_as_its_sender_has_the_lease(
    notify: NotifyWorld, pair: Pair
) -> None:
    await notify.transfers(*pair)
    async with NotifyProcess(notify.config, crash_at="notify.claimed") as killed:
        await killed.ended()
    notify.clock.set(SystemClock().now())

    assert await notify.sends() == 0
    notify.clock.advance(timedelta(seconds=notify.config.notifications.lease_seconds + 1))
    assert await notify.sends() == 1


@slow
async def test_a_signal_while_the_server_takes_a_mail_makes_no_copy(notify: NotifyWorld, pair: Pair) -> None:
    await notify.transfers(*pair)
    notify.mailbox.answers.clear()

    (port,) = free_ports(1)

    async with NotifyProcess(notify.config, CPRO_SETTINGS_OPERATIONS__PORT=str(port)) as stopped:
        async with asyncio.timeout(120):
            await notify.mailbox.taken.wait()
        stopped.send(signal.SIGTERM)
        await eventually(lambda: says_not_ready(port))  # the first thing that a process does when it is told to end
        notify.mailbox.answers.set()
        status, _ = await stopped.ended()

    assert status == 0
    assert [mail["state"] for mail in await notify.mails(pair[0])] == ["sent"]


async def test_an_outcome_that_comes_after_the_lease_has_passed_to_another_does_not_count(
    notify: NotifyWorld, pair: Pair
) -> None:
    await notify.transfers(*pair)
    notify.mailbox.answers.clear()

    async with NotifyProcess(notify.config) as late:
        await notify.mailbox.taken.wait()
        await lease_runs_out(notify)
        claim = "UPDATE notification_mail SET claim = gen_random_uuid(), claimed_until = now() + interval '1 hour'"
        async with notify.database.begin() as tx:
            await tx.execute(claim)
        late.send(signal.SIGTERM)
        notify.mailbox.answers.set()
        _, log = await late.ended()

    assert "mail.superseded" in log
    assert [mail["state"] for mail in await notify.mails(pair[0])] == ["waiting"]


async def test_the_process_reads_the_topic_and_sends_and_says_nothing_of_anybody(
    notify: NotifyWorld, pair: Pair, servers: Servers
) -> None:
    event, other = (completed(*pair, notify.clock.now()) for _ in range(2))
    notify.mailbox.to_recipient[ADDRESS] = f"550 5.1.1 <{ADDRESS}> unknown"
    await published(servers, event, other, undone(other, notify.clock.now()))
    (port,) = free_ports(1)

    environment = {"CPRO_SETTINGS_OPERATIONS__PORT": str(port), "CPRO_SETTINGS_TELEMETRY__LOG_LEVEL": "info"}
    async with NotifyProcess(notify.config, **environment) as process:
        await eventually(lambda: state_of(notify, pair[0], "refused"))
        notify.mailbox.to_recipient.clear()
        await notify.has_sheet(pair[0], "corrected@ac-paris.fr")

        async def arrived() -> bool | None:
            return bool(notify.mailbox.received) or None

        await eventually(arrived)
        async with httpx.AsyncClient(base_url=f"http://{LOCALHOST}:{port}", trust_env=False) as client:
            metrics = (await client.get("/metrics")).text
            await eventually(lambda: ready(client))
        process.send(signal.SIGTERM)
        status, log = await process.ended()

    (mail,) = notify.mailbox.received
    assert "parties vers un autre établissement : 1 élève\n" in mail.text
    assert 'cpro_settings_mails_total{outcome="refused"} 1.0' in metrics
    assert status == 0
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert "mail.refused" in events
    for secret in (ADDRESS, "corrected", event.match_key, str(event.origin_pupil_id), "Jean-Jaur"):
        assert secret not in log


async def says_not_ready(port: int) -> bool | None:
    async with httpx.AsyncClient(base_url=f"http://{LOCALHOST}:{port}") as client:
        return (await client.get("/readyz")).status_code == 503 or None


async def ready(client: httpx.AsyncClient) -> bool | None:
    return (await client.get("/readyz")).status_code == 200 or None


async def test_a_process_without_a_mail_server_says_what_is_missing_and_ends(notify: NotifyWorld) -> None:
    config = notify.config.model_copy(update={"smtp": notify.config.smtp.model_copy(update={"host": ""})})

    async with NotifyProcess(config) as process:
        status, log = await process.ended()

    assert status == 2
    assert "CPRO_SETTINGS_SMTP__HOST" in log


async def published(servers: Servers, *events: Event) -> None:
    """Put events on their topic, as the relay of transfers does."""
    now = SystemClock().now()
    publisher = EventPublisher(servers.endpoints.kafka_bootstrap, client_id="tests")
    try:
        await publisher.publish([OutgoingMessage.of(Envelope(uuid4(), "/tests", now, event)) for event in events])
    finally:
        await publisher.stop()
