"""The story: five schools, a summer, and pupils who change school in every way that SIECLE knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageDraw

from cpro_embedded.demo.administrator import Administrator, Json
from cpro_embedded.demo.errors import DemoFailedError
from cpro_embedded.demo.schools import BELLEVUE, BOBIGNY, CAEN, ON_SIECLE, PARIS, PERPIGNAN, SCHOOLS, School
from cpro_embedded.demo.waiting import until
from cpro_embedded.demo.world import Pupil, World
from cpro_test_support.siecle_samples import generate_pupils

# Fewer, and so many would leave that an import asks for a confirmation.
FEWEST_PUPILS = 12
ONE_PUPIL = "one pupil at a time"
# One pupil in five on each way: the first import of a year that lets more than 60 % go asks for a confirmation.
_SHARE_OF_A_WAY = 5


@dataclass(frozen=True, slots=True)
class Way:
    """Pupils whose records must have followed them along one way, and their transfers."""

    title: str
    origin: School
    destination: School
    pupils: Sequence[Pupil]
    transfers: Sequence[Json]
    by_support: bool = False
    """Nobody waits for these with a watch: a person at a terminal says when they begin."""


class Wait(NamedTuple):
    """A pupil whose records must stay, and the code that must say why."""

    title: str
    pupil: Pupil
    code: str


class Undone(NamedTuple):
    """A pupil whose records went and were taken back: they are where they were, and nothing counts as moved."""

    pupil: Pupil
    transfer_id: str
    undo_id: str


@dataclass(slots=True)
class Story:
    """Plays the chapters, in order, and keeps what must have come of them.

    Args:
        world: where it plays.
        pupils_a_school: at least `FEWEST_PUPILS`.
        single_moves: how many pupils move one at a time, on an idle machine.
    """

    world: World
    pupils_a_school: int
    single_moves: int
    ways: list[Way] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    undone: list[Undone] = field(default_factory=list)
    _bystanders: dict[str, list[Pupil]] = field(default_factory=dict)
    """Of each school, the pupils who have no part in the story yet."""
    _waiting_for_opt_in: Sequence[Pupil] = ()
    _gone_from_caen: Sequence[Pupil] = ()

    async def last_school_year(self) -> None:
        """Everybody's sheet, logo and opt-in; last year's pupils; and their records."""
        narrator = self.world.narrator.chapter("Last school year")
        for school in SCHOOLS:
            administrator = self.world.administrators[school.uai]
            await administrator.fills_in_sheet(school.sheet())
            await administrator.uploads_image("logo", _logo(school))
            if school is not CAEN:
                await administrator.chooses_transfers(enabled=True, roster_source=school.roster_source)
        narrator.say(f"{len(SCHOOLS)} sheets and logos saved; transfers activated everywhere but at {at(CAEN)}")
        for number, school in enumerate(ON_SIECLE, start=1):
            self._invent_pupils(number, school)
            await self.imports(school, school_year=self.world.school_year - 1)
        with narrator.doing("records and attachments written, as the core application would have over the years"):
            await self.world.writes_records()
        narrator.say(f"{len(self.world.seeded.rows)} records of {len(self.world.pupils)} pupils")

    async def departures_first(self) -> None:
        """Paris says who has left; later Bellevue says who has come."""
        narrator = self.world.narrator.chapter("Departures first")
        leaving = self.take(PARIS, self._on_a_way)
        (without_ine,) = self.take(PARIS, 1, with_ine=False)
        (homonym,) = self.take(PARIS, 1)
        self.depart(PARIS, [*leaving, without_ine, homonym])
        await self.imports(PARIS)
        await self._said(leaving[0], PARIS, "not_arrived")

        for pupil in [*leaving, without_ine]:
            self.world.admits(BELLEVUE, pupil)
        self.world.admits(BELLEVUE, _namesake(homonym))
        await self.imports(BELLEVUE)
        await self._followed("departures first", PARIS, BELLEVUE, leaving)
        await self.stays("no INE", without_ine, "no_ine")
        await self.stays("INE given to a homonym", homonym, "identity_mismatch")
        listed = {pupil["pupil"]["id"]: pupil for pupil in await self.administrator(PARIS).transferable_pupils()}
        found = listed.get(str(without_ine.ids[PARIS.uai]))
        if found is None or found["automatic"]:
            raise DemoFailedError(f"{without_ine.name} is not in the list of transferable pupils: {found}")
        narrator.say(f"{without_ine.name} is in the list of transferable pupils (non automatisable) of {at(PARIS)}")

    async def arrivals_first(self) -> None:
        """Bobigny has the pupils in class before Perpignan says that they have left."""
        self.world.narrator.chapter("Arrivals first")
        leaving = self.take(PERPIGNAN, self._on_a_way)
        for pupil in leaving:
            self.world.admits(BOBIGNY, pupil)
        await self.imports(BOBIGNY)
        await self._said(leaving[0], BOBIGNY, "not_left")

        self._waiting_for_opt_in = self.take(PERPIGNAN, self._on_a_way + 1)
        half = len(leaving) // 2
        self.depart(PERPIGNAN, [*leaving[:half], *self._waiting_for_opt_in])
        for pupil in leaving[half:]:
            self.world.rosters[PERPIGNAN.uai].drops(pupil.sheet)
        await self.imports(PERPIGNAN)
        await self._followed("arrivals first", PERPIGNAN, BOBIGNY, leaving)

    async def opt_in_missing(self) -> None:
        """Others have gone from Perpignan to Caen, which has not activated transfers; one of them comes back."""
        self.world.narrator.chapter("Opt-in given last")
        returning, *others = self._waiting_for_opt_in
        for pupil in self._waiting_for_opt_in:
            self.world.admits(CAEN, pupil)
        self._gone_from_caen = self.take(CAEN, self.single_moves)
        self.depart(CAEN, self._gone_from_caen)
        await self.imports(CAEN)
        await self._said(others[0], PERPIGNAN, "destination_not_opted_in")

        self.world.rosters[PERPIGNAN.uai].lists(returning.sheet)
        imported = await self.imports(PERPIGNAN)
        if imported["counts"]["reactivated"] != 1:
            raise DemoFailedError(f"{returning.name} was not reactivated: {imported['counts']}")
        self._waiting_for_opt_in = others
        await self.stays("back before the move", returning, "not_left")

    async def opt_in_given(self) -> None:
        """Caen activates transfers."""
        await self.administrator(CAEN).chooses_transfers(enabled=True)
        self.world.narrator.say(f"{at(CAEN)} activates transfers")
        await self._followed("opt-in given last", PERPIGNAN, CAEN, self._waiting_for_opt_in)

    async def wrong_file(self) -> None:
        """Bobigny uploads the file of Paris."""
        narrator = self.world.narrator.chapter("Another school's file")
        zipped = self.world.rosters[PARIS.uai].export(self.world.school_year)
        imported = await self.administrator(BOBIGNY).imports(zipped)
        refusal = imported["refusal"]
        if imported["state"] != "failed" or refusal["code"] != "uai_of_another_school":
            raise DemoFailedError(f"{BOBIGNY.uai} was allowed the file of {PARIS.uai}: {imported}")
        narrator.say(f"{at(BOBIGNY)} uploads the file of {at(PARIS)}: refused")
        narrator.quote(f"{refusal['title']}. {refusal['detail']}")

    async def one_pupil_at_a_time(self) -> None:
        """Pupils who left Caen arrive in Paris one by one, each on an idle machine."""
        narrator = self.world.narrator.chapter("One pupil at a time")
        transfers: list[Json] = []
        with narrator.doing(f"{PARIS.uai} ← {CAEN.uai}  {len(self._gone_from_caen)} imports with one arrival each"):
            for pupil in self._gone_from_caen:
                self.world.admits(PARIS, pupil)
                await self.world.imports(PARIS)
                transfers += await self.moved(CAEN, PARIS, [pupil])
        self.note(Way(ONE_PUPIL, CAEN, PARIS, self._gone_from_caen, transfers))

    @property
    def _on_a_way(self) -> int:
        return self.pupils_a_school // _SHARE_OF_A_WAY

    def administrator(self, school: School) -> Administrator:
        return self.world.administrators[school.uai]

    def _invent_pupils(self, number: int, school: School) -> None:
        sheets = list(generate_pupils(self.pupils_a_school, number, school_year=self.world.school_year - 1))
        sheets[0] = replace(sheets[0], ine=None)
        self._bystanders[school.uai] = [self.world.lists(sheet, school) for sheet in sheets]

    def take(self, school: School, count: int, *, with_ine: bool = True) -> list[Pupil]:
        """Give so many pupils of the school a part in the story."""
        fitting = [pupil for pupil in self._bystanders[school.uai] if (pupil.sheet.ine is not None) == with_ine]
        for pupil in fitting[:count]:
            self._bystanders[school.uai].remove(pupil)
        return fitting[:count]

    def depart(self, school: School, pupils: Sequence[Pupil]) -> None:
        for pupil in pupils:
            self.world.rosters[school.uai].notes_departure(pupil.sheet)

    async def imports(self, school: School, *, school_year: int | None = None) -> Json:
        imported = await self.world.imports(school, school_year=school_year)
        counts = imported["counts"]
        told = [f"{counts[kind]} {kind}" for kind in ("created", "deactivated", "reactivated") if counts[kind]]
        confirmed = ", confirmed because it is of another school year" if imported["confirmed_by"] else ""
        self.world.narrator.say(f"{at(school)} imports its SIECLE file: {', '.join(told)}{confirmed}")
        return imported

    async def _said(self, pupil: Pupil, school: School, code: str) -> None:
        """Wait until a pupil's explanation has this code, and quote what it says."""
        explained = await self.explained(pupil, school, code)
        self.world.narrator.quote(f"{code}: {explained['explanation']}")

    async def explained(self, pupil: Pupil, school: School, code: str) -> Json:
        return await until(
            f"{pupil.name} at {school.uai} waits for {code}",
            lambda: self.administrator(school).explanation(pupil.ids[school.uai]),
            lambda explained: explained.get("code") == code,
        )

    async def stays(self, title: str, pupil: Pupil, code: str) -> None:
        await self.explained(pupil, pupil.origin, code)
        self.waits.append(Wait(title, pupil, code))
        self.world.narrator.say(f"the records of {pupil.name} stay at {at(pupil.origin)}: {title}")

    async def _followed(self, title: str, origin: School, destination: School, pupils: Sequence[Pupil]) -> None:
        with self.world.narrator.doing(f"the records of {len(pupils)} pupils: {at(origin)} → {at(destination)}"):
            transfers = await self.moved(origin, destination, pupils)
        self.note(Way(title, origin, destination, pupils, transfers))

    def note(self, way: Way) -> None:
        self.ways.append(way)
        for pupil in way.pupils:
            pupil.home = way.destination

    async def moved(self, origin: School, destination: School, pupils: Sequence[Pupil]) -> list[Json]:
        """Wait until the transfers of these pupils are completed."""
        wanted = {str(pupil.ids[origin.uai]) for pupil in pupils}

        async def look() -> list[Json]:
            transfers = await self.administrator(origin).outgoing("completed")
            return [
                transfer
                for transfer in transfers
                if transfer["pupil"]["id"] in wanted and transfer["other_establishment"]["uai"] == destination.uai
            ]

        expected = f"{len(pupils)} transfers from {origin.uai} to {destination.uai} are completed"
        return await until(expected, look, lambda found: len(found) >= len(wanted))


def at(school: School) -> str:
    return f"{school.uai} ({school.place})"


def _namesake(pupil: Pupil) -> Pupil:
    """Another person of that name, to whom the number was given by mistake."""
    sheet = replace(pupil.sheet, birth_date=pupil.sheet.birth_date + timedelta(days=400))
    return Pupil(sheet, origin=pupil.origin, home=pupil.home)


def _logo(school: School) -> bytes:
    image = Image.new("RGB", (240, 120), "white")
    ImageDraw.Draw(image).text((20, 50), school.uai, fill="navy")
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
