"""What a mail says: French, for those who read it at the school. It names no pupil and no other school."""

from dataclasses import dataclass
from html import escape

from cpro_settings.domain.notifications import Mail

_STOP = (
    "Ce message est envoyé automatiquement, au plus une fois par jour. Pour ne plus le recevoir, désactivez les avis "
    "par courriel dans Paramètres / Transferts."
)


@dataclass(frozen=True, slots=True)
class Words:
    """A mail's subject, its text, and the same as HTML."""

    subject: str
    text: str
    html: str


def words_of(mail: Mail, list_url: str) -> Words:
    """The words of a mail. `list_url` leads to the list of transfers; `{uai}` in it stands for the establishment."""
    link = list_url.replace("{uai}", mail.uai)
    who = f"{mail.name} ({mail.uai})" if mail.name else mail.uai
    introduction = f"Des transferts de données d'élèves sont terminés pour l'établissement {who} :"
    lines = _lines(mail)
    text = "\n".join(
        ["Bonjour,", "", introduction, "", *(f"- {line}" for line in lines), "", "La liste des transferts :", link,
         "", "-- ", _STOP, ""]
    )  # fmt: skip
    return Words(_subject(mail.incoming + mail.outgoing), text, _html(introduction, lines, link))


def _subject(number: int) -> str:
    return "CPro : 1 transfert de données terminé" if number == 1 else f"CPro : {number} transferts de données terminés"


def _lines(mail: Mail) -> list[str]:
    """Only the directions in which something went."""
    found = []
    if mail.incoming:
        found.append(f"données reçues d'un autre établissement : {_pupils(mail.incoming)}")
    if mail.outgoing:
        found.append(f"données parties vers un autre établissement : {_pupils(mail.outgoing)}")
    return found


def _pupils(number: int) -> str:
    return "1 élève" if number == 1 else f"{number} élèves"


def _html(introduction: str, lines: list[str], link: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        '<!DOCTYPE html>\n<html lang="fr"><head><meta charset="utf-8"><title>CPro</title></head>\n<body>\n'
        f"<p>Bonjour,</p>\n<p>{escape(introduction)}</p>\n<ul>{items}</ul>\n"
        f'<p><a href="{escape(link)}">La liste des transferts</a></p>\n'
        f"<p><small>{escape(_STOP)}</small></p>\n</body></html>\n"
    )
