"""A real mail server on a port of this machine, which keeps what it takes and can be told to misbehave."""

import asyncio
import email
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from cpro_embedded.ports import LOCALHOST


@dataclass(frozen=True, slots=True)
class Received:
    """A mail that was taken: its envelope, and what it says."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The mail, read."""
        read = email.message_from_bytes(self.content, policy=SMTP_POLICY)
        assert isinstance(read, EmailMessage)
        return read

    @property
    def text(self) -> str:
        """The part for those who read text."""
        part = self.message.get_body(("plain",))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")

    @property
    def html(self) -> str:
        """The part for those who read HTML."""
        part = self.message.get_body(("html",))
        assert part is not None
        return str(part.get_content())


@dataclass(slots=True)
class Mailbox:
    """What the server has taken, and how it answers. An answer that is None lets the mail pass."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    to_sender: str | None = None
    to_recipient: dict[str, str] = field(default_factory=dict)
    to_mail: list[str | None] = field(default_factory=list)
    """To the next mails, one after the other."""
    hangs_up_after: bool = False
    """Takes the mail and closes the connection without a word."""
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a mail was taken; the answer waits for `answers`."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    logins: list[bytes] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    def to(self, recipient: str) -> list[Received]:
        """What was taken for an address."""
        return [one for one in self.received if recipient in one.recipients]

    # The hooks of aiosmtpd, by the names that it gives them.

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.to_sender:
            return self.to_sender
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.to_recipient:
            return self.to_recipient[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        refusal = self.to_mail.pop(0) if self.to_mail else None
        if refusal:
            return refusal
        assert isinstance(envelope.content, bytes)
        self.encrypted.append(session.ssl is not None)
        self.received.append(Received(str(envelope.mail_from), tuple(envelope.rcpt_tos), envelope.content))
        if self.hangs_up_after and isinstance(server.transport, asyncio.Transport):
            server.transport.abort()
        self.taken.set()
        await self.answers.wait()
        return "250 2.0.0 Taken"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, said: object
    ) -> AuthResult:
        """Let in whoever says the word."""
        assert isinstance(said, LoginPassword)
        self.logins.append(said.login)
        return AuthResult(success=said.password == b"open sesame", handled=False)


@asynccontextmanager
async def opened_mailbox(
    *, port: int = 0, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, login: bool = False,
    smtputf8: bool = True, mailbox: Mailbox | None = None,
) -> AsyncIterator[Mailbox]:  # fmt: skip
    """A mail server in this process. `port` 0 takes a free one; `mailbox` goes on with an earlier one."""
    mailbox = mailbox or Mailbox()
    mailbox.answers.set()
    loop = asyncio.get_running_loop()
    connected: set[SMTP] = set()

    def protocol() -> SMTP:
        mailbox.connections += 1
        with warnings.catch_warnings():
            # Where the connection is encrypted from the start it can't know, and warns of passwords in clear.
            warnings.simplefilter("ignore")
            made = SMTP(
                mailbox, hostname="mail.test", loop=loop, enable_SMTPUTF8=smtputf8, tls_context=starttls,
                require_starttls=starttls is not None, auth_required=login, auth_require_tls=tls is None,
                authenticator=mailbox.authenticate if login else None,
            )  # fmt: skip
        connected.add(made)
        return made

    server = await loop.create_server(protocol, LOCALHOST, port, ssl=tls)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
        for one in connected:
            if isinstance(one.transport, asyncio.Transport):
                one.transport.abort()
        await server.wait_closed()
