"""What this service refuses, besides what every service does."""

from cpro_contracts import problems
from cpro_contracts.problems import ProblemCode
from cpro_platform.errors import RefusedError, RetryableError
from cpro_settings.domain.conditions import Conditions
from cpro_settings.domain.fields import FieldError

INVALID_SHEET = ProblemCode(
    "invalid_sheet", 422, "La fiche de l'établissement contient des erreurs", "The establishment sheet has errors"
)

NO_EMAIL_ADDRESS = ProblemCode(
    "no_email_address", 409, "La fiche n'a pas d'adresse électronique", "The sheet has no e-mail address"
)


CONDITIONS_NOT_ACCEPTED = ProblemCode(
    "conditions_not_accepted", 422, "Les conditions n'ont pas été acceptées", "The conditions were not accepted"
)

CONDITIONS_OUTDATED = ProblemCode(
    "conditions_outdated", 409, "Les conditions ont changé", "The conditions have changed"
)


class FiguresAwayError(RetryableError):
    """The transfer service can't be asked, does not answer, or not as it should. The text is a class or a status."""

    def __init__(self, cause: str, *, not_configured: bool = False) -> None:
        super().__init__(cause)
        self.not_configured = not_configured


class MailServerAwayError(RetryableError):
    """The mail server does not answer, or does not let us in. The text is a class or a code, never an address."""


def no_email_address() -> RefusedError:
    """Mails are wanted, and there is nowhere to send them to."""
    return RefusedError(
        NO_EMAIL_ADDRESS,
        "Renseignez d'abord l'adresse électronique de l'établissement dans sa fiche.",
        "First fill in the establishment's e-mail address in its sheet.",
    )


def establishment_unknown(uai: str) -> RefusedError:
    """There is no tenant of this UAI."""
    return RefusedError(
        problems.ESTABLISHMENT_UNKNOWN,
        f"L'établissement {uai} n'est pas ouvert dans CPro.",
        f"Establishment {uai} is not set up in CPro.",
    )


def conditions_not_accepted(in_force: Conditions) -> RefusedError:
    """Transfers are to be activated without the conditions, or with some that never were."""
    return RefusedError(
        CONDITIONS_NOT_ACCEPTED,
        "Pour activer le transfert, lisez les conditions puis indiquez dans accepted_conditions la version acceptée.",
        "To activate transfers, read the conditions, then send the version that is accepted in accepted_conditions.",
        conditions={"version": in_force.version, "text": in_force.text},
    )


def conditions_outdated(in_force: Conditions) -> RefusedError:
    """An older text was accepted than the one in force."""
    return RefusedError(
        CONDITIONS_OUTDATED,
        "Une nouvelle version des conditions est en vigueur : lisez-la avant d'activer le transfert.",
        "A new version of the conditions is in force: read it before you activate transfers.",
        conditions={"version": in_force.version, "text": in_force.text},
    )


def invalid_sheet(errors: tuple[FieldError, ...]) -> RefusedError:
    """Every field that is wrong, in the user's language."""
    described = [
        {"field": error.field, "code": error.code, "message_fr": error.message_fr, "message_en": error.message_en}
        for error in errors
    ]
    return RefusedError(
        INVALID_SHEET,
        "Corrigez les champs indiqués puis validez de nouveau.",
        "Correct these fields, then save again.",
        errors=described,
    )
