"""One pupil in each block of the file: the text of a record, lean or with all that real records carry.

A full record has what the ministry's application writes and the import has no use for: birth place, nationality,
telephones, address, last year's school … Its values are invented from the pupil's key, so that the same pupil always
gets the same ones; telephone numbers, mails and codes are of the ranges that are kept free for fiction.
"""

from dataclasses import replace
from datetime import date, timedelta
from enum import StrEnum
from xml.sax.saxutils import escape, quoteattr
from zlib import crc32

from cpro_contracts.identifiers import uai_key
from cpro_test_support.siecle_samples.pupils import SamplePupil


class RecordStyle(StrEnum):
    """How much a record says."""

    LEAN = "lean"
    """What the import reads, and little more."""
    FULL = "full"
    """Everything that real records carry, several options, and the structures' second key."""


_TOWNS = (
    "SAINT-IMAGINAIRE", "VILLENEUVE-LES-RÊVES", "PONT-FICTIF", "CHÂTEAU-D'ŒUVRE", "NULLEPART-SUR-MER", "LA FEINTE",
    "MONT-CHIMÈRE", "L'HYPOTHÈSE",
)  # fmt: skip
_STREETS = ("RUE IMAGINAIRE", "ALLÉE DES SONGES", "PLACE DE LA FICTION", "CHEMIN DU CONTE", "IMPASSE DU ROMAN")
_NATIONALITIES = ("100", "100", "100", "100", "100", "132", "352", "134")
_SUBJECTS = ("030201", "030602", "030102", "020700", "061200", "100100", "312100", "030302")


def pupil_record(pupil: SamplePupil, style: RecordStyle = RecordStyle.LEAN, *, legacy_names: bool = False) -> str:
    """`ELEVE`. With `legacy_names` the family name stands in `NOM`, as before 2016."""
    full = style is RecordStyle.FULL
    seed = _seed(pupil) if full else 0
    number = f" ELENOET={quoteattr(pupil.school_number)}" if pupil.school_number else ""
    others = dict(enumerate(pupil.other_first_names, start=2))
    return (
        f"<ELEVE ELEVE_ID={quoteattr(pupil.siecle_id)}{number}>\n"
        + tag("ID_NATIONAL", pupil.ine)
        + tag("INE_RNIE", pupil.ine_rnie)
        + tag("INE_BEA", pupil.ine_bea)
        + (_local_numbers(pupil, seed) if full else "")
        + tag("NOM" if legacy_names else "NOM_DE_FAMILLE", pupil.family_name)
        + tag("NOM_USAGE", pupil.usage_name)
        + tag("PRENOM", pupil.first_name)
        + "".join(tag(f"PRENOM{rank}", name) for rank, name in others.items())
        + tag("DATE_NAISS", day(pupil.birth_date))
        + tag("DOUBLEMENT", None if pupil.repeating is None else int(pupil.repeating))
        + "<CODE_PAYS>100</CODE_PAYS>\n<ACCEPTE_SMS>0</ACCEPTE_SMS>\n"
        + (_contacts(pupil, seed) if full else "")
        + tag("CODE_REGIME", pupil.boarding_code)
        + tag("DATE_ENTREE", day(pupil.entry_date))
        + tag("DATE_SORTIE", day(pupil.leaving_date))
        + tag("CODE_MOTIF_SORTIE", pupil.leaving_reason)
        + (_birth_place(seed) if full else "")
        + tag("CODE_SEXE", {"male": 1, "female": 2}.get(pupil.sex or ""))
        + tag("CODE_PAYS_NAT", _NATIONALITIES[seed % len(_NATIONALITIES)])
        + tag("CODE_STATUT", pupil.status_code)
        + tag("CODE_MEF", pupil.mef_code)
        + (_links(pupil, seed) + _whole_last_year(pupil, seed) if full else _last_year(pupil.previous_uai))
        + "</ELEVE>\n"
    )


def structures_record(pupil: SamplePupil, style: RecordStyle = RecordStyle.LEAN) -> str:
    """`STRUCTURES_ELEVE`, or nothing for a pupil who has none."""
    # Groups first: a reader that takes the first structure for the class must be caught.
    found = [(group, "G") for group in pupil.groups]
    if pupil.division:
        found.append((pupil.division, "D"))
    if not found:
        return ""
    return (
        f"<STRUCTURES_ELEVE {_keys(pupil, style)}>\n"
        + "".join(
            f"<STRUCTURE>\n{tag('CODE_STRUCTURE', code)}{tag('TYPE_STRUCTURE', kind)}</STRUCTURE>\n"
            for code, kind in found
        )
        + "</STRUCTURES_ELEVE>\n"
    )


