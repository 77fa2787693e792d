"""Tell establishments that transfers have completed: by e-mail, grouped, one a day at most, none lost.

Why here: the address is on the establishment's sheet, and no address is in any topic. So this service, which has it,
reads `cpro.transfer`; the transfer service knows no address, and this one no pupil.

    cpro.transfer ──► news (one for each of the two schools) ──► a mail a day ──► the mail server

**News.** A completed transfer is noted once for each school that wants to know (primary key: transfer and school),
however often and late its event comes. One that was undone is taken back, also when its undoing is heard of first; what
completed before the school switched mails on, or a month ago, is none. What was cancelled never completed.

**Mails.** At a fixed hour a school with news gets a mail, if none went on that day and none is on its way: two unique
indexes say so. What it tells is put together when it is sent.

**Sending, and dying while sending.** SMTP has no transaction that spans the server and our database: between the 250
of the server and our commit there is a moment in which we may die, and nobody can tell us afterwards what the server
said. Then mails are either lost sometimes or sent twice sometimes. Ours are sent twice, and made so that the second is
known for what it is:

1. *Claim*, one transaction: lease, and `in_doubt`. What the mail tells is settled: nothing is added from here on.
2. *Send.* The Message-ID is the mail's id, and the bytes are those of the first attempt, unless the sheet has changed
   or a transfer was undone meanwhile: mail systems that drop copies by Message-ID show one. A school where both arrive
   reads the same figures twice, never one transfer in two mails.
3. *Settle*, one transaction, only under our claim. Sent: done. Refused or postponed with an answer: certainly not
   taken, so no longer in doubt, and news may join again; unless an earlier attempt was in doubt. No answer: in doubt.

Who dies before 2 costs the wait for the lease; between 2 and 3, a copy. A signal is no death: a mail that is being sent
is settled first. An undoing between two attempts takes its transfer out of the mail, and a mail with nothing left in it
is dropped: then a copy may say less than the first, which is right. A process that sleeps past its lease may add a copy
when it wakes up, for the same reason and with the same id; its outcome no longer counts.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from cpro_contracts.transfers import TransferCompleted, TransferUndone
from cpro_platform import crash_points, tracing
from cpro_platform.clock import Clock
from cpro_platform.consuming import Message
from cpro_settings.domain.notifications import (
    Direction,
    Mail,
    MailReport,
    News,
    Outcome,
    Postponed,
    Preference,
    Refused,
    Sent,
    Standing,
    Undone,
    delay_after,
    round_at,
)
from cpro_settings.errors import MailServerAwayError, establishment_unknown, no_email_address
from cpro_settings.ports import Establishments, Mails, MailServer, MailSession, NewsDesk, Preferences

CheckVersion = Callable[[Preference], None]
"""Raises unless the caller made their change from this version of the preference."""
Tell = Callable[[str], None]

_MAILS_PER_CONNECTION = 50
"""Mail servers hang up on those who stay for long."""


async def read_preference(uai: str, *, establishments: Establishments, preferences: Preferences) -> Standing:
    """Whether the establishment wants to be told, and what stands in the way."""
    await _must_be_known(uai, establishments)
    return await preferences.find(uai)


async def choose_preference(
    uai: str,
    *,
    enabled: bool,
    by: str,
    check_version: CheckVersion,
    establishments: Establishments,
    preferences: Preferences,
    clock: Clock,
) -> Standing:
    """Switch mails on or off. They tell what completes from now on, and nothing that did before.

    Choosing the same again changes nothing, unless the mail server has refused the address: then it is tried again.

    Raises:
        RefusedError: unknown establishment, another version than the caller saw, or no address in the sheet.
    """
    await _must_be_known(uai, establishments)
    async with preferences.changing(uai) as change:
        current = change.current
        check_version(current.preference)
        if enabled and not current.address:
            raise no_email_address()
        if enabled == current.preference.enabled and not current.refused_address:
            return current
        now = clock.now()
        since = (current.preference.enabled_since or now) if enabled else None
        chosen = Preference(uai, enabled, current.preference.version + 1, since, now, by)
        await change.save(chosen)
        return Standing(chosen, current.address)


async def read_mails(
    uai: str,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
    establishments: Establishments,
    preferences: Preferences,
) -> Sequence[MailReport]:
    """What became of the establishment's mails, newest first."""
    await _must_be_known(uai, establishments)
    return await preferences.mails(uai, before=before, limit=limit)


