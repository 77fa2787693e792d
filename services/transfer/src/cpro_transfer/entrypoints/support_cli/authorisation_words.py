"""What the commands about authorisations say, in the language of the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass

from cpro_transfer.entrypoints.support_cli.words import SPOKEN as _CHOSEN


@dataclass(frozen=True, slots=True)
class Words:
    """All of it in one language."""

    help_authorisations: str
    help_candidates: str
    help_replay: str
    help_id: str
    help_json: str
    help_pupil: str
    help_create: str
    help_ticket: str
    help_execute: str
    help_yes: str
    nothing_waits: str
    queue: tuple[str, ...]
    candidates: tuple[str, ...]
    no_candidate: str
    pupil_or_create: str
    records: tuple[str, str]
    said: tuple[str, ...]
    would: str
    created: str
    existing: str
    confirm: str
    given_up: str
    done: str
    only_dry: str
    new_pupil: str
    codes: Mapping[str, str]


_FRENCH = Words(
    help_authorisations="Lister les autorisations à exécuter, les plus anciennes d'abord, et ce qui leur manque.",
    help_candidates="Lister les élèves de l'établissement d'accueil qui peuvent être celui d'une autorisation.",
    help_replay="Exécuter une autorisation sous un ticket. Montre seulement ce qui serait fait, sauf avec --execute.",
    help_id="L'identifiant de l'autorisation.",
    help_json="Répondre en JSON.",
    help_pupil="L'élève choisi parmi les candidats.",
    help_create="Créer l'élève d'après la fiche de l'établissement d'origine.",
    help_ticket="Le ticket d'assistance.",
    help_execute="Exécuter, après confirmation.",
    help_yes="Ne pas demander de confirmation.",
    nothing_waits="Aucune autorisation n'attend.",
    queue=("Autorisation", "Enregistrée", "Origine", "Accueil", "Expire", "Ticket", "Il manque"),
    candidates=("Élève", "Nom", "Prénom", "Né(e) le", "INE", "Division", "Pourquoi", "Diffère"),
    no_candidate="Aucun élève ne ressemble à celui-ci : --create le créera.",
    pupil_or_create="Donnez --pupil ou --create, l'un des deux.",
    records=("Nature", "Nombre"),
    said=("Établissement", "Événement", "Élève"),
    would="{family_name} {first_name} : de {origin} vers {destination}",
    created="L'élève serait créé dans l'établissement d'accueil.",
    existing="Reçu par {family_name} {first_name}, né(e) le {birth_date} ({pupil_id}).",
    confirm="Transférer {number} enregistrements de {origin} vers {destination} ?",
    given_up="Rien n'a été fait.",
    done="Publié sous le ticket {ticket} : le transfert suit de lui-même.",
    only_dry="À blanc : rien n'a été écrit. Avec --execute, ce sera fait.",
    new_pupil="(à créer)",
    codes={
        "origin_not_opted_in": "l'origine n'a pas activé les transferts",
        "destination_not_opted_in": "l'accueil n'a pas activé les transferts",
        "pupil_not_left": "l'élève est présent à l'origine",
        "no_candidate": "aucun candidat à l'accueil",
        "replay_unfinished": "exécution interrompue",
        "authorisation_expired": "expirée",
        "tenant_unavailable": "base indisponible",
        "same_ine": "même INE",
        "same_names_and_birth_date": "mêmes noms et date de naissance",
        "same_birth_date": "même date de naissance",
        "same_names": "mêmes noms",
        "ine": "INE",
        "birth_date": "date de naissance",
        "family_name": "nom",
        "first_name": "prénom",
        "not_present": "absent",
    },
)
_ENGLISH = Words(
    help_authorisations="List the authorisations to carry out, oldest first, and what they lack.",
    help_candidates="List the pupils of the destination who may be the one of an authorisation.",
    help_replay="Carry out an authorisation under a ticket. Only shows what would be done, unless with --execute.",
    help_id="The id of the authorisation.",
    help_json="Answer in JSON.",
    help_pupil="The pupil chosen among the candidates.",
    help_create="Create the pupil from the sheet of the school of origin.",
    help_ticket="The support ticket.",
    help_execute="Do it, once confirmed.",
    help_yes="Do not ask for confirmation.",
    nothing_waits="No authorisation waits.",
    queue=("Authorisation", "Recorded", "Origin", "Destination", "Expires", "Ticket", "Lacks"),
    candidates=("Pupil", "Family name", "First name", "Born", "INE", "Division", "Why", "Differs"),
    no_candidate="No pupil is like this one: --create will create them.",
    pupil_or_create="Give --pupil or --create, one of them.",
    records=("Kind", "Number"),
    said=("Establishment", "Event", "Pupil"),
    would="{family_name} {first_name}: from {origin} to {destination}",
    created="The pupil would be created at the destination.",
    existing="Received by {family_name} {first_name}, born {birth_date} ({pupil_id}).",
    confirm="Move {number} records from {origin} to {destination}?",
    given_up="Nothing was done.",
    done="Published under ticket {ticket}: the transfer follows by itself.",
    only_dry="Dry run: nothing was written. With --execute it will be done.",
    new_pupil="(to be created)",
    codes={
        "origin_not_opted_in": "the origin has not activated transfers",
        "destination_not_opted_in": "the destination has not activated transfers",
        "pupil_not_left": "the pupil is present at the origin",
        "no_candidate": "no candidate at the destination",
        "replay_unfinished": "carrying out was interrupted",
        "authorisation_expired": "expired",
        "tenant_unavailable": "database away",
        "same_ine": "same INE",
        "same_names_and_birth_date": "same names and birth date",
        "same_birth_date": "same birth date",
        "same_names": "same names",
        "ine": "INE",
        "birth_date": "birth date",
        "family_name": "family name",
        "first_name": "first name",
        "not_present": "not present",
    },
)

SPOKEN = _FRENCH if _CHOSEN.language == "fr" else _ENGLISH


def in_words(codes: list[str]) -> str:
    """Codes of the API, as they are read."""
    return ", ".join(SPOKEN.codes.get(code, code) for code in codes)


def place(establishment: Mapping[str, str | None]) -> str:
    """An establishment, by name where it has one."""
    name, uai = establishment["name"], establishment["uai"]
    return f"{name} ({uai})" if name else str(uai)
