"""The mail server, by SMTP.

A connection is made once for many mails. What keeps us from connecting at all (no answer, no certificate, no password)
is no fault of any mail: nothing is tried, and the caller waits. Then each answer says what becomes of one mail:

| what the server says or does | what it means |
|---|---|
| 250 after the mail | sent: it has taken it upon itself |
| 5xx to the recipient or to the mail | refused for good; unless it speaks of us (530, 535, 5.7.x): then not now |
| 4xx | not now (busy, greylisted, mailbox full) |
| 4xx or 5xx to the sender; 421 | not now, and none of the others |
| the connection is lost, or nothing is said in time | not now; if the mail was on its way, in doubt |
"""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiosmtplib

from cpro_settings.adapters.mail_message import UnusableAddressError, envelope_address, message_of
from cpro_settings.config import SmtpSettings
from cpro_settings.domain.notifications import Mail, Outcome, Postponed, Refused, Sent
from cpro_settings.errors import MailServerAwayError

_LONGEST_REPLY = 300
_OF_POLICY = re.compile(r"^5\.7\.\d")
_CLOSING, _NEEDS_LOGIN, _BAD_LOGIN = 421, 530, 535


class SmtpServer:
    """Implements `ports.MailServer`."""

    def __init__(self, settings: SmtpSettings, *, list_url: str) -> None:
        self._settings = settings
        self._list_url = list_url
        self._sender = envelope_address(settings.sender)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator["SmtpSession"]:
        client = self._client()
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:  # without encryption and login nobody has asked what it can do
                await client.ehlo()
        except aiosmtplib.SMTPException as error:
            raise MailServerAwayError(_code_of(error)) from error
        except OSError as error:  # refused, no such host, a certificate that does not fit
            raise MailServerAwayError(type(error).__name__) from error
        try:
            yield SmtpSession(client, self._sender, self._list_url)
            with suppress(aiosmtplib.SMTPException, OSError):  # all is said; it may hang up without a good-bye
                await client.quit()
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        encrypted = settings.security != "none"
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.user or None,
            password=settings.password.get_secret_value() if settings.user else None,
            timeout=settings.timeout_seconds,
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=ssl.create_default_context(cafile=settings.ca_file) if encrypted else None,
        )


class SmtpSession:
    """Implements `ports.MailSession`."""

    def __init__(self, client: aiosmtplib.SMTP, sender: str, list_url: str) -> None:
        self._client = client
        self._sender = sender
        self._list_url = list_url

    async def send(self, mail: Mail) -> Outcome:
        try:
            recipient = envelope_address(mail.recipient)
            message = message_of(mail, recipient=recipient, sender=self._sender, list_url=self._list_url)
        except UnusableAddressError:
            return Refused("unusable_address")
        if not recipient.isascii() and not self._client.supports_extension("smtputf8"):
            return Refused("smtputf8_not_supported")
        outcome = await self._hand_over(recipient, message)
        if not isinstance(outcome, Sent) and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError):  # what comes next finds the connection lost
                await self._client.rset()
        return outcome

    async def _hand_over(self, recipient: str, message: bytes) -> Outcome:
        on_its_way = False
        wide = not f"{recipient}{self._sender}".isascii()
        encoding, options = ("utf-8", ["SMTPUTF8", "BODY=8BITMIME"]) if wide else ("ascii", [])
        try:
            await self._client.mail(self._sender, options=options, encoding=encoding)
            await self._client.rcpt(recipient, encoding=encoding)
            on_its_way = True
            answer = await self._client.data(message)
        except aiosmtplib.SMTPSenderRefused as refusal:
            return Postponed(_reply(refusal), server_unfit=True)
        except (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError) as refusal:
            return _judged(refusal)
        except aiosmtplib.SMTPResponseException as nonsense:
            return Postponed(_reply(nonsense), in_doubt=on_its_way, server_unfit=True)
        except (aiosmtplib.SMTPException, OSError) as lost:
            return Postponed(type(lost).__name__, in_doubt=on_its_way, server_unfit=True)
        return Sent(_tidied(f"{answer.code} {answer.message}"))


def _judged(refusal: aiosmtplib.SMTPResponseException) -> Outcome:
    if refusal.code == _CLOSING:
        return Postponed(_reply(refusal), server_unfit=True)
    of_us = refusal.code in {_NEEDS_LOGIN, _BAD_LOGIN} or _OF_POLICY.match(refusal.message)
    if refusal.code >= 500 and not of_us:
        return Refused(_reply(refusal))
    return Postponed(_reply(refusal))


def _code_of(error: aiosmtplib.SMTPException) -> str:
    """For a log: what a server says at the beginning may quote the user."""
    name = type(error).__name__
    return f"{name} {error.code}" if isinstance(error, aiosmtplib.SMTPResponseException) else name


def _reply(refusal: aiosmtplib.SMTPResponseException) -> str:
    return _tidied(f"{refusal.code} {refusal.message}")


def _tidied(said: str) -> str:
    """One line of printable text, whatever the server sends."""
    line = " ".join(said.split())
    return "".join(character for character in line if character.isprintable())[:_LONGEST_REPLY]
