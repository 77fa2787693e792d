"""A mail as bytes: the same bytes for the same mail, so that a second copy is known as one."""

import re
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime

from cpro_settings.domain.mail_words import words_of
from cpro_settings.domain.notifications import Mail

_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LONGEST_ADDRESS = 254


class UnusableAddressError(ValueError):
    """This can't be written into an envelope: it is no address, or more than one, or has a line break in it."""


def envelope_address(written: str) -> str:
    """The address as the envelope has it, its domain in the letters of DNS.

    The sheet accepts nothing else, but what is in a table is not believed: a line break here would be a header, or a
    command to the mail server.

    Raises:
        UnusableAddressError: see there.
    """
    local, _, domain = written.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
        address = Address(username=local, domain=ascii_domain)
    except (ValueError, IndexError, MessageError) as error:  # the parser of addresses raises all of them
        raise UnusableAddressError from error
    whole = f"{local}@{ascii_domain}"
    # What would have to be quoted is not written as it is: several addresses, a name, a line break.
    clean = local and whole.isprintable() and " " not in whole and _DOMAIN.fullmatch(ascii_domain)
    if not clean or address.addr_spec != whole or len(whole) > _LONGEST_ADDRESS:
        raise UnusableAddressError
    return whole


def message_of(mail: Mail, *, recipient: str, sender: str, list_url: str) -> bytes:
    """The whole message, ready for DATA.

    Raises:
        ValueError: an address that no header can hold.
    """
    words = words_of(mail, list_url)
    domain = sender.rpartition("@")[2]
    policy = SMTP if f"{recipient}{sender}".isascii() else SMTPUTF8
    message = EmailMessage(policy=policy)
    message["From"] = _header("CPro", sender)
    message["To"] = _header("", recipient)
    message["Subject"] = words.subject
    message["Date"] = format_datetime(mail.formed_at)
    message["Message-ID"] = f"<{mail.id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office notice comes back
    message["Content-Language"] = "fr"
    message.set_content(words.text, cte="quoted-printable")
    message.add_alternative(words.html, subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{mail.id.hex}")  # else it would be drawn anew for each copy
    return message.as_bytes()


def _header(name: str, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, username=local, domain=domain)
