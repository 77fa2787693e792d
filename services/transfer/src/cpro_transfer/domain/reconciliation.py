"""Compare an establishment's own database with what the transfer database knows of it. Pure: no clock, no I/O.

The establishment's database is right, always; the one thing that it can't know is that it has gone back in time (a
backup was restored). That shows where the transfer database knows a higher revision than the establishment has, or
another content under the same one.

What the transfer database knows must have been read *before* the establishment's database: whatever it knew then, the
establishment had committed by then. So nothing that is merely newer looks like a step back in time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from cpro_contracts.identifiers import AUTHORISATION_KEY_PREFIX
from cpro_contracts.pupils import EnrolmentSource

_Item = TypeVar("_Item")


class Kind(StrEnum):
    """What can differ. A closed list; `docs/how-to/reconcile.md` has a line for each."""

    PUPIL_UNKNOWN = "pupil_unknown"
    """The transfer database has never heard of this pupil."""
    PUPIL_BEHIND = "pupil_behind"
    """It knows an earlier state."""
    PUPIL_AHEAD = "pupil_ahead"
    """It knows a state that the establishment's database has lost: it was restored from an older backup."""
    ENROLMENT_STALE = "enrolment_stale"
    """It knows the pupil under a match key that nobody has there any more."""
    OPT_IN_BEHIND = "opt_in_behind"
    OPT_IN_AHEAD = "opt_in_ahead"
    REVISIONS_BEHIND = "revisions_behind"
    """The establishment's next revisions would be ones that are known already: all its events would be ignored."""
    MOVE_NOT_NOTED = "move_not_noted"
    """The records have left, and the join would plan to move them again."""
    TRANSFER_UNKNOWN = "transfer_unknown"
    """The establishments' databases have traces of a transfer that the transfer database does not have."""
    TRANSFER_BEHIND = "transfer_behind"
    """The establishments' databases are further than the transfer database says, or hold what has ended."""
    TRANSFER_UNTRACED = "transfer_untraced"
    """Pupils are held for a transfer that is not known, and where to is not known either."""
    RECEIPT_MISSING = "receipt_missing"
    """The transfer is completed, and this establishment has no receipt of it: its database has gone back in time."""


FOR_A_PERSON = frozenset({Kind.TRANSFER_UNTRACED, Kind.RECEIPT_MISSING})
"""Nobody but a person can decide these."""

Key = tuple[str, int]
"""What an event is about and which revision: (match key, revision), or (the opt-in's key, revision)."""


@dataclass(frozen=True, slots=True)
class PupilTruth:
    """A pupil as the establishment's database has them."""

    pupil_id: UUID
    match_key: str
    active: bool
    source: str
    ine_status: str
    revision: int
    records_moved: bool
    """Inactive, and the records have left since."""


@dataclass(frozen=True, slots=True)
class KnownEnrolment:
    """A pupil as the transfer database knows them."""

    match_key: str
    pupil_id: UUID
    active: bool
    withdrawn: bool
    source: str
    ine_status: str
    revision: int
    moved_at_revision: int


@dataclass(frozen=True, slots=True)
class OptIn:
    """An opt-in, at either end. Revision 0: never switched, or never heard of."""

    enabled: bool = False
    roster_source: str | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """One establishment's database at one instant."""

    opt_in_key: str
    opt_in: OptIn
    pupils: tuple[PupilTruth, ...]
    newest_revision: int
    on_their_way: frozenset[Key]
    """Events that wait in the outbox, or were published so lately that the join may not have them yet."""
    unpublished: int


@dataclass(frozen=True, slots=True)
class KnownState:
    """What the transfer database knows of one establishment."""

    opt_in: OptIn
    enrolments: Mapping[str, KnownEnrolment]
    """By match key."""
    moving: frozenset[UUID]
    """The pupils whose transfer out of here is under way: a mover notes what comes of it."""

    @property
    def is_blank(self) -> bool:
        """Whether it has never heard of this establishment: what was said lately was lost with all the rest."""
        return self.newest_revision == 0

    @property
    def newest_revision(self) -> int:
        """The highest revision that it has heard of."""
        return max([self.opt_in.revision, *(known.revision for known in self.enrolments.values())])


