"""Who is told of completed transfers by e-mail, when, and of what: against a real mail server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from cpro_platform.errors import RefusedError
from cpro_settings.config import Config
from cpro_settings.domain.notifications import Obstacle
from cpro_settings.errors import MailServerAwayError
from cpro_test_support.mail_server import opened_mailbox
from cpro_test_support.notifying import MONDAY_NOON, NotifyWorld, completed, opened_notify_world, undone
from cpro_test_support.servers import Servers

ORIGIN_ADDRESS = "ce.origin@ac-paris.fr"
DESTINATION_ADDRESS = "ce.destination@ac-caen.fr"
Pair = tuple[str, str]


@pytest.fixture
async def notify(config: Config, servers: Servers) -> AsyncIterator[NotifyWorld]:
    """A service that sends to a mail server of this test's own. It is Monday noon."""
    async with opened_mailbox() as mailbox, opened_notify_world(config, servers.endpoints, mailbox) as world:
        yield world


@pytest.fixture
async def told(notify: NotifyWorld, pair: Pair) -> NotifyWorld:
    """Both schools have an address and want mails."""
    await notify.wants_mails(pair[0], ORIGIN_ADDRESS)
    await notify.wants_mails(pair[1], DESTINATION_ADDRESS)
    return notify


async def test_nobody_gets_a_mail_who_has_not_asked_for_it(notify: NotifyWorld, pair: Pair) -> None:
    await notify.has_sheet(pair[0], ORIGIN_ADDRESS)
    await notify.wants_mails(pair[1], DESTINATION_ADDRESS)
    await notify.transfers(*pair)

    notify.next_day()
    await notify.sends()

    assert [mail.recipients for mail in notify.mailbox.received] == [(DESTINATION_ADDRESS,)]
    assert await notify.news(pair[0]) == []


async def test_the_transfers_of_a_day_come_in_one_mail_to_each_school(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair, 3)
    told.clock.advance(timedelta(hours=5))
    await told.transfers(pair[1], pair[0], 1)

    await told.sends()
    assert await told.mails(pair[0]) == []  # today's hour struck before they completed
    told.next_day()
    await told.sends()
    await told.sends()

    (origin,) = told.mailbox.to(ORIGIN_ADDRESS)
    (destination,) = told.mailbox.to(DESTINATION_ADDRESS)
    assert "reçues d'un autre établissement : 1 élève\n" in origin.text
    assert "parties vers un autre établissement : 3 élèves\n" in origin.text
    assert "reçues d'un autre établissement : 3 élèves\n" in destination.text
    assert "parties vers un autre établissement : 1 élève\n" in destination.text


async def test_a_mail_goes_at_the_hour_of_the_schools_clock_and_not_before(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)

    told.clock.set(datetime(2026, 9, 8, 4, 59, tzinfo=UTC))  # 6:59 in Paris, in summer
    assert await told.sends() == 0
    told.clock.set(datetime(2026, 9, 8, 5, 0, tzinfo=UTC))
    assert await told.sends() == 2


async def test_a_school_gets_one_mail_a_day_at_most(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)
    told.next_day()
    await told.sends()

    late = completed(*pair, MONDAY_NOON)  # heard of after the mail of the day in which it is news
    await told.hears(late)
    await told.sends()
    assert len(told.mailbox.to(ORIGIN_ADDRESS)) == 1
    told.next_day()
    await told.sends()

    assert len(told.mailbox.to(ORIGIN_ADDRESS)) == 2
    assert [mail["outgoing"] for mail in await told.mails(pair[0])] == [1, 1]


async def test_events_that_come_again_in_any_order_are_told_once(told: NotifyWorld, pair: Pair) -> None:
    events = await told.transfers(*pair, 3)
    await told.hears(*reversed(events), *events)
    told.next_day()
    await told.sends()

    await told.hears(*events)
    told.next_day()
    await told.sends()

    assert [mail["outgoing"] for mail in await told.mails(pair[0])] == [3]
    assert len(told.mailbox.received) == 2


async def test_a_transfer_that_was_undone_is_in_no_mail(told: NotifyWorld, pair: Pair) -> None:
    first, second = await told.transfers(*pair, 2)
    await told.hears(undone(first, told.clock.now()))
    await told.hears(first)

    told.next_day()
    await told.sends()

    assert [mail["outgoing"] for mail in await told.mails(pair[0])] == [1]
    assert {news["transfer_id"] for news in await told.news(pair[0])} == {second.transfer_id}


async def test_an_undoing_that_is_heard_of_first_counts(told: NotifyWorld, pair: Pair) -> None:
    event = completed(*pair, told.clock.now())
    await told.hears(undone(event, told.clock.now() + timedelta(minutes=1)))
    await told.hears(event)

    told.next_day()

    assert await told.sends() == 0


