"""What a school's national pupil file says, from one export to the next."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cpro_test_support.siecle_samples import SamplePupil, siecle_zip

_LEFT_DAYS_BEFORE_EXPORT = 1


@dataclass(slots=True)
class Roster:
    """The lines of one school's file by ELEVE_ID, and when the next export is made.

    Each export is a minute later than the one before: an older one would be refused.
    """

    uai: str
    next_export_at: datetime
    lines: dict[str, SamplePupil] = field(default_factory=dict)
    _admitted: int = 0

    def lists(self, pupil: SamplePupil) -> None:
        """The pupil is in the file, as this line says."""
        self.lines[pupil.siecle_id] = pupil

    def notes_departure(self, pupil: SamplePupil) -> None:
        """The pupil keeps a line, with a leaving date."""
        left_on = (self.next_export_at - timedelta(days=_LEFT_DAYS_BEFORE_EXPORT)).date()
        self.lines[pupil.siecle_id] = pupil.leaves(left_on)

    def drops(self, pupil: SamplePupil) -> None:
        """The pupil has no line any more."""
        del self.lines[pupil.siecle_id]

    def admits(self, pupil: SamplePupil, *, previous_uai: str) -> SamplePupil:
        """A pupil of another school has a class here now, under a number of this school's own."""
        self._admitted += 1
        siecle_id = f"9{self.uai[:7]}{self._admitted:04d}"
        arrived = pupil.arrives(siecle_id, "1 AGORA", previous_uai=previous_uai)
        self.lists(replace(arrived, entry_date=self.next_export_at.date() - timedelta(days=7)))
        return self.lines[siecle_id]

    def export(self, school_year: int) -> bytes:
        """The zip that the ministry's application makes: one XML in ISO-8859-15."""
        exported_at = self.next_export_at
        self.next_export_at += timedelta(minutes=1)
        return siecle_zip(self.uai, self.lines.values(), school_year=school_year, exported_at=exported_at)
