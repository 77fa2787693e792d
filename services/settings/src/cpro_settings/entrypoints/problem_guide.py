"""When this service's problems are met, and what to do about them."""

from cpro_platform.http import Guidance, Guide
from cpro_settings import errors

_CONDITIONS = {"conditions": {"version": 2, "text": "En activant le transfert, le chef d'établissement accepte que…"}}

PROBLEMS: Guide = {
    errors.INVALID_SHEET: Guidance(
        "Un ou plusieurs champs de la fiche ne sont pas acceptables ; `errors` les dit tous.",
        "One or more fields of the sheet are not acceptable; `errors` names all of them.",
        "Corrigez les champs indiqués puis validez de nouveau.",
        "Correct these fields, then save again.",
        {
            "errors": [
                {
                    "field": "postcode",
                    "code": "not_a_postcode",
                    "message": "Un code postal compte cinq chiffres : 75012.",
                }
            ]
        },
    ),
    errors.NO_EMAIL_ADDRESS: Guidance(
        "Les avis par courriel sont demandés, mais la fiche ne donne pas d'adresse.",
        "Mails are wanted, but the sheet gives no address.",
        "Renseignez d'abord l'adresse électronique de l'établissement dans sa fiche.",
        "First fill in the establishment's e-mail address in its sheet.",
    ),
    errors.CONDITIONS_NOT_ACCEPTED: Guidance(
        "Le transfert est activé sans accepter les conditions, ou en acceptant une version qui n'existe pas.",
        "Transfers are activated without accepting the conditions, or by accepting a version that there is not.",
        "Lisez les conditions puis indiquez dans `accepted_conditions` la version acceptée.",
        "Read the conditions, then send the version that is accepted in `accepted_conditions`.",
        _CONDITIONS,
    ),
    errors.CONDITIONS_OUTDATED: Guidance(
        "Les conditions acceptées ne sont plus celles en vigueur.",
        "The conditions that are accepted are no longer those in force.",
        "Lisez la version en vigueur (`conditions`) avant d'activer le transfert.",
        "Read the version in force (`conditions`) before you activate transfers.",
        _CONDITIONS,
    ),
}
