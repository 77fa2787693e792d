"""What an import does to the establishment's pupils: the specification of the difference.

The import itself runs this set-wise in SQL (`adapters/roster_sql.py`); a property test holds the two together. It is
also the place to read the rules of identity.

**Identity inside an establishment.** The ministry itself warns that an INE is sometimes given to another pupil, so an
INE counts only together with the birth date. A line is, in this order: the pupil who goes or went by one of its INE
and has its birth date; else the one with its ELEVE_ID and its birth date; else, where one side has no INE, the one
pupil with its family name, first name and birth date, if exactly one line and one pupil fit; else a new pupil.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from cpro_contracts.identifiers import IneStatus
from cpro_siecle_import.domain import findings
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine
from cpro_siecle_import.domain.presence import Presence, presence


@dataclass(frozen=True, slots=True)
class KnownPupil:
    """A pupil of the establishment before the import. `rank` is the age of the row, the oldest first."""

    id: UUID
    rank: int
    siecle_id: str | None
    ine: str | None
    ine_status: IneStatus
    aliases: frozenset[str]
    family_name: str
    first_name: str
    birth_date: date
    active: bool
    from_siecle: bool


class Kind(StrEnum):
    """What becomes of a pupil."""

    CREATED = "created"
    REACTIVATED = "reactivated"
    DEACTIVATED = "deactivated"
    KEPT = "kept"
    """Stays as active as before; the row is written only where a value differs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the import makes of one pupil: a known one (`pupil_id`) or a new one (`siecle_id` alone)."""

    pupil_id: UUID | None
    siecle_id: str | None
    kind: Kind
    ine: str | None
    ine_status: IneStatus


@dataclass(frozen=True, slots=True)
class Plan:
    """Every outcome, and what is said of single lines as (code, ELEVE_ID)."""

    outcomes: frozenset[Outcome]
    remarks: frozenset[tuple[str, str | None]]


def plan(
    known: Sequence[KnownPupil], lines: Sequence[PupilLine], placed: Sequence[DivisionLine], reference_date: date
) -> Plan:
    """The plan of an import."""
    accepted, rejected, remarks = settle_lines(lines)
    divisions = _divisions_by_pupil(placed)
    states = {
        line.siecle_id: presence(divisions.get(line.siecle_id, ()), line.leaving_date, reference_date)
        for line in accepted
    }
    matched = identify(accepted, known)
    letting_go = _letting_go(accepted, matched, states)
    outcomes: set[Outcome] = set()
    said = set(remarks) | _remarks_on_structures(lines, placed)
    for line in accepted:
        state, pupil = states[line.siecle_id], matched.get(line.siecle_id)
        if state is Presence.LEFT and pupil is None:
            continue
        said |= _remarks_on_line(line, state, divisions.get(line.siecle_id, ()))
        if state is Presence.NOT_ARRIVED:
            continue
        ine, status = _national_number_after(line, pupil, known, letting_go)
        if line.ine is not None and ine is None:
            said.add((findings.INE_HELD_BY_ANOTHER.code, line.siecle_id))
        outcomes.add(Outcome(pupil.id if pupil else None, line.siecle_id, _kind(pupil, state), ine, status))
    protected = _protected(known, rejected)
    seen = {pupil.id for pupil in matched.values()}
    for pupil in known:
        if pupil.active and pupil.from_siecle and pupil.id not in seen and pupil.id not in protected:
            outcomes.add(Outcome(pupil.id, pupil.siecle_id, Kind.DEACTIVATED, pupil.ine, pupil.ine_status))
    return Plan(frozenset(outcomes), frozenset(said))


def settle_lines(
    lines: Sequence[PupilLine],
) -> tuple[list[PupilLine], list[PupilLine], frozenset[tuple[str, str | None]]]:
    """Accepted lines, rejected lines, and the codes of what the lines of one file do to each other.

    The same ELEVE_ID twice: identical lines count once, different ones are all rejected. The same INE on two lines, on
    rejected ones too: all are rejected, for nothing says whose it is.
    """
    distinct: dict[tuple[object, ...], PupilLine] = {}
    remarks: set[tuple[str, str | None]] = set()
    for line in lines:
        content = (line.siecle_id, tuple(line[1:])) if line.siecle_id else (id(line),)
        if content in distinct:
            remarks.add((findings.REPEATED_LINE.code, line.siecle_id))
        distinct.setdefault(content, line)
    kept = list(distinct.values())
    ids = Counter(line.siecle_id for line in kept if line.siecle_id)
    numbers = Counter(ine for line in kept for ine in line.all_ine)
    accepted: list[PupilLine] = []
    rejected: list[PupilLine] = []
    for line in kept:
        code = line.rejection
        if code is None and line.siecle_id and ids[line.siecle_id] > 1:
            code = findings.SIECLE_ID_REPEATED.code
        if code is None and any(numbers[ine] > 1 for ine in line.all_ine):
            code = findings.INE_REPEATED.code
        if code is not None:
            remarks.add((code, line.siecle_id))
        (accepted if code is None else rejected).append(line)
    return accepted, rejected, frozenset(remarks)


def identify(lines: Sequence[PupilLine], known: Sequence[KnownPupil]) -> dict[str | None, KnownPupil]:
    """Which known pupil each line is, by its ELEVE_ID; lines that are nobody known are not in it.

    A pupil is claimed by one line at most. Where several could be meant the one who still goes by the number comes
    first, then an active one, then the oldest row.
    """
    matched: dict[str | None, KnownPupil] = {}
    _claim(matched, lines, known, _by_ine)
    _claim(matched, lines, known, _by_siecle_id)
    _claim_by_name(matched, lines, known)
    return matched


def name_key(name: str) -> str:
    """A name reduced to what two spellings of it share: letters only, no accents, no case."""
    expanded = name.replace("œ", "oe").replace("Œ", "OE").replace("æ", "ae").replace("Æ", "AE")
    letters = unicodedata.normalize("NFD", expanded)
    return "".join(letter for letter in letters if letter.isascii() and letter.isalpha()).upper()


_Strength = Callable[[PupilLine, KnownPupil], int | None]


def _by_ine(line: PupilLine, pupil: KnownPupil) -> int | None:
    if line.birth_date != pupil.birth_date:
        return None
    if pupil.ine is not None and pupil.ine == line.ine:
        return 0
    numbers = pupil.aliases | {pupil.ine}
    return 1 if any(ine in numbers for ine in line.all_ine) else None


def _by_siecle_id(line: PupilLine, pupil: KnownPupil) -> int | None:
    return 0 if line.siecle_id == pupil.siecle_id and line.birth_date == pupil.birth_date else None


def _claim(
    matched: dict[str | None, KnownPupil],
    lines: Sequence[PupilLine],
    known: Sequence[KnownPupil],
    strength: _Strength,
) -> None:
    """Each line that is nobody yet names its best free pupil; a pupil named twice goes to the stronger, then first."""
    taken = {pupil.id for pupil in matched.values()}
    claims: dict[UUID, tuple[int, int, PupilLine, KnownPupil]] = {}
    for position, line in enumerate(lines):
        if line.siecle_id in matched:
            continue
        candidates = [
            (found, not pupil.active, pupil.rank, pupil)
            for pupil in known
            if pupil.id not in taken and (found := strength(line, pupil)) is not None
        ]
        if not candidates:
            continue
        found, _, _, best = min(candidates, key=lambda candidate: candidate[:3])
        claim = (found, position, line, best)
        if best.id not in claims or claim[:2] < claims[best.id][:2]:
            claims[best.id] = claim
    for _, _, line, pupil in claims.values():
        matched[line.siecle_id] = pupil


def _claim_by_name(
    matched: dict[str | None, KnownPupil], lines: Sequence[PupilLine], known: Sequence[KnownPupil]
) -> None:
    taken = {pupil.id for pupil in matched.values()}
    pairs = [
        (line, pupil)
        for line in lines
        if line.siecle_id not in matched
        for pupil in known
        if pupil.id not in taken and _same_name(line, pupil) and (line.ine is None or pupil.ine is None)
    ]
    per_line = Counter(line.siecle_id for line, _ in pairs)
    per_pupil = Counter(pupil.id for _, pupil in pairs)
    for line, pupil in pairs:
        if per_line[line.siecle_id] == 1 and per_pupil[pupil.id] == 1:
            matched[line.siecle_id] = pupil


def _same_name(line: PupilLine, pupil: KnownPupil) -> bool:
    family_name, first_name = name_key(line.family_name or ""), name_key(line.first_name or "")
    return (
        line.birth_date == pupil.birth_date
        and family_name == name_key(pupil.family_name)
        and first_name == name_key(pupil.first_name)
        and "" not in {family_name, first_name}  # nothing is left of a name in another script: no evidence
    )


def _letting_go(
    accepted: Sequence[PupilLine],
    matched: Mapping[str | None, KnownPupil],
    states: Mapping[str | None, Presence],
) -> frozenset[UUID]:
    """The known pupils whom this file gives another INE, or none that could be trusted."""
    return frozenset(
        matched[line.siecle_id].id
        for line in accepted
        if line.siecle_id in matched
        and states[line.siecle_id] is not Presence.NOT_ARRIVED
        and line.ine_status != IneStatus.ABSENT
    )


def _national_number_after(
    line: PupilLine, pupil: KnownPupil | None, known: Iterable[KnownPupil], letting_go: frozenset[UUID]
) -> tuple[str | None, IneStatus]:
    """The INE of the pupil after the import.

    A line without an INE takes none away from a known pupil. An INE that another pupil of the establishment keeps is
    not given a second time.
    """
    if line.ine is None:
        if pupil is not None and line.ine_status == IneStatus.ABSENT:
            return pupil.ine, pupil.ine_status
        return None, IneStatus(line.ine_status)
    for other in known:
        is_other = pupil is None or other.id != pupil.id
        if is_other and other.ine == line.ine and other.id not in letting_go:
            return None, IneStatus.NOT_TRUSTED
    return line.ine, IneStatus(line.ine_status)


def _kind(pupil: KnownPupil | None, state: Presence) -> Kind:
    if pupil is None:
        return Kind.CREATED
    if state is Presence.PRESENT:
        return Kind.KEPT if pupil.active else Kind.REACTIVATED
    return Kind.DEACTIVATED if pupil.active else Kind.KEPT


def _remarks_on_line(line: PupilLine, state: Presence, divisions: Sequence[str]) -> set[tuple[str, str | None]]:
    """What is said of an accepted line of a pupil who is, or was, one of the establishment."""
    codes = set(line.warnings)
    if state is Presence.NOT_ARRIVED:
        codes.add(findings.NOT_ARRIVED.code)
    if state is Presence.PRESENT and len(divisions) > 1:
        codes.add(findings.TWO_DIVISIONS.code)
    return {(code, line.siecle_id) for code in codes}


def _remarks_on_structures(lines: Sequence[PupilLine], placed: Sequence[DivisionLine]) -> set[tuple[str, str | None]]:
    named = {line.siecle_id for line in lines if line.siecle_id is not None}
    return {
        (findings.STRUCTURES_OF_UNKNOWN_PUPIL.code, place.siecle_id) for place in placed if place.siecle_id not in named
    }


def _divisions_by_pupil(placed: Sequence[DivisionLine]) -> dict[str | None, tuple[str, ...]]:
    found: dict[str | None, set[str]] = defaultdict(set)
    for line in placed:
        found[line.siecle_id].update(line.divisions)
    return {siecle_id: tuple(sorted(divisions)) for siecle_id, divisions in found.items()}


def _protected(known: Iterable[KnownPupil], rejected: Iterable[PupilLine]) -> set[UUID]:
    """A rejected line protects the pupil whom it names, by ELEVE_ID or INE, from deactivation by absence."""
    ids = {line.siecle_id for line in rejected if line.siecle_id}
    numbers = {ine for line in rejected for ine in line.all_ine}
    return {pupil.id for pupil in known if pupil.siecle_id in ids or ({pupil.ine} | pupil.aliases) & numbers}
