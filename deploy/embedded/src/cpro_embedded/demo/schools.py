"""The schools of the demo: real codes of a public list, everything else invented."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class School:
    """A school as its administrator describes it, and the PostgreSQL cluster that its database is on."""

    uai: str
    cluster: str
    place: str
    """How the story calls it."""
    name: str
    city: str
    postcode: str
    academy: str
    head: str
    roster_source: str = "siecle"
    """`manual` where pupils are entered by hand."""

    def sheet(self) -> dict[str, str]:
        """What the administrator types into the sheet."""
        return {
            "name": self.name,
            "email": f"ce.{self.uai.lower()}@exemple.fr",
            "street": "1 rue de l'Œuvre",
            "postcode": self.postcode,
            "city": self.city,
            "telephone": "01 99 00 12 34",
            "head": self.head,
            "academy": self.academy,
        }


CLUSTERS = ("north", "south")

PARIS = School(
    "0752387M", "north", "Paris 12e", "Lycée professionnel des Tilleuls", "Paris", "75012", "Paris", "Mme Abélard"
)
BELLEVUE = School(
    "0750680G", "south", "Paris 19e", "Lycée professionnel Bellevue", "Paris", "75019", "Paris", "M. Bastide"
)
PERPIGNAN = School(
    "0660864F",
    "north",
    "Perpignan",
    "Lycée professionnel de la Têt",
    "Perpignan",
    "66000",
    "Montpellier",
    "Mme Camelin",
)
BOBIGNY = School(
    "0931434D", "south", "Bobigny", "Lycée professionnel du Canal", "Bobigny", "93000", "Créteil", "M. Duvernois"
)
CAEN = School(
    "0140070A", "north", "Caen", "Lycée professionnel de l'Orne", "Caen", "14000", "Normandie", "Mme Escoffier"
)

CFA = School(
    "0142321X",
    "south",
    "CFA in Caen",
    "CFA de l'Odon",
    "Caen",
    "14000",
    "Normandie",
    "M. Ferrand",
    roster_source="manual",
)

ON_SIECLE = (PARIS, BELLEVUE, PERPIGNAN, BOBIGNY, CAEN)
SCHOOLS = (*ON_SIECLE, CFA)