@dataclass(slots=True)
class Differences:
    """What the transfer database must be told, by what has happened to it or to the establishment's database."""

    unknown: list[PupilTruth] = field(default_factory=list)
    behind: list[PupilTruth] = field(default_factory=list)
    ahead: list[PupilTruth] = field(default_factory=list)
    stale: list[KnownEnrolment] = field(default_factory=list)
    not_noted: list[PupilTruth] = field(default_factory=list)
    opt_in: Kind | None = None
    continue_after: int | None = None
    """The establishment's revisions must go on after this one."""
    on_their_way: int = 0

    def is_to_be_told(self) -> bool:
        """Whether an event has to be published by the establishment."""
        return bool(self.unknown or self.behind or self.ahead or self.stale or self.opt_in or self.continue_after)

    def renumbered(self, revisions: Mapping[UUID, int]) -> None:
        """These pupils have new revisions. Records that had left at the old one have left at the new one."""
        self.ahead = [replace(pupil, revision=revisions[pupil.pupil_id]) for pupil in self.ahead]
        others = [pupil for pupil in self.not_noted if pupil.pupil_id not in revisions]
        self.not_noted = others + [pupil for pupil in self.ahead if pupil.records_moved]

    def ids(self) -> dict[Kind, list[UUID]]:
        """The pupils, by kind. An opt-in and the revisions have none; they are told by an empty list."""
        found: dict[Kind, list[UUID]] = {
            Kind.PUPIL_UNKNOWN: [pupil.pupil_id for pupil in self.unknown],
            Kind.PUPIL_BEHIND: [pupil.pupil_id for pupil in self.behind],
            Kind.PUPIL_AHEAD: [pupil.pupil_id for pupil in self.ahead],
            Kind.ENROLMENT_STALE: [known.pupil_id for known in self.stale],
            Kind.MOVE_NOT_NOTED: [pupil.pupil_id for pupil in self.not_noted],
        }
        return {kind: ids for kind, ids in found.items() if ids}


def compare(known: KnownState, truth: Truth, *, deferred: Collection[UUID] = ()) -> Differences:
    """What differs. Nothing, where the transfer database has heard all that the establishment said.

    Args:
        known: Read first.
        truth: Read after it.
        deferred: Pupils of whom nothing may be published yet: they are held for a transfer that is not known.
    """
    found = Differences()
    truth = replace(truth, on_their_way=frozenset()) if known.is_blank else truth
    for pupil in truth.pupils:
        if pupil.pupil_id not in deferred:
            _compare_pupil(pupil, known, truth, found)
    keys = {pupil.match_key for pupil in truth.pupils}
    for enrolment in known.enrolments.values():
        # Support's replays are published under keys that no pupil has.
        expected = enrolment.match_key in keys or enrolment.match_key.startswith(AUTHORISATION_KEY_PREFIX)
        if not expected and not enrolment.withdrawn:
            _tell(enrolment, found.stale, found, _later_is_on_its_way(enrolment, truth))
    found.opt_in = _compare_opt_in(known.opt_in, truth, found)
    if known.newest_revision > truth.newest_revision:
        found.continue_after = known.newest_revision
    return found


def _compare_pupil(pupil: PupilTruth, known: KnownState, truth: Truth, found: Differences) -> None:
    enrolment = known.enrolments.get(pupil.match_key)
    on_its_way = (pupil.match_key, pupil.revision) in truth.on_their_way
    if enrolment is None or enrolment.revision == 0:
        # Whom a school has entered by hand no event tells of: their records move by an authorisation only.
        if pupil.source != EnrolmentSource.MANUAL:
            _tell(pupil, found.unknown, found, on_its_way)
    elif enrolment.revision < pupil.revision:
        _tell(pupil, found.behind, found, on_its_way)
    elif enrolment.revision > pupil.revision or not _says_the_same(enrolment, pupil):
        found.ahead.append(pupil)
    moved_at = enrolment.moved_at_revision if enrolment else 0
    if pupil.records_moved and moved_at < pupil.revision and pupil.pupil_id not in known.moving:
        found.not_noted.append(pupil)


def _says_the_same(enrolment: KnownEnrolment, pupil: PupilTruth) -> bool:
    said = (enrolment.pupil_id, enrolment.active, enrolment.source, enrolment.ine_status)
    return not enrolment.withdrawn and said == (pupil.pupil_id, pupil.active, pupil.source, pupil.ine_status)


def _later_is_on_its_way(enrolment: KnownEnrolment, truth: Truth) -> bool:
    return any(key == enrolment.match_key and revision > enrolment.revision for key, revision in truth.on_their_way)


def _compare_opt_in(known: OptIn, truth: Truth, found: Differences) -> Kind | None:
    own = truth.opt_in
    if known.revision < own.revision:
        if (truth.opt_in_key, own.revision) in truth.on_their_way:
            found.on_their_way += 1
            return None
        return Kind.OPT_IN_BEHIND
    if known.revision > own.revision:
        return Kind.OPT_IN_AHEAD
    same = own.revision == 0 or (known.enabled, known.roster_source) == (own.enabled, own.roster_source)
    return None if same else Kind.OPT_IN_AHEAD


def _tell(item: _Item, into: list[_Item], found: Differences, on_its_way: bool) -> None:
    if on_its_way:
        found.on_their_way += 1
    else:
        into.append(item)


def first(ids: Iterable[UUID], number: int) -> list[UUID]:
    """The first few ids, for a person to look at."""
    return sorted(ids)[:number]
