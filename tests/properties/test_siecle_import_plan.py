"""The difference that runs in SQL is the one that `domain.plan` specifies, on invented schools and files."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cpro_contracts.identifiers import IneStatus, MatchSecret
from cpro_platform.clock import SystemClock
from cpro_platform.database import create_database, database_conninfo
from cpro_platform.migrations import upgrade
from cpro_siecle_import.adapters.incoming_rows import division_rows, pupil_rows
from cpro_siecle_import.adapters.roster import TenantRosterWork
from cpro_siecle_import.domain.lines import DivisionLine, PupilLine, read_pupil
from cpro_siecle_import.domain.plan import Kind, KnownPupil, Outcome, Plan, plan
from cpro_tenant_db.provisioning import MIGRATIONS
from cpro_test_support.depth import examples
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import bea_ine, rnie_ine

UAI = "0752387M"
REFERENCE = date(2026, 9, 15)
SIECLE_IDS = ("1", "2", "3", "4", "5")
NUMBERS = (rnie_ine(1), rnie_ine(2), rnie_ine(3), bea_ine(1), bea_ine(2))
WRONG_KEY, NO_NUMBER = "123456789AA", "???"
BORN = (date(2009, 1, 2), date(2009, 1, 2), date(2010, 5, 6))
NAMES = ("BŒUF", "boeuf", "Bœuf", "LE-GALL", "李")

BORN_WORDS = [f"{born:%d/%m/%Y}" for born in BORN]

days = st.sampled_from([None, None, None, "14/09/2026", "15/09/2026", "16/09/2026"])


@st.composite
def known_pupils(draw: st.DrawFn) -> list[KnownPupil]:
    """A school: trusted INE are unique in it, everything else may repeat."""
    pupils: list[KnownPupil] = []
    free = list(NUMBERS)
    for rank in range(draw(st.integers(0, 5))):
        ine = draw(st.sampled_from([None, *free]))
        if ine is not None:
            free.remove(ine)
        status = draw(st.sampled_from([IneStatus.ABSENT, IneStatus.NOT_TRUSTED])) if ine is None else IneStatus.TRUSTED
        pupils.append(
            KnownPupil(
                id=draw(st.uuids(version=4)),
                rank=rank,
                siecle_id=draw(st.sampled_from([None, *SIECLE_IDS])),
                ine=ine,
                ine_status=status,
                aliases=draw(st.frozensets(st.sampled_from(NUMBERS), max_size=2)),
                family_name=draw(st.sampled_from(NAMES)),
                first_name=draw(st.sampled_from(NAMES)),
                birth_date=draw(st.sampled_from(BORN)),
                active=draw(st.booleans()),
                from_siecle=draw(st.sampled_from([True, True, True, False])),
            )
        )
    return list({pupil.id: pupil for pupil in pupils}.values())


@st.composite
def schools_and_files(draw: st.DrawFn) -> tuple[list[KnownPupil], list[PupilLine], list[DivisionLine]]:
    """A school and a file about it: lines speak of known pupils, of others, and mix them up."""
    known = draw(known_pupils())
    file: list[PupilLine] = []
    placed: list[DivisionLine] = []
    for number in range(draw(st.integers(0, 6))):
        words, numbers = draw(_line(known))
        file.append(read_pupil(number + 1, words, numbers))
        divisions = draw(st.sampled_from([("4 D",), ("4 D",), ("4 D",), (), ("4 D", "301")]))
        placed.append(DivisionLine(number + 50, words["siecle_id"], divisions))
    return known, file, placed + draw(st.lists(st.just(DivisionLine(99, "77", ("4 D",))), max_size=1))


@st.composite
def _line(draw: st.DrawFn, known: list[KnownPupil]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a line says: each field from the pupil whom it is about, or from anywhere."""
    about = draw(st.sampled_from([None, *known, *known]))

    def either(own: str | None, others: Sequence[str | None]) -> str | None:
        return own if about is not None and draw(st.integers(0, 3)) else draw(st.sampled_from(others))

    fields = {
        "siecle_id": either(about.siecle_id if about else None, [*SIECLE_IDS, *SIECLE_IDS, "x"]) or "9",
        "family_name": either(about.family_name if about else None, NAMES),
        "first_name": either(about.first_name if about else None, NAMES),
        "birth_date": either(f"{about.birth_date:%d/%m/%Y}" if about else None, [*BORN_WORDS, *BORN_WORDS, None]),
        "leaving_date": draw(days),
    }
    number = either(about.ine if about else None, [None, *NUMBERS, WRONG_KEY, NO_NUMBER])
    others = draw(st.lists(st.sampled_from(NUMBERS), max_size=1)) if draw(st.integers(0, 4)) == 0 else []
    words = {name: value for name, value in fields.items() if value is not None}
    return words, tuple(filter(None, [number, *others]))


def _known(siecle_id: str | None, ine: str | None) -> KnownPupil:
    status = IneStatus.TRUSTED if ine else IneStatus.ABSENT
    return KnownPupil(UUID(int=1), 0, siecle_id, ine, status, frozenset(), "BŒUF", "BŒUF", BORN[0], True, True)


def _said(siecle_id: str, ine: str | None, born: str) -> PupilLine:
    words = {"siecle_id": siecle_id, "family_name": "boeuf", "first_name": "boeuf", "birth_date": born}
    return read_pupil(1, words, (ine,) if ine else ())