async def on_transfers(messages: Sequence[Message], *, desk: NewsDesk, clock: Clock) -> None:
    """Take in one batch. Safe to repeat: a transfer is news once for each of its schools."""
    news: list[News] = []
    undone: list[Undone] = []
    for message in messages:
        match message.envelope.event:
            case TransferCompleted() as event:
                news += _news(event)
            case TransferUndone() as event:
                undone.append(Undone(event.transfer_id, event.occurred_at))
            case _:
                pass  # planned, held, cancelled, authorised: nothing has moved
    if news or undone:
        came_with = [message.envelope.traceparent for message in messages]
        with tracing.batch("news.take_in", came_with, {"messaging.batch.message_count": len(messages)}):
            await desk.take_in(news, undone, clock.now())


def _news(event: TransferCompleted) -> list[News]:
    told = [News(event.transfer_id, event.origin_uai, Direction.OUTGOING, event.occurred_at)]
    if event.destination_uai:
        told.append(News(event.transfer_id, event.destination_uai, Direction.INCOMING, event.occurred_at))
    return told


@dataclass(frozen=True, slots=True)
class Times:
    """When mails go, and how long is waited."""

    zone: ZoneInfo
    hour: int
    lease: timedelta
    retry_first: timedelta
    retry_longest: timedelta


class Notifier:
    """Sends what is due. Any number may run: each mail is one's at a time."""

    def __init__(self, mails: Mails, server: MailServer, clock: Clock, times: Times, *, tell: Tell) -> None:
        self._mails = mails
        self._server = server
        self._clock = clock
        self._times = times
        self._tell = tell
        self._log = structlog.get_logger()

    async def send_due(self) -> int:
        """Form the mails of the round and send all that are due. Returns how many attempts were made.

        Raises:
            MailServerAwayError: it can't be reached, or is not fit to take the other mails now.
        """
        times = self._times
        now = self._clock.now()
        await self._mails.form(round_at(now, times.zone, times.hour), now)
        await self._mails.forget(now)
        attempts = 0
        while await self._mails.due(self._clock.now()):
            async with self._server.connected() as session:
                for _ in range(_MAILS_PER_CONNECTION):
                    outcome = await self._unbroken(session)
                    if outcome is None:
                        return attempts
                    attempts += 1
                    if isinstance(outcome, Postponed) and outcome.server_unfit:
                        raise MailServerAwayError(_code(outcome.reply))
        return attempts

    async def _unbroken(self, session: MailSession) -> Outcome | None:
        """Send the next mail and settle it, whatever signal comes meanwhile: an attempt is bounded in time."""
        sending = asyncio.create_task(self._send_next(session))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.gather(sending, return_exceptions=True)
            raise

    async def _send_next(self, session: MailSession) -> Outcome | None:
        times = self._times
        now = self._clock.now()
        mail = await self._mails.claim(round_at(now, times.zone, times.hour), now, now + times.lease)
        if mail is None:
            return None
        crash_points.reach("notify.claimed")
        outcome = await session.send(mail)
        crash_points.reach("notify.accepted")
        await self._settle(mail, outcome)
        crash_points.reach("notify.settled")
        return outcome

    async def _settle(self, mail: Mail, outcome: Outcome) -> None:
        times = self._times
        now = self._clock.now()
        again_at = now + delay_after(mail.attempts, times.retry_first, times.retry_longest)
        noted = await self._mails.settle(mail, outcome, now, again_at)
        match outcome:
            case Sent():
                self._tell("sent")
            case Refused():
                self._tell("refused")
                self._log.warning("mail.refused", mail=str(mail.id), code=_code(outcome.reply))
            case Postponed():
                self._tell("postponed")
                self._log.warning(
                    "mail.postponed", mail=str(mail.id), code=_code(outcome.reply), in_doubt=outcome.in_doubt
                )
        if not noted:
            self._log.warning("mail.superseded", mail=str(mail.id))


def _code(reply: str) -> str:
    """The first word, for a log: the rest of what a server says may quote an address."""
    return reply.partition(" ")[0]


async def _must_be_known(uai: str, establishments: Establishments) -> None:
    if not await establishments.known(uai):
        raise establishment_unknown(uai)