async def test_an_undoing_in_the_same_batch_counts(told: NotifyWorld, pair: Pair) -> None:
    event = completed(*pair, told.clock.now())
    await told.hears(event, undone(event, told.clock.now() + timedelta(minutes=1)))

    told.next_day()

    assert await told.sends() == 0


async def test_a_mail_that_could_not_go_tells_nothing_that_was_undone_meanwhile(told: NotifyWorld, pair: Pair) -> None:
    first, _, *_ = await told.transfers(*pair, 2)
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = "451 4.3.0 later"
    told.next_day()
    await told.sends()

    await told.hears(undone(first, told.clock.now()))
    told.mailbox.to_recipient.clear()
    told.next_day()
    await told.sends()

    (mail,) = told.mailbox.to(ORIGIN_ADDRESS)
    assert "parties vers un autre établissement : 1 élève\n" in mail.text


async def test_a_mail_with_nothing_left_to_tell_is_dropped(told: NotifyWorld, pair: Pair) -> None:
    (event,) = await told.transfers(*pair)
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = "451 4.3.0 later"
    told.next_day()
    await told.sends()

    await told.hears(undone(event, told.clock.now()))
    told.mailbox.to_recipient.clear()
    told.next_day()
    await told.sends()

    assert told.mailbox.to(ORIGIN_ADDRESS) == []
    assert [mail["state"] for mail in await told.mails(pair[0])] == ["dropped"]


async def test_what_completed_before_mails_were_switched_on_is_not_told(notify: NotifyWorld, pair: Pair) -> None:
    before = completed(*pair, notify.clock.now() - timedelta(minutes=1))
    await notify.wants_mails(pair[0], ORIGIN_ADDRESS)
    await notify.hears(before)

    notify.next_day()

    assert await notify.sends() == 0


async def test_nothing_is_sent_once_mails_are_switched_off(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)
    await told.chooses(pair[0], enabled=False)
    told.next_day()
    await told.sends()

    await told.chooses(pair[0], enabled=True)
    told.next_day()
    await told.sends()

    assert told.mailbox.to(ORIGIN_ADDRESS) == []