PLACED = [DivisionLine(50, "1", ("4 D",)), DivisionLine(51, "2", ("4 D",))]
TWO_LINES_FIT_ONE_NAME = (
    [_known(None, None)],
    [_said("1", None, BORN_WORDS[0]), _said("2", None, BORN_WORDS[0])],
    PLACED,
)
AN_INE_KEPT_BY_A_LINE_WITHOUT_ONE = (
    [_known("1", NUMBERS[0])],
    [_said("1", None, BORN_WORDS[0]), _said("2", NUMBERS[0], BORN_WORDS[2])],
    PLACED,
)


@dataclass
class Tenant:
    """A tenant's database in which every example is rolled back."""

    conninfo: str
    runner: asyncio.Runner

    def plan(
        self, known: list[KnownPupil], file: list[PupilLine], placed: list[DivisionLine]
    ) -> tuple[Plan, dict[str, int]]:
        """What the SQL makes of it."""
        return self.runner.run(self._plan(known, file, placed))

    async def _plan(
        self, known: list[KnownPupil], file: list[PupilLine], placed: list[DivisionLine]
    ) -> tuple[Plan, dict[str, int]]:
        async with await psycopg.AsyncConnection.connect(self.conninfo) as tx:
            await _insert(tx, known)
            work = TenantRosterWork(tx, UAI)
            await work.receive(pupil_rows(file, MatchSecret(1, b"k")), division_rows(placed))
            planned = await work.plan(REFERENCE)
            outcomes = await (
                await tx.execute("""
                    SELECT CASE WHEN kind <> 'created' THEN pupil_id END, l.siecle_id, p.siecle_id, kind, o.ine,
                        o.ine_status
                    FROM outcome o LEFT JOIN pupil_line l USING (ordinal) LEFT JOIN pupil p ON p.id = o.pupil_id
                    UNION ALL
                    SELECT p.id, p.siecle_id, p.siecle_id, 'unchanged', p.ine, p.ine_status
                    FROM matched m JOIN pupil p ON p.id = m.pupil_id WHERE m.unchanged
                """)
            ).fetchall()
            await work.describe(uuid4(), SystemClock().now(), applying=False)
            remarks = await (await tx.execute("SELECT code, siecle_id FROM siecle_import_finding")).fetchall()
            await tx.rollback()
        found = frozenset(_outcome(row) for row in outcomes)
        counts = planned.counts
        return Plan(found, frozenset((code, siecle_id) for code, siecle_id in remarks)), {
            "created": counts.created,
            "reactivated": counts.reactivated,
            "deactivated": counts.deactivated,
        }


def _outcome(row: tuple[UUID | None, str | None, str | None, str, str | None, str]) -> Outcome:
    pupil_id, in_file, before, kind, ine, status = row
    known = Kind(kind) if kind in set(Kind) else Kind.KEPT
    return Outcome(pupil_id, in_file or before, known, ine, IneStatus(status))


async def _insert(tx: psycopg.AsyncConnection[tuple[object, ...]], known: list[KnownPupil]) -> None:
    async with tx.cursor() as cursor:
        for pupil in known:
            await cursor.execute(
                """
                INSERT INTO pupil (id, siecle_id, ine, ine_status, family_name, first_name, birth_date, source, active,
                    match_key, division, created_at)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '2026-01-01'::timestamptz + %s * interval '1 second')
                """,
                (
                    pupil.id, pupil.siecle_id, pupil.ine, pupil.ine_status, pupil.family_name, pupil.first_name,
                    pupil.birth_date, "siecle" if pupil.from_siecle else "manual", pupil.active,
                    f"ine:1:{pupil.ine}" if pupil.ine else f"pupil:{UAI}:{pupil.id}",
                    "301" if pupil.id.int % 4 == 0 else "4 D", pupil.rank,
                ),
            )  # fmt: skip
            for alias in pupil.aliases:
                await cursor.execute("INSERT INTO pupil_ine_alias VALUES (%s, %s)", (pupil.id, alias))


@pytest.fixture(scope="module")
def tenant(servers: Servers) -> Iterator[Tenant]:
    cluster = servers.endpoints.postgres_clusters["north"]
    name = f"cpro_tenant_plan_{uuid4().hex[:8]}"
    with asyncio.Runner() as runner:
        runner.run(create_database(cluster, name))
        upgrade(database_conninfo(cluster, name), MIGRATIONS)
        yield Tenant(database_conninfo(cluster, name), runner)


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(school=schools_and_files())
@example(TWO_LINES_FIT_ONE_NAME)
@example(AN_INE_KEPT_BY_A_LINE_WITHOUT_ONE)
def test_the_set_wise_difference_is_the_specified_one(
    tenant: Tenant, school: tuple[list[KnownPupil], list[PupilLine], list[DivisionLine]]
) -> None:
    known, file, placed = school
    expected = plan(known, file, placed, REFERENCE)

    found, counts = tenant.plan(known, file, placed)

    assert found.outcomes == expected.outcomes
    assert found.remarks == expected.remarks
    for kind in ("created", "reactivated", "deactivated"):
        assert counts[kind] == sum(outcome.kind == kind for outcome in expected.outcomes)