def option_record(pupil: SamplePupil, style: RecordStyle = RecordStyle.LEAN) -> str:
    """`OPTION`: one subject, or in a full record three to five."""
    start, number = 0, 1
    if style is RecordStyle.FULL:
        start = _seed(pupil) % len(_SUBJECTS)
        number = 3 + start % 3
    subjects = (_SUBJECTS + _SUBJECTS)[start : start + number]
    return (
        f"<OPTION {_keys(pupil, style)}>\n"
        + "".join(
            f"<OPTIONS_ELEVE>\n<NUM_OPTION>{rank}</NUM_OPTION>\n"
            f"<CODE_MODALITE_ELECT>{'F' if rank > 3 else 'O'}</CODE_MODALITE_ELECT>\n"
            f"<CODE_MATIERE>{subject}</CODE_MATIERE>\n</OPTIONS_ELEVE>\n"
            for rank, subject in enumerate(subjects, start=1)
        )
        + "</OPTION>\n"
    )


def grant_record(pupil: SamplePupil, style: RecordStyle = RecordStyle.LEAN) -> str:
    """`BOURSES_ELEVE`, which every fifth pupil of a full file has, and none of a lean one."""
    if style is RecordStyle.LEAN or _seed(pupil) % 5:
        return ""
    return (
        f"<BOURSES_ELEVE {_keys(pupil, style)}>\n<BOURSE>\n<CODE_BOURSE>BL</CODE_BOURSE>\n"
        f"<NOMBRE_PARTS>{_seed(pupil) % 9 + 1}</NOMBRE_PARTS>\n</BOURSE>\n</BOURSES_ELEVE>\n"
    )


def address_record(pupil: SamplePupil, style: RecordStyle = RecordStyle.LEAN) -> str:
    """`ADRESSE`, of the file with addresses."""
    seed = _seed(pupil)
    complement = tag("LIGNE2_ADRESSE", f"BÂTIMENT {seed % 7 + 1}") if style is RecordStyle.FULL else ""
    return (
        f"<ADRESSE ADRESSE_ID={quoteattr(_address_id(pupil))}>\n"
        + tag("LIGNE1_ADRESSE", f"{seed % 90 + 1} {_STREETS[seed % len(_STREETS)]}")
        + complement
        + f"<CODE_PAYS>100</CODE_PAYS>\n<CODE_POSTAL>00000</CODE_POSTAL>\n{tag('LIBELLE_POSTAL', _town(seed))}"
        "<CODE_COMMUNE_INSEE>00000</CODE_COMMUNE_INSEE>\n</ADRESSE>\n"
    )


def with_last_year(pupil: SamplePupil) -> SamplePupil:
    """The pupil as a full record says them: with the school of last year, an invented one where none is known."""
    if pupil.previous_uai is not None:
        return pupil
    number = 9_990_000 + _seed(pupil) % 10_000  # no department has this number
    return replace(pupil, previous_uai=f"{number}{uai_key(number)}")


def tag(name: str, value: object) -> str:
    """An element on a line of its own, or nothing for None."""
    return "" if value is None else f"<{name}>{escape(str(value))}</{name}>\n"


def day(moment: date | None) -> str | None:
    """A date as the file writes it."""
    return None if moment is None else moment.strftime("%d/%m/%Y")


def _seed(pupil: SamplePupil) -> int:
    return crc32(pupil.siecle_id.encode())


def _keys(pupil: SamplePupil, style: RecordStyle) -> str:
    keys = f"ELEVE_ID={quoteattr(pupil.siecle_id)}"
    if style is RecordStyle.FULL and pupil.school_number:
        keys += f" ELENOET={quoteattr(pupil.school_number)}"
    return keys


def _local_numbers(pupil: SamplePupil, seed: int) -> str:
    return tag("ELENOET", pupil.school_number) + tag("ID_ELEVE_ETAB", f"{seed:011d}")


