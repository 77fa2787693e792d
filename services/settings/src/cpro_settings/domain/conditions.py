"""What an administrator accepts when they activate transfers: the words of the manual, by version.

A text that was shown to anybody is never changed: other words are another version, added at the end. A choice made
under an older version stands until its establishment changes it; only accepting needs the newest.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Conditions:
    """One version of the text, in French as it is shown."""

    version: int
    text: str


EVERY_VERSION = (
    Conditions(
        1,
        """Activer le transfert des données appartenant aux élèves

Pour que les données d'un élève soient transférées de son établissement d'origine vers un nouvel établissement \
d'accueil, il faut que :

- les deux établissements activent le transfert des données à partir du compte de l'administrateur de CPro \
(« Paramètres / Transferts ») ;
- l'établissement d'origine procède à une mise à jour de sa base élèves par un import SIECLE, ce qui désactivera \
l'élève ;
- l'établissement d'accueil procède également à une mise à jour de sa base élèves par un import SIECLE, ce qui créera \
le nouvel élève.

Les élèves créés à partir des fichiers SIECLE et disposant d'un INE conservent leurs données, plus particulièrement \
leur passeport professionnel, lorsqu'ils changent d'établissement : les données (bilans, fiches, évaluations) sont \
transférées automatiquement, en un jour ou deux au maximum.

Lorsqu'au moins un des deux établissements n'utilise pas SIECLE, le responsable de traitement recueille l'autorisation \
de l'élève et/ou des responsables légaux pour le transfert des données entre établissements.
""",
    ),
)


class NotAcceptedError(ValueError):
    """Transfers are to be activated, and the caller has not said which conditions were accepted, or no such exist."""


class OutdatedError(ValueError):
    """An older version was accepted than the one in force."""


def accepted(version: int | None, every_version: tuple[Conditions, ...]) -> Conditions:
    """The conditions in force, if it is they that were accepted.

    Raises:
        NotAcceptedError, OutdatedError: it is not.
    """
    in_force = every_version[-1]
    if version == in_force.version:
        return in_force
    if any(version == known.version for known in every_version):
        raise OutdatedError
    raise NotAcceptedError
