"""How the mail server is reached: encrypted and with a password, or not at all."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cpro_embedded.ports import LOCALHOST
from cpro_platform.clock import SystemClock
from cpro_settings.adapters.smtp import SmtpServer
from cpro_settings.config import SmtpSettings
from cpro_settings.domain.notifications import Mail, Outcome, Postponed, Sent
from cpro_settings.errors import MailServerAwayError
from cpro_test_support.mail_server import Mailbox, opened_mailbox

ADDRESS = "ce.lycee@ac-paris.fr"
MAIL = Mail(
    id=UUID(int=1), claim=UUID(int=2), uai="0752387M", name=None, recipient=ADDRESS, incoming=1, outgoing=0,
    formed_at=datetime(2026, 9, 8, 5, tzinfo=UTC), attempts=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, and a certificate for this machine that it has signed itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOCALHOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        made.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return file


@pytest.fixture
def served(certificate: Path) -> ssl.SSLContext:
    """What the mail server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@asynccontextmanager
async def session(mailbox: Mailbox, **settings: object) -> AsyncIterator[SmtpServer]:
    said = {"host": LOCALHOST, "port": mailbox.port, "sender": "no-reply@cpro.example", "timeout_seconds": 5}
    yield SmtpServer(SmtpSettings.model_validate(said | settings), list_url="https://cpro.example/{uai}")


async def sent(mailbox: Mailbox, **settings: object) -> Outcome:
    async with session(mailbox, **settings) as server, server.connected() as connected:
        return await connected.send(MAIL)


async def test_a_password_goes_over_starttls(served: ssl.SSLContext, certificate: Path) -> None:
    async with opened_mailbox(starttls=served, login=True) as mailbox:
        outcome = await sent(mailbox, ca_file=certificate, user="cpro", password="open sesame")

    assert outcome == Sent("250 2.0.0 Taken")
    assert (mailbox.logins, mailbox.encrypted) == ([b"cpro"], [True])


async def test_a_password_goes_over_tls_from_the_start(served: ssl.SSLContext, certificate: Path) -> None:
    async with opened_mailbox(tls=served, login=True) as mailbox:
        outcome = await sent(mailbox, security="tls", ca_file=certificate, user="cpro", password="open sesame")

    assert isinstance(outcome, Sent)
    assert mailbox.logins == [b"cpro"]


async def test_a_wrong_password_tries_no_mail_and_is_told_by_its_code(
    served: ssl.SSLContext, certificate: Path
) -> None:
    async with opened_mailbox(starttls=served, login=True) as mailbox:
        with pytest.raises(MailServerAwayError, match=r"^SMTPAuthenticationError 535$"):
            await sent(mailbox, ca_file=certificate, user="cpro", password="wrong")

    assert mailbox.received == []


async def test_a_server_that_can_not_prove_itself_gets_neither_password_nor_mail(served: ssl.SSLContext) -> None:
    for security, opened in (
        ("starttls", opened_mailbox(starttls=served, login=True)),
        ("tls", opened_mailbox(tls=served, login=True)),
    ):
        async with opened as mailbox:
            with pytest.raises(MailServerAwayError):
                await sent(mailbox, security=security, user="cpro", password="open sesame")

        assert (mailbox.logins, mailbox.received) == ([], [])


async def test_a_server_without_starttls_gets_nothing_in_clear(certificate: Path) -> None:
    async with opened_mailbox() as mailbox:
        with pytest.raises(MailServerAwayError):
            await sent(mailbox, ca_file=certificate)

    assert mailbox.received == []


async def test_a_server_that_says_nothing_is_given_up_and_leaves_a_doubt() -> None:
    async with opened_mailbox() as mailbox:
        mailbox.answers.clear()
        outcome = await sent(mailbox, security="none", timeout_seconds=0.5)
        mailbox.answers.set()

    assert outcome == Postponed("SMTPReadTimeoutError", in_doubt=True, server_unfit=True)


async def test_after_a_refusal_the_next_mail_goes_over_the_same_connection() -> None:
    async with opened_mailbox() as mailbox:
        mailbox.to_mail = ["554 5.6.0 no", None]
        mailbox.to_recipient[ADDRESS] = "550 5.1.1 no"
        async with session(mailbox, security="none") as server, server.connected() as connected:
            outcomes = [await connected.send(MAIL)]
            mailbox.to_recipient.clear()
            outcomes += [await connected.send(MAIL) for _ in range(2)]

    assert [type(outcome).__name__ for outcome in outcomes] == ["Refused", "Refused", "Sent"]
    assert mailbox.connections == 1


async def test_what_a_server_says_is_kept_as_one_line_of_printable_text() -> None:
    async with opened_mailbox() as mailbox:
        mailbox.to_recipient[ADDRESS] = "550 5.1.1 no\x1b[31m such\t user " + "x" * 400
        outcome = await sent(mailbox, security="none")

    assert outcome.reply.startswith("550 5.1.1 no[31m such user xxx")
    assert len(outcome.reply) == 300