def _contacts(pupil: SamplePupil, seed: int) -> str:
    # 01 99 00 and 06 39 98 begin the numbers that are kept free for fiction.
    return (
        tag("DATE_MODIFICATION", day(date(2026, 9, 1) - timedelta(days=seed % 300)))
        + tag("TEL_PERSONNEL", f"019900{seed % 10**4:04d}")
        + tag("TEL_PORTABLE", f"063998{seed % 10**4:04d}")
        + (tag("MEL", f"eleve.{pupil.siecle_id}@exemple.invalid") if seed % 3 else "<MEL/>\n")
        + "<TEL_PROFESSIONNEL></TEL_PROFESSIONNEL>\n"
    )


def _birth_place(seed: int) -> str:
    if seed % 8 == 7:
        return "<CODE_PAYS_NAISS>999</CODE_PAYS_NAISS>\n" + tag("VILLE_NAISS", "AILLEURS")
    return (
        f"<CODE_DEPARTEMENT_NAISS>{'02A' if seed % 50 == 0 else f'{seed % 95 + 1:03d}'}</CODE_DEPARTEMENT_NAISS>\n"
        f"<CODE_COMMUNE_INSEE_NAISS>{seed % 95 + 1:02d}000</CODE_COMMUNE_INSEE_NAISS>\n<VILLE_NAISS></VILLE_NAISS>\n"
    )


def _links(pupil: SamplePupil, seed: int) -> str:
    """Where the pupil's other records are: address, guardians, transport, last entry into a school."""
    guardians = "".join(
        f"<RESPONSABLE_ELEVE>\n<PERSONNE_ID>{seed % 10**7 + rank}</PERSONNE_ID>\n"
        f"<RESP_LEGAL>{rank}</RESP_LEGAL>\n<CODE_PARENTE>{rank}0</CODE_PARENTE>\n"
        f"<RESP_FINANCIER>{int(rank == 1)}</RESP_FINANCIER>\n</RESPONSABLE_ELEVE>\n"
        for rank in range(1, seed % 2 + 2)
    )
    return (
        tag("ADRESSE_ID", _address_id(pupil))
        + f"<ADHESION_TRANSPORT>{int(seed % 4 == 0)}</ADHESION_TRANSPORT>\n"
        + f"<CODE_PROVENANCE>{seed % 3 + 1}</CODE_PROVENANCE>\n"
        + f"<RESPONSABLES>\n{guardians}</RESPONSABLES>\n"
    )


def _last_year(previous_uai: str | None) -> str:
    if previous_uai is None:
        return ""
    return (
        f"<SCOLARITE_AN_DERNIER>\n{tag('CODE_STRUCTURE', '3 B')}{tag('CODE_RNE', previous_uai)}"
        f"{tag('SIGLE', 'LP')}</SCOLARITE_AN_DERNIER>\n"
    )


def _whole_last_year(pupil: SamplePupil, seed: int) -> str:
    uai = with_last_year(pupil).previous_uai or ""
    return (
        "<SCOLARITE_AN_DERNIER>\n"
        + tag("CODE_MEF", "10310019110")
        + tag("CODE_STRUCTURE", f"3{' EABCD'[seed % 6]}{seed % 9 + 1}")
        + tag("CODE_RNE", uai)
        + "<CODE_NATURE>340</CODE_NATURE>\n<SIGLE>CLG</SIGLE>\n<DENOM_PRINC>COLLEGE</DENOM_PRINC>\n"
        + tag("DENOM_COMPL", f"DE {_town(seed // 8)}")
        + tag("LIGNE1_ADRESSE", f"{seed % 90 + 1} {_STREETS[seed % len(_STREETS)]}")
        + "<BOITE_POSTALE></BOITE_POSTALE>\n"
        + tag("MEL", f"ce.{uai.lower()}@exemple.invalid")
        + tag("TELEPHONE", f"019900{seed // 7 % 10**4:04d}")
        + "<CODE_COMMUNE_INSEE>00000</CODE_COMMUNE_INSEE>\n"
        + tag("LL_COMMUNE_INSEE", _town(seed // 8))
        + "</SCOLARITE_AN_DERNIER>\n"
    )


def _address_id(pupil: SamplePupil) -> str:
    return f"9{pupil.siecle_id}"


def _town(seed: int) -> str:
    return _TOWNS[seed % len(_TOWNS)]
