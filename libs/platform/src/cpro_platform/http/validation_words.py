"""What is wrong with a field of a request, in words. The value itself is never repeated."""

from collections.abc import Mapping
from typing import Any

_FRENCH = {
    "missing": "Ce champ est obligatoire.",
    "extra_forbidden": "Ce champ n'est pas prévu.",
    "string_type": "Un texte est attendu.",
    "string_too_short": "Au moins {min_length} caractère(s) attendu(s).",
    "string_too_long": "Au plus {max_length} caractère(s) accepté(s).",
    "string_pattern_mismatch": "La forme n'est pas celle attendue.",
    "bool_parsing": "Vrai ou faux est attendu.",
    "bool_type": "Vrai ou faux est attendu.",
    "int_parsing": "Un nombre entier est attendu.",
    "int_type": "Un nombre entier est attendu.",
    "greater_than": "La valeur doit être supérieure à {gt}.",
    "greater_than_equal": "La valeur doit être au moins {ge}.",
    "less_than": "La valeur doit être inférieure à {lt}.",
    "less_than_equal": "La valeur doit être au plus {le}.",
    "enum": "Valeurs acceptées : {expected}.",
    "literal_error": "Valeurs acceptées : {expected}.",
    "uuid_parsing": "Un identifiant (UUID) est attendu.",
    "date_from_datetime_parsing": "Une date (AAAA-MM-JJ) est attendue.",
    "date_parsing": "Une date (AAAA-MM-JJ) est attendue.",
    "datetime_parsing": "Une date et une heure (ISO 8601) sont attendues.",
    "datetime_from_date_parsing": "Une date et une heure (ISO 8601) sont attendues.",
    "timezone_aware": "Le fuseau horaire est attendu.",
    "json_invalid": "Le corps de la requête n'est pas du JSON valide.",
    "model_attributes_type": "Un objet JSON est attendu.",
    "list_type": "Une liste est attendue.",
}
_ENGLISH_OF_OURS = {"json_invalid": "The body is not valid JSON."}


def in_words(entry: Mapping[str, Any], language: str) -> str:
    """One sentence for an error of pydantic, in `fr` or `en`."""
    kind, context = str(entry["type"]), entry.get("ctx") or {}
    if language == "en":
        return _ENGLISH_OF_OURS.get(kind) or ("Invalid value." if kind == "value_error" else f"{entry['msg']}.")
    try:
        return _FRENCH.get(kind, "La valeur n'est pas valable.").format(**context)
    except KeyError:
        return "La valeur n'est pas valable."
