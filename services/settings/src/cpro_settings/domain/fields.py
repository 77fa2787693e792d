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


_POSTCODE = re.compile(r"(?:0[1-9]|[1-8][0-9]|9[0-5])[0-9]{3}|97[1-8][0-9]{2}|98[04678][0-9]{2}")
_DEPARTMENT_OF_CORSICA = re.compile(r"2[ab]", re.IGNORECASE)
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u2032\u00b4\u0060", "'"))


def tidy(typed: str) -> str:
    """What was typed, in one form: accents composed, plain apostrophes, single plain spaces and none around.

    A telephone's keyboard writes other apostrophes than a computer's, and a word processor leaves no-break spaces: they
    are the same to who reads them, so they make no other name, and no entry in the history.
    """
    return " ".join(unicodedata.normalize("NFC", typed).translate(_APOSTROPHES).split())


def visible(value: str) -> str:
    """The value, if all of it can be seen.

    Raises:
        InvalidFieldError: a control, formatting, private or unassigned character is in it.
    """
    if any(unicodedata.category(character).startswith("C") for character in value):
        raise InvalidFieldError(
            "invisible_character",
            "Le texte contient un caractère invisible : saisissez-le de nouveau au clavier.",
            "The text contains an invisible character: type it again.",
        )
    return value


def text(longest: int) -> Callable[[str], str]:
    """A field of free text of at most `longest` characters."""

    def check(value: str) -> str:
        if len(value) > longest:
            raise InvalidFieldError(
                "too_long", f"Au plus {longest} caractères sont acceptés.", f"At most {longest} characters."
            )
        return visible(value)

    return check


def postcode(value: str) -> str:
    """A French postcode: five digits that begin as those of a department, of an overseas territory or of Monaco do.

    Corsica's begin with 20; 97 goes to 978 (Saint-Martin), and of 98 there are Monaco (980), the austral lands (984),
    Wallis-et-Futuna (986), Polynesia (987) and New Caledonia (988).

    Raises:
        InvalidFieldError: it is not one.
    """
    digits = value.replace(" ", "")
    if _DEPARTMENT_OF_CORSICA.match(digits):
        raise InvalidFieldError(
            "not_a_postcode",
            "Le code postal n'est pas valable : en Corse il commence par 20, par exemple 20000 pour Ajaccio.",
            "Not a postcode: in Corsica they begin with 20, for example 20000 for Ajaccio.",
        )
    if not _POSTCODE.fullmatch(digits):
        raise InvalidFieldError(
            "not_a_postcode",
            "Le code postal n'est pas valable : cinq chiffres sont attendus, par exemple 75012.",
            "Not a postcode: five digits are expected, for example 75012.",
        )
    return digits
