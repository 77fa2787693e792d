"""Invented pupils, the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random

from cpro_contracts.identifiers import rnie_key, uai_key

_FAMILY_NAMES = (
    "ABELARD", "BASTIDE", "BŒUF", "CAMELIN", "CHÂTELAIN", "D'AUBREVILLE", "DE LA FONTENELLE", "DUVERNOIS", "ESCOFFIER",
    "FERRANDIER", "GARREAU-LEMOINE", "HAUTECŒUR", "IMBERTIN", "JOURDANET", "KERVADEC", "L'HERMINIER", "LE GUILLOUX",
    "MARÉCHAUX", "N'DIOUBE", "OLLIVERON", "PÉRONNEAU", "QUEMENEUR", "ROUSSELIN", "SAINT-AUBERT", "TAVERNIÈRE",
    "URBANOWSKI", "VAN DER BERGUE", "WATTELET", "XAINTRAILLES", "YVERNOIS", "ZÉLANDIER",
)  # fmt: skip
_GIRLS = (
    "Adèle", "Bérénice", "Camille", "Chloé", "Daphné", "Éloïse", "Fatou", "Gaëlle", "Héloïse", "Inès", "Jade",
    "Lou-Anne", "Maëlys", "Naïma", "Océane", "Pénélope", "Romane", "Solène", "Yaëlle", "Zoé",
)  # fmt: skip
_BOYS = (
    "Amaury", "Baptiste", "Côme", "Désiré", "Enzo", "Félix", "Gaël", "Hugo", "Ilyès", "Jean-Loup", "Kylian", "Loïc",
    "Mathéo", "Noé", "Octave", "Pacôme", "Raphaël", "Théo", "Ulysse", "Yanis",
)  # fmt: skip
_LEVELS = ("2", "1", "T")
_TRADES = ("MCV A", "AGORA", "MELEC", "ASSP 2", "COM", "GATL")
_INE_NUMBERS = 10**9


def rnie_ine(number: int) -> str:
    """The INE-RNIE of a nine-digit number, with its key."""
    digits = f"{number % _INE_NUMBERS:09d}"
    return digits + rnie_key(digits)


def bea_ine(number: int) -> str:
    """The INE-BEA of a ten-digit number, with its key."""
    return f"{number % 10**10:010d}{uai_key(number % 10**10)}"


def apprentice_ine(year: int, number: int) -> str:
    """An INE of the form that apprentices have: its key is unknown, any letter will do."""
    return f"{year % 10**4:04d}A{number % 10**5:05d}{chr(ord('A') + number % 26)}"


def university_ine(base: str) -> str:
    """The INE of a university from up to ten base-36 characters, with its key."""
    value = base.upper().rjust(10, "0")
    return f"{value}{int(value, 36) % 10}"


@dataclass(frozen=True, slots=True)
class SamplePupil:
    """A pupil as one line of the file says it; the fields that are None are left out."""

    siecle_id: str
    ine: str | None
    family_name: str
    first_name: str
    birth_date: date
    division: str | None = None
    sex: str | None = None
    """`male` or `female`."""
    leaving_date: date | None = None
    leaving_reason: str | None = None
    entry_date: date | None = None
    usage_name: str | None = None
    other_first_names: tuple[str, ...] = ()
    ine_bea: str | None = None
    """The older number that a pupil may still carry beside the current one."""
    ine_rnie: str | None = None
    """The current number in its own field; `ine` is what stands in `ID_NATIONAL`."""
    previous_uai: str | None = None
    groups: tuple[str, ...] = ()
    school_number: str | None = None
    mef_code: str | None = "24731211433"
    status_code: str | None = "ST"
    boarding_code: str | None = "2"
    repeating: bool | None = False

    def leaves(self, on: date, reason: str = "06") -> "SamplePupil":
        """The same pupil with a leaving date. Keeps the division, as real files do."""
        return replace(self, leaving_date=on, leaving_reason=reason)

    def arrives(self, siecle_id: str, division: str, *, previous_uai: str | None = None) -> "SamplePupil":
        """The same person as another school's file says them: its own key, a class, no leaving date."""
        return replace(
            self,
            siecle_id=siecle_id,
            division=division,
            previous_uai=previous_uai,
            leaving_date=None,
            leaving_reason=None,
        )


def generate_pupils(
    count: int,
    seed: int,
    *,
    school_year: int = 2026,
    without_ine_ratio: float = 0.0,
    with_bea_ratio: float = 0.0,
    classes_of: int = 28,
    first_siecle_id: int | None = None,
) -> Iterator[SamplePupil]:
    """Invent `count` pupils present in one school: each has a class, and an INE unless the ratio says otherwise.

    The same arguments give the same pupils. Seeds below 500 give pupils whose INE are all different.
    """
    random = Random(seed)
    siecle_id = 1_000_000 + seed * 100_000 if first_siecle_id is None else first_siecle_id
    for index in range(count):
        sex = random.choice(("male", "female"))
        number = seed * 2_000_003 + index
        yield SamplePupil(
            siecle_id=str(siecle_id + index),
            ine=None if random.random() < without_ine_ratio else _ine(number),
            ine_bea=bea_ine(number * 7) if random.random() < with_bea_ratio else None,
            family_name=random.choice(_FAMILY_NAMES),
            first_name=random.choice(_GIRLS if sex == "female" else _BOYS),
            other_first_names=(random.choice(_GIRLS if sex == "female" else _BOYS),) if random.random() < 0.3 else (),
            birth_date=date(school_year - 18, 1, 1) + timedelta(days=random.randrange(4 * 365)),
            sex=sex,
            division=division_name(index // classes_of),
            groups=(f"GR{index % 6 + 1}",) if random.random() < 0.5 else (),
            entry_date=date(school_year - 1, 9, 1),
            school_number=str(100 + index),
            repeating=random.random() < 0.06,
        )


def _ine(number: int) -> str:
    # An odd factor that is no multiple of five only permutes the numbers: different pupils keep different INE.
    return rnie_ine(number * 387_420_489 % _INE_NUMBERS)


def division_name(index: int) -> str:
    """The name of a school's class of this rank, as schools choose them: with spaces, or only digits; each its own."""
    level, rest = _LEVELS[index % len(_LEVELS)], index // len(_LEVELS)
    trade, parallel = _TRADES[rest % len(_TRADES)], rest // len(_TRADES)
    if index % 7 == 6:
        return str(300 + index)
    return f"{level} {trade}" if parallel == 0 else f"{level} {trade}{parallel + 1}"
