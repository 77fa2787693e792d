"""What the tool says, in the language of the terminal (`LC_ALL`, `LC_MESSAGES`, `LANG`): French, else English."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cpro_transfer.domain.reconciliation import Kind


@dataclass(frozen=True, slots=True)
class Words:
    """All of it in one language."""

    language: str
    help: str
    help_reconcile: str
    help_replay: str
    help_uai: str
    help_dry_run: str
    help_json: str
    help_from: str
    help_concurrency: str
    help_rate: str
    help_settle: str
    yes_or_no: str
    no_url: str
    no_credentials: str
    not_a_uai: str
    interrupted: str
    comparing: str
    settling: str
    nothing_differs: str
    columns: tuple[str, str, str, str]
    summary: str
    on_their_way: str
    under_way: str
    went_back: str
    for_a_person: str
    receipt: str
    unread: str
    read_more: str
    kinds: Mapping[Kind, str]


_FRENCH = Words(
    language="fr",
    help="Outil de support et d'exploitation des transferts CPro.",
    help_replay="Rejouer : un transfert autorisé, ou ce que des établissements ont annoncé.",
    help_reconcile="Comparer les bases des établissements avec celle des transferts, et réparer celle-ci.",
    help_uai="Un établissement ; tous, sans cette option. Peut être répétée.",
    help_dry_run="Compter sans rien écrire.",
    help_json="Répondre en JSON.",
    help_from="Reprendre à partir de cet UAI.",
    help_concurrency="Établissements traités en même temps.",
    help_rate="Établissements par seconde, au plus.",
    help_settle="Secondes pendant lesquelles attendre que tout soit pris en compte ; 0 : ne pas attendre.",
    yes_or_no="[o/N]",
    no_url="CPRO_SUPPORT_URL n'est pas renseigné : l'adresse de l'API des transferts.",
    no_credentials="Ni CPRO_SUPPORT_TOKEN, ni CPRO_SUPPORT_ISSUER, _CLIENT_ID et _CLIENT_SECRET ne sont renseignés.",
    not_a_uai="{uai} : ce n'est pas un UAI (sept chiffres et la lettre qu'ils appellent).",
    interrupted="Interrompu. Pour reprendre : --from {uai}",
    comparing="Rapprochement",
    settling="Attente de la prise en compte",
    nothing_differs="Aucun écart.",
    columns=("Écart", "Trouvés", "Réparés", "Restent"),
    summary="{establishments} établissements, {pupils} élèves, {transfers} transferts comparés.",
    on_their_way="{number} faits annoncés n'ont pas encore été pris en compte (« cpro-transfer join » tourne-t-il ?).",
    under_way="{number} transferts sont en cours.",
    went_back="ATTENTION : la base de {uai} a été restaurée d'une sauvegarde plus ancienne.{revisions}",
    for_a_person="À décider par une personne :",
    receipt="l'autre établissement a le reçu de",
    unread="{uai} : non comparé ({why})",
    read_more="Que faire de chaque écart : docs/how-to/reconcile.md",
    kinds={
        Kind.PUPIL_UNKNOWN: "élève inconnu des transferts",
        Kind.PUPIL_BEHIND: "état d'un élève en retard",
        Kind.PUPIL_AHEAD: "état d'un élève perdu par l'établissement",
        Kind.ENROLMENT_STALE: "élève connu sous une clé abandonnée",
        Kind.OPT_IN_BEHIND: "activation des transferts en retard",
        Kind.OPT_IN_AHEAD: "activation des transferts perdue par l'établissement",
        Kind.REVISIONS_BEHIND: "révisions de l'établissement en retard",
        Kind.MOVE_NOT_NOTED: "données parties, départ non noté",
        Kind.TRANSFER_UNKNOWN: "transfert inconnu",
        Kind.TRANSFER_BEHIND: "transfert à reprendre",
        Kind.TRANSFER_UNTRACED: "élève retenu pour un transfert introuvable",
        Kind.RECEIPT_MISSING: "reçu manquant",
    },
)
_ENGLISH = Words(
    language="en",
    help="Support's and operations' tool for CPro transfers.",
    help_replay="Replay: an authorised transfer, or what establishments have announced.",
    help_reconcile="Compare the establishments' databases with the transfer database, and repair the latter.",
    help_uai="An establishment; all of them without one. May be repeated.",
    help_dry_run="Count, and write nothing.",
    help_json="Answer in JSON.",
    help_from="Go on from this UAI.",
    help_concurrency="Establishments at a time.",
    help_rate="Establishments a second, at most.",
    help_settle="Seconds to wait for everything to be taken in; 0: do not wait.",
    yes_or_no="[y/N]",
    no_url="CPRO_SUPPORT_URL is not set: the address of the transfers' API.",
    no_credentials="Neither CPRO_SUPPORT_TOKEN nor CPRO_SUPPORT_ISSUER, _CLIENT_ID and _CLIENT_SECRET are set.",
    not_a_uai="{uai}: not a UAI (seven digits and the letter they call for).",
    interrupted="Interrupted. To go on: --from {uai}",
    comparing="Comparing",
    settling="Waiting until all is taken in",
    nothing_differs="Nothing differs.",
    columns=("Difference", "Found", "Repaired", "Left"),
    summary="{establishments} establishments, {pupils} pupils, {transfers} transfers compared.",
    on_their_way="{number} announced facts are not taken in yet (does `cpro-transfer join` run?).",
    under_way="{number} transfers are under way.",
    went_back="BEWARE: the database of {uai} was restored from an older backup.{revisions}",
    for_a_person="For a person to decide:",
    receipt="the other establishment has the receipt of",
    unread="{uai}: not compared ({why})",
    read_more="What to do about each difference: docs/how-to/reconcile.md",
    kinds={
        Kind.PUPIL_UNKNOWN: "pupil not known to transfers",
        Kind.PUPIL_BEHIND: "state of a pupil behind",
        Kind.PUPIL_AHEAD: "state of a pupil lost by the establishment",
        Kind.ENROLMENT_STALE: "pupil known under a key given up",
        Kind.OPT_IN_BEHIND: "opt-in behind",
        Kind.OPT_IN_AHEAD: "opt-in lost by the establishment",
        Kind.REVISIONS_BEHIND: "the establishment's revisions behind",
        Kind.MOVE_NOT_NOTED: "records gone, departure not noted",
        Kind.TRANSFER_UNKNOWN: "transfer not known",
        Kind.TRANSFER_BEHIND: "transfer to carry on",
        Kind.TRANSFER_UNTRACED: "pupil held for a transfer that is nowhere",
        Kind.RECEIPT_MISSING: "receipt missing",
    },
)


def words_of(environment: Mapping[str, str]) -> Words:
    """The words for a terminal with these variables: the first of the three that is set decides."""
    chosen = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return _FRENCH if chosen.lower().startswith("fr") else _ENGLISH


SPOKEN = words_of(os.environ)
