"""Names without accents, case and ligatures: the same in Python and, set-wise, in SQL."""

import unicodedata

_ACCENTED, _PLAIN = "àâäáãåçéèêëíìîïñóòôöõúùûüýÿ", "aaaaaaceeeeiiiinooooouuuuyy"


def plain(text: str) -> str:
    """The text as it is compared."""
    lowered = text.lower().replace("œ", "oe").replace("æ", "ae")
    return "".join(letter for letter in unicodedata.normalize("NFD", lowered) if not unicodedata.combining(letter))


def plain_in_sql(expression: str) -> str:
    """The SQL of the same for a text expression."""
    return f"translate(replace(replace(lower({expression}), 'œ', 'oe'), 'æ', 'ae'), '{_ACCENTED}', '{_PLAIN}')"