async def test_a_mail_that_waits_is_dropped_once_mails_are_switched_off(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = "451 4.3.0 later"
    told.next_day()
    await told.sends()
    told.mailbox.to_recipient.clear()

    await told.chooses(pair[0], enabled=False)
    told.next_day()
    await told.sends()

    assert told.mailbox.to(ORIGIN_ADDRESS) == []
    assert [mail["state"] for mail in await told.mails(pair[0])] == ["dropped"]


async def test_a_topic_that_is_read_again_after_a_year_tells_nobody_anything(told: NotifyWorld, pair: Pair) -> None:
    events = await told.transfers(*pair, 2)
    told.next_day()
    await told.sends()
    for _ in range(2):
        told.next_day(200)
        await told.sends()
    assert await told.news(pair[0]) == []  # forgotten

    await told.hears(*events)
    told.next_day()

    assert await told.sends() == 0


async def test_while_the_server_is_away_nothing_is_lost_and_afterwards_one_mail_tells_all(
    told: NotifyWorld, pair: Pair, config: Config, servers: Servers
) -> None:
    async with opened_mailbox() as gone:
        pass
    async with opened_notify_world(config, servers.endpoints, gone) as world:
        await world.wants_mails(pair[0], ORIGIN_ADDRESS)
        for number in (1, 2, 4):
            await world.transfers(*pair, number)
            world.next_day()
            with pytest.raises(MailServerAwayError):
                await world.sends()
        assert [(mail["state"], mail["attempts"]) for mail in await world.mails(pair[0])] == [("waiting", 0)]

        async with opened_mailbox(port=gone.port, mailbox=gone):
            await world.sends()

    (mail,) = gone.received
    assert "parties vers un autre établissement : 7 élèves\n" in mail.text


async def test_a_server_that_is_busy_is_tried_again_after_a_growing_delay(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)
    await told.chooses(pair[1], enabled=False)
    told.mailbox.to_mail = ["451 4.3.2 busy"] * 8
    told.next_day()
    delays = []

    for _ in range(8):
        assert await told.sends() == 1
        assert await told.sends() == 0
        (mail,) = await told.mails(pair[0])
        delays.append((mail["due_at"] - told.clock.now()) / timedelta(minutes=5))
        told.clock.set(mail["due_at"])
    assert await told.sends() == 1

    assert delays == [1, 2, 4, 8, 16, 32, 64, 72]  # five minutes, up to six hours
    assert (await told.mails(pair[0]))[0]["state"] == "sent"
    assert len(told.mailbox.received) == 1


async def test_an_address_that_is_refused_for_good_is_shown_and_gets_nothing_more_until_it_is_corrected(
    told: NotifyWorld, pair: Pair
) -> None:
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = "550 5.1.1 no such mailbox"
    await told.transfers(*pair)
    told.next_day()
    await told.sends()
    await told.transfers(*pair)
    told.next_day()
    await told.sends()

    standing = await told.service.preferences.find(pair[0])
    (refused,) = await told.service.preferences.mails(pair[0], before=None, limit=10)
    assert standing.obstacle is Obstacle.ADDRESS_REFUSED
    assert standing.refused_with == "550 5.1.1 no such mailbox"
    assert (refused.state, refused.outgoing, refused.reply) == ("refused", 1, "550 5.1.1 no such mailbox")
    await told.has_sheet(pair[0], "corrected@ac-paris.fr")
    await told.sends()

    (mail,) = told.mailbox.to("corrected@ac-paris.fr")
    assert "parties vers un autre établissement : 2 élèves\n" in mail.text
    assert (await told.service.preferences.find(pair[0])).obstacle is None


async def test_choosing_the_same_again_tries_a_refused_address_again(told: NotifyWorld, pair: Pair) -> None:
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = "550 5.2.1 mailbox disabled"
    await told.transfers(*pair)
    told.next_day()
    await told.sends()
    told.mailbox.to_recipient.clear()

    chosen = await told.chooses(pair[0])
    await told.sends()

    assert chosen.obstacle is None
    assert len(told.mailbox.to(ORIGIN_ADDRESS)) == 1


@pytest.mark.parametrize(
    "reply", ["550 5.7.1 relaying denied", "530 5.7.0 authentication first", "450 4.2.0 greylisted", "421 4.3.2 bye"]
)
async def test_what_is_no_fault_of_the_address_does_not_condemn_it(told: NotifyWorld, pair: Pair, reply: str) -> None:
    told.mailbox.to_recipient[ORIGIN_ADDRESS] = reply
    await told.transfers(*pair)
    told.next_day()
    await sends_what_can_be_sent(told)

    (mail,) = await told.mails(pair[0])

    assert (mail["state"], mail["in_doubt"], mail["reply"]) == ("waiting", False, reply)
    assert (await told.service.preferences.find(pair[0])).obstacle is None


async def test_a_sender_that_is_refused_condemns_no_address_and_stops_the_round(told: NotifyWorld, pair: Pair) -> None:
    told.mailbox.to_sender = "550 5.1.8 unknown sender"
    await told.transfers(*pair)
    told.next_day()

    with pytest.raises(MailServerAwayError):
        await told.sends()

    mails = [*await told.mails(pair[0]), *await told.mails(pair[1])]
    assert {mail["state"] for mail in mails} == {"waiting"}
    assert sorted(mail["attempts"] for mail in mails) == [0, 1]


async def test_a_mail_whose_taking_was_not_confirmed_comes_again_as_the_same_mail(
    told: NotifyWorld, pair: Pair
) -> None:
    await told.chooses(pair[1], enabled=False)
    await told.transfers(*pair, 2)
    told.mailbox.hangs_up_after = True
    told.next_day()
    with pytest.raises(MailServerAwayError):
        await told.sends()
    told.mailbox.hangs_up_after = False
    await told.transfers(*pair)  # news for a later mail: this one may have been read already

    told.next_day()
    await told.sends()

    first, second = told.mailbox.received
    assert second.content == first.content
    assert first.message["Message-ID"]
    told.next_day()
    await told.sends()
    assert "1 élève\n" in told.mailbox.received[-1].text
    assert told.mailbox.received[-1].message["Message-ID"] != first.message["Message-ID"]


async def test_a_doubt_stays_whatever_the_server_answers_later(told: NotifyWorld, pair: Pair) -> None:
    await told.chooses(pair[1], enabled=False)
    await told.transfers(*pair, 2)
    told.mailbox.hangs_up_after = True
    told.next_day()
    with pytest.raises(MailServerAwayError):
        await told.sends()
    told.mailbox.hangs_up_after = False
    told.mailbox.to_mail = ["451 4.3.2 busy"]
    told.clock.advance(timedelta(hours=1))
    await told.sends()

    await told.transfers(*pair)
    told.next_day()
    await told.sends()

    first, second = told.mailbox.received
    assert second.content == first.content


async def test_any_number_of_senders_send_each_mail_once(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair, 5)
    told.next_day()

    await asyncio.gather(*(told.sends() for _ in range(6)))

    assert sorted(mail.recipients for mail in told.mailbox.received) == [(DESTINATION_ADDRESS,), (ORIGIN_ADDRESS,)]


async def test_a_sender_that_is_told_to_stop_settles_the_mail_under_way_and_begins_no_other(
    told: NotifyWorld, pair: Pair
) -> None:
    await told.transfers(*pair)
    told.next_day()
    told.mailbox.answers.clear()
    sending = asyncio.create_task(told.sends())
    await told.mailbox.taken.wait()

    sending.cancel()
    told.mailbox.answers.set()  # the answer takes its way over the network; the cancellation is there at once
    with pytest.raises(asyncio.CancelledError):
        await sending

    mails = [*await told.mails(pair[0]), *await told.mails(pair[1])]
    states = sorted(mail["state"] for mail in mails)
    assert states == ["sent", "waiting"]
    assert len(told.mailbox.received) == 1


@pytest.mark.parametrize(
    "address",
    [
        "ce@ac-paris.fr\r\nBcc: other@example.org",
        "ce@ac-paris.fr\nRCPT TO:<other@example.org>",
        "ce@ac-paris.fr, other@example.org",
        "CPro <ce@ac-paris.fr>",
        "ce@ac-paris.fr> SIZE=1 <other@example.org",
        "ce\x00@ac-paris.fr",
        "no-address",
        "@ac-paris.fr",
    ],
)
async def test_an_address_that_would_write_headers_or_commands_is_refused_and_nothing_goes_out(
    notify: NotifyWorld, pair: Pair, address: str
) -> None:
    if "\x00" in address:
        address = address.replace("\x00", "\x01")  # the database itself takes no NUL
    await notify.wants_mails(pair[0], address)
    await notify.transfers(*pair)
    notify.next_day()

    await notify.sends()

    assert notify.mailbox.received == []
    assert [(mail["state"], mail["reply"]) for mail in await notify.mails(pair[0])] == [("refused", "unusable_address")]


async def test_an_accented_address_goes_where_the_server_can_take_it(
    config: Config, servers: Servers, pair: Pair
) -> None:
    for smtputf8, state in ((True, "sent"), (False, "refused")):
        async with (
            opened_mailbox(smtputf8=smtputf8) as mailbox,
            opened_notify_world(config, servers.endpoints, mailbox) as world,
        ):
            await world.wants_mails(pair[0], "lycée@école.example")
            await world.transfers(*pair)
            world.next_day()
            await world.sends()

            assert [mail["state"] for mail in await world.mails(pair[0])] == [state]
            assert [mail.recipients for mail in mailbox.received] == [("lycée@xn--cole-9oa.example",)] * smtputf8


async def test_a_mail_says_how_many_and_names_nobody(told: NotifyWorld, pair: Pair) -> None:
    await told.has_sheet(pair[0], ORIGIN_ADDRESS, name='Lycée "A" <b>&\'s')
    (event,) = await told.transfers(*pair)
    told.next_day()
    await told.sends()

    (mail,) = told.mailbox.to(ORIGIN_ADDRESS)
    message = mail.message
    assert message["Subject"] == "CPro : 1 transfert de données terminé"
    assert (message["From"], message["To"]) == ("CPro <ne-pas-repondre@cpro.example>", ORIGIN_ADDRESS)
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"https://cpro.example/etablissements/{pair[0]}/transferts\n" in mail.text
    assert f'href="https://cpro.example/etablissements/{pair[0]}/transferts"' in mail.html
    assert "Lycée &quot;A&quot; &lt;b&gt;&amp;&#x27;s" in mail.html
    said = mail.content.decode() + mail.text + mail.html
    for secret in (event.match_key, str(event.origin_pupil_id), str(event.transfer_id), pair[1], DESTINATION_ADDRESS):
        assert secret not in said


async def test_mails_can_only_be_switched_on_where_there_is_an_address(notify: NotifyWorld, pair: Pair) -> None:
    await notify.has_sheet(pair[0], None)

    with pytest.raises(RefusedError) as refused:
        await notify.chooses(pair[0])

    assert refused.value.problem.code == "no_email_address"


async def test_news_wait_for_an_address_that_was_cleared(told: NotifyWorld, pair: Pair) -> None:
    await told.transfers(*pair)
    await told.has_sheet(pair[0], None)
    told.next_day()
    await told.sends()
    assert (await told.service.preferences.find(pair[0])).obstacle is Obstacle.NO_ADDRESS

    await told.has_sheet(pair[0], "new@ac-paris.fr")
    await told.sends()

    assert len(told.mailbox.to("new@ac-paris.fr")) == 1


async def sends_what_can_be_sent(world: NotifyWorld) -> None:
    """Rounds until none is stopped by the server."""
    for _ in range(3):
        try:
            await world.sends()
        except MailServerAwayError:
            continue
        return
