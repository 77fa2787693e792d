"""How each field of the sheet is written: what users type, tidied up, or what is wrong with it."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, in the words that its user reads."""

    field: str
    code: str
    message_fr: str
    message_en: str


class InvalidFieldError(ValueError):
    """A value that breaks the rule of its field."""

    def __init__(self, code: str, message_fr: str, message_en: str) -> None:
        super().__init__(code)
        self.code = code
        self.message_fr = message_fr
        self.message_en = message_en

    def at(self, field: str) -> FieldError:
        """The error, with the field where it was found."""
        return FieldError(field, self.code, self.message_fr, self.message_en)


_EMAIL = re.compile(r"[^\s@,;:<>()\"\[\]\\]+@(?:[^\s@.,;:<>()\"\[\]\\_]+\.)+[^\s@.,;:<>()\"\[\]\\_0-9]{2,}")
_EMAIL_LENGTH = 254
_LOCAL_PART_LENGTH = 64
_FRENCH_NUMBER = re.compile(r"0[1-9][0-9]{8}")
_FOREIGN_NUMBER = re.compile(r"\+(?!0)[0-9]{6,15}")
_POSTCODE = re.compile(r"(?:0[1-9]|[1-8][0-9]|9[0-8])[0-9]{3}")


def text(longest: int) -> Callable[[str], str]:
    """A field of free text of at most `longest` characters."""

    def check(value: str) -> str:
        if len(value) > longest:
            raise InvalidFieldError(
                "too_long", f"Au plus {longest} caractères sont acceptés.", f"At most {longest} characters."
            )
        if any(unicodedata.category(character).startswith("C") for character in value):
            raise InvalidFieldError(
                "invisible_character",
                "Le texte contient un caractère invisible : saisissez-le de nouveau au clavier.",
                "The text contains an invisible character: type it again.",
            )
        return value

    return check


def email(value: str) -> str:
    """An e-mail address, its domain in lower case. Nothing is sent to it.

    Raises:
        InvalidFieldError: it has not the form of one.
    """
    local, _, domain = value.rpartition("@")
    well_formed = _EMAIL.fullmatch(value) and ".." not in value and not local.startswith(".")
    if not well_formed or local.endswith(".") or len(value) > _EMAIL_LENGTH or len(local) > _LOCAL_PART_LENGTH:
        raise InvalidFieldError(
            "not_an_email",
            "L'adresse électronique n'est pas valable : une forme comme ce.0752387m@ac-paris.fr est attendue.",
            "Not an e-mail address: something like ce.0752387m@ac-paris.fr is expected.",
        )
    return f"{text(_EMAIL_LENGTH)(local)}@{domain.lower()}"


def telephone(value: str) -> str:
    """A French number as `01 23 45 67 89`, whatever its dots, dashes, `+33` or `(0)`; another country's as `+687…`.

    Raises:
        InvalidFieldError: it is neither.
    """
    digits = re.sub(r"[\s.\-/]|\(0\)", "", value)
    digits = re.sub(r"^00", "+", digits)
    digits = re.sub(r"^\+33", "0", digits)
    if _FRENCH_NUMBER.fullmatch(digits):
        return " ".join(digits[start : start + 2] for start in range(0, 10, 2))
    if _FOREIGN_NUMBER.fullmatch(digits):
        return digits
    raise InvalidFieldError(
        "not_a_telephone",
        "Le numéro de téléphone n'est pas valable : dix chiffres sont attendus, par exemple 01 23 45 67 89.",
        "Not a telephone number: ten digits are expected, for example 01 23 45 67 89.",
    )


def postcode(value: str) -> str:
    """A French postcode: five digits, of which the first two name a department or an overseas territory.

    Raises:
        InvalidFieldError: it is not one.
    """
    digits = value.replace(" ", "")
    if not _POSTCODE.fullmatch(digits):
        raise InvalidFieldError(
            "not_a_postcode",
            "Le code postal n'est pas valable : cinq chiffres sont attendus, par exemple 75012.",
            "Not a postcode: five digits are expected, for example 75012.",
        )
    return digits
