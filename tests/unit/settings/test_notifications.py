"""The rules of notifications that need no database: rounds, delays, words, addresses, settings."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from cpro_settings.adapters.mail_message import UnusableAddressError, envelope_address, message_of
from cpro_settings.config import NotificationSettings, SmtpSettings
from cpro_settings.domain import contact_fields
from cpro_settings.domain.mail_words import words_of
from cpro_settings.domain.notifications import Mail, delay_after, round_at

PARIS = ZoneInfo("Europe/Paris")
MAIL = Mail(
    id=UUID(int=1), claim=UUID(int=2), uai="0752387M", name="Lycée Jean-Jaurès", recipient="ce@ac-paris.fr",
    incoming=2, outgoing=0, formed_at=datetime(2026, 9, 8, 5, tzinfo=UTC), attempts=1,
)  # fmt: skip
URL = "https://cpro.example/{uai}/transferts?a=1&b=2"


@pytest.mark.parametrize(
    ("now", "day", "until"),
    [
        ("2026-09-08T04:59:59+00:00", "2026-09-07", "2026-09-07T05:00:00+00:00"),
        ("2026-09-08T05:00:00+00:00", "2026-09-08", "2026-09-08T05:00:00+00:00"),
        ("2026-12-08T05:30:00+00:00", "2026-12-07", "2026-12-07T06:00:00+00:00"),  # winter
        ("2026-12-31T23:30:00+00:00", "2026-12-31", "2026-12-31T06:00:00+00:00"),  # next year in Paris
        ("2026-10-25T12:00:00+00:00", "2026-10-25", "2026-10-25T06:00:00+00:00"),  # the clocks went back that night
        ("2026-03-29T04:59:00+00:00", "2026-03-28", "2026-03-28T06:00:00+00:00"),  # and forth
    ],
)
def test_a_round_begins_when_the_local_clock_strikes(now: str, day: str, until: str) -> None:
    found = round_at(datetime.fromisoformat(now), PARIS, 7)

    assert (found.day, found.told_until) == (date.fromisoformat(day), datetime.fromisoformat(until))


def test_delays_double_up_to_the_longest() -> None:
    first, longest = timedelta(minutes=5), timedelta(hours=6)

    assert [delay_after(n, first, longest) / first for n in (0, 1, 2, 3, 7, 8, 1000)] == [1, 1, 2, 4, 64, 72, 72]


def test_only_the_directions_in_which_something_went_are_told() -> None:
    words = words_of(MAIL, URL)

    assert words.subject == "CPro : 2 transferts de données terminés"
    assert "reçues" in words.text
    assert "parties" not in words.text
    assert "https://cpro.example/0752387M/transferts?a=1&b=2" in words.text
    assert 'href="https://cpro.example/0752387M/transferts?a=1&amp;b=2"' in words.html


def test_the_same_mail_is_always_the_same_bytes() -> None:
    first, second = (
        message_of(MAIL, recipient=MAIL.recipient, sender="no-reply@cpro.example", list_url=URL) for _ in range(2)
    )

    assert first == second
    assert b"Message-ID: <00000000-0000-0000-0000-000000000001@cpro.example>\r\n" in first
    assert max(len(line) for line in first.split(b"\r\n")) < 998  # RFC 5322


def test_a_name_of_any_sort_stays_in_the_body() -> None:
    mail = Mail(**{name: getattr(MAIL, name) for name in Mail.__slots__} | {"name": "X\r\nBcc: a@b.fr\r\n.\r\nQUIT"})

    content = message_of(mail, recipient=mail.recipient, sender="no-reply@cpro.example", list_url=URL)

    assert b"Bcc" not in content.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("address", ["ce.0752387m@ac-paris.fr", "a+b@sub.example.org", "o'neill@x.fr", "a@École.fr"])
def test_what_the_sheet_accepts_can_be_written_to(address: str) -> None:
    assert "@" in envelope_address(contact_fields.email(address))


@pytest.mark.parametrize(
    "address",
    [
        "", "@", "a", "a@", "@b.fr", "a@b.fr\r\nBcc: c@d.fr", "a@b.fr\n", "a b@c.fr", "a@b.fr,c@d.fr", "a@b.fr c@d.fr",
        "A <a@b.fr>", "a@b.fr>", "<a@b.fr", "a@b.fr><c@d.fr", "a@[127.0.0.1]", '"a\r\n"@b.fr', "a\u2028@b.fr",
        "a\u00a0@b.fr", "a@b\u3002\r\nfr", "a" * 250 + "@b.fr", "a@-b.fr", "a(c)@b.fr", "a@" + "b" * 64 + ".fr",
    ],
)  # fmt: skip
def test_what_is_not_exactly_one_address_is_written_nowhere(address: str) -> None:
    with pytest.raises(UnusableAddressError):
        envelope_address(address)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "mail.example"},
        {"host": "mail.example", "sender": "not an address"},
        {"host": "mail.example", "sender": "@"},
        {"host": "mail.example", "sender": "a@b.fr\r\nBcc: c@d.fr"},
        {"host": "mail.example", "sender": "a@b.fr", "user": "a", "password": "b", "security": "none"},
        {"security": "opportunistic"},
        {"port": 0},
    ],
)
def test_settings_that_would_send_nothing_or_a_password_in_clear_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings.model_validate(wrong)


@pytest.mark.parametrize(
    "wrong", [{"list_url": "ftp://x"}, {"list_url": 'https://x/">'}, {"hour": 24}, {"time_zone": "Europe/Paname"}]
)
def test_settings_of_mails_that_can_not_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NotificationSettings.model_validate(wrong)
