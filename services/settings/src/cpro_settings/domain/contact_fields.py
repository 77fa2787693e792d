"""How an establishment is reached: e-mail address, website, telephone. What users write, in one form.

**E-mail addresses**: nothing is sent to find out whether one exists. An accent is fine after the @ (`lycée-hugo.fr` is
a domain like any other) and refused before it: few mail servers take such an address, so nearly always it is a slip.

**Domains** are kept in the letters that users read, in lower case, however they were typed (`XN--LYCE-DPA.fr`).

**Websites** are kept with their scheme, `https://` where none was typed, for they become links.
"""

import re

import idna

from cpro_settings.domain.fields import InvalidFieldError

_EMAIL_LENGTH = 254
_WEBSITE_LENGTH = 200
_DOMAIN_LENGTH = 253
_LOCAL_PART = re.compile(
    r"(?!.{65})[a-z0-9!#$%&'*+/=?^_{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_{|}~-]+)*", re.IGNORECASE | re.ASCII
)
_TOP_LEVEL = re.compile(r"(?![0-9]+\Z)[a-z0-9-]{2,}")
_WEBSITE = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<domain>[^\s/?#:@]+)(?::(?P<port>[1-9][0-9]{0,4}))?(?P<rest>[/?#][^\s<>\"\\^|{}]*)?",
    re.IGNORECASE | re.ASCII,
)
_HIGHEST_PORT = 65_535

_BETWEEN_DIGITS = re.compile(r"[\s.\-/()\u00b7\u2010-\u2014]")
_TEN_DIGITS = re.compile(r"0[1-9][0-9]{8}")
_LIKE_FRANCE = re.compile(r"\+(?:33|(?=262|590|594|596)[0-9]{3})0?")
"""The codes of France, and of the departments overseas, whose numbers have ten digits at home as well."""
_ABROAD = re.compile(r"\+(?!0)[0-9]{7,15}")
_DIGITS_AFTER = {"+377": (8, 9), "+508": (6, 9), "+681": (6,), "+687": (6,), "+689": (8,)}
"""Monaco, Saint-Pierre-et-Miquelon, Wallis-et-Futuna, New Caledonia, Polynesia."""


def email(value: str) -> str:
    """An e-mail address, its domain in lower case. Nothing is sent to it.

    Raises:
        InvalidFieldError: it has not the form of one.
    """
    local, _, typed_domain = value.rpartition("@")
    domain = _domain(typed_domain)
    if domain and local and local.isprintable() and not local.isascii() and _LOCAL_PART.fullmatch(_plain(local)):
        raise InvalidFieldError(
            "email_with_accent",
            "L'adresse électronique ne peut contenir ni accent ni lettre d'un autre alphabet avant le @.",
            "No accent and no letter of another alphabet may come before the @ of an e-mail address.",
        )
    if not domain or not _LOCAL_PART.fullmatch(local) or len(f"{local}@{domain}") > _EMAIL_LENGTH:
        raise InvalidFieldError(
            "not_an_email",
            "L'adresse électronique n'est pas valable : une forme comme ce.0752387m@ac-paris.fr est attendue.",
            "Not an e-mail address: something like ce.0752387m@ac-paris.fr is expected.",
        )
    return f"{local}@{domain}"


def website(value: str) -> str:
    """The address of a website, with its scheme; the slash at the end of a bare domain goes.

    Raises:
        InvalidFieldError: it has not the form of one, or is that of something else than a website.
    """
    found = _WEBSITE.fullmatch(value)
    domain = _domain(found["domain"]) if found else None
    if not found or not domain or int(found["port"] or 1) > _HIGHEST_PORT:
        raise InvalidFieldError(
            "not_a_website",
            "L'adresse du site n'est pas valable : une forme comme www.lycee-hugo.fr ou https://www.lycee-hugo.fr "
            "est attendue.",
            "Not the address of a website: something like www.lycee-hugo.fr or https://www.lycee-hugo.fr is expected.",
        )
    port = f":{int(found['port'])}" if found["port"] else ""
    rest = "" if found["rest"] in (None, "/") else found["rest"]
    kept = f"{(found['scheme'] or 'https').lower()}://{domain}{port}{rest}"
    if len(kept) > _WEBSITE_LENGTH:
        raise InvalidFieldError(
            "too_long", f"Au plus {_WEBSITE_LENGTH} caractères sont acceptés.", f"At most {_WEBSITE_LENGTH} characters."
        )
    return kept


def telephone(value: str) -> str:
    """A number of France or a department overseas as `01 23 45 67 89`, another as `+687…`, whatever its dots or dashes.

    Raises:
        InvalidFieldError: it is neither.
    """
    typed = value.replace("(0)", "") if value.startswith(("+", "00")) else value
    digits = re.sub(r"\A00", "+", _BETWEEN_DIGITS.sub("", typed))
    at_home = _LIKE_FRANCE.match(digits)
    if at_home:
        digits = f"0{digits[at_home.end() :]}"
    if _TEN_DIGITS.fullmatch(digits):
        return " ".join(digits[start : start + 2] for start in range(0, 10, 2))
    if _ABROAD.fullmatch(digits) and len(digits) - 4 in _DIGITS_AFTER.get(digits[:4], (len(digits) - 4,)):
        return digits
    if re.fullmatch(r"[1-9][0-9]{5}|[1-9][0-9]{7}", digits, re.ASCII):
        raise InvalidFieldError(
            "telephone_without_prefix",
            "Le numéro a besoin de son indicatif : +687 en Nouvelle-Calédonie, +689 en Polynésie, +681 à "
            "Wallis-et-Futuna, +508 à Saint-Pierre-et-Miquelon, +377 à Monaco.",
            "The number needs its prefix: +687 in New Caledonia, +689 in Polynesia, +681 in Wallis-et-Futuna, "
            "+508 in Saint-Pierre-et-Miquelon, +377 in Monaco.",
        )
    raise InvalidFieldError(
        "not_a_telephone",
        "Le numéro de téléphone n'est pas valable : dix chiffres sont attendus, par exemple 01 23 45 67 89.",
        "Not a telephone number: ten digits are expected, for example 01 23 45 67 89.",
    )


def _domain(typed: str) -> str | None:
    """The domain in the letters that users read, or None: none of this form can be registered, or it is a number's."""
    if len(typed) > _DOMAIN_LENGTH or "." not in typed:
        return None
    try:
        encoded = idna.encode(typed, uts46=True, std3_rules=True).decode("ascii")
        readable = idna.decode(encoded)
    except UnicodeError:
        return None
    return readable if "." in encoded and _TOP_LEVEL.fullmatch(encoded.rpartition(".")[2]) else None


def _plain(local: str) -> str:
    """With a letter for each that is not ASCII: what is wrong with it besides."""
    return re.sub(r"[^\W\d_]", "x", local)
