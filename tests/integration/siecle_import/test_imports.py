"""What an import does to a school's pupils, and what it says to the rest of the world."""

from dataclasses import replace
from datetime import date, timedelta

from cpro_contracts.pupils import PupilCreated, PupilDeactivated
from cpro_test_support.import_world import EXPORT_DAY, YEAR, School, pupil_events
from cpro_test_support.servers import Servers
from cpro_test_support.siecle_samples import SamplePupil, generate_pupils, rnie_ine


def roster(count: int, seed: int = 1) -> list[SamplePupil]:
    return list(generate_pupils(count, seed, school_year=YEAR))


async def test_a_first_import_creates_the_pupils_and_publishes_each_under_the_key_of_its_ine(
    school: School, servers: Servers
) -> None:
    pupils = roster(40)

    done = await school.imports(pupils)

    rows, events = await school.pupils(), await pupil_events(servers, school.uai, 40)
    assert (done["state"], done["counts"]["created"], done["counts"]["present"]) == ("completed", 40, 40)
    assert {p.siecle_id: (p.ine, p.family_name, p.first_name, p.birth_date, p.division) for p in pupils} == {
        key: (row["ine"], row["family_name"], row["first_name"], row["birth_date"], row["division"])
        for key, row in rows.items()
    }
    assert {(type(event), event.match_key) for event in events} == {(PupilCreated, school.key(p.ine)) for p in pupils}
    assert {event.revision for event in events} == {row["revision"] for row in rows.values()}
    assert {event.pupil_id for event in events} == {row["id"] for row in rows.values()}


async def test_no_name_birth_date_or_ine_is_in_an_event(school: School) -> None:
    pupils = [replace(pupil, family_name="ZZCANARI", ine=rnie_ine(900_000_001)) for pupil in roster(1)]

    await school.imports(pupils)

    (event,) = await school.outbox()
    said = str(event)
    assert not [word for word in ("ZZCANARI", rnie_ine(900_000_001), pupils[0].birth_date.isoformat()) if word in said]


async def test_a_file_that_changes_nothing_writes_no_pupil_and_says_nothing(school: School) -> None:
    pupils = roster(30)
    await school.imports(pupils)
    before, said = await school.rows("SELECT xmin, ctid, * FROM pupil ORDER BY id"), await school.outbox()

    done = await school.imports(pupils)

    assert (done["counts"]["unchanged"], done["counts"]["updated"], done["counts"]["created"]) == (30, 0, 0)
    assert await school.rows("SELECT xmin, ctid, * FROM pupil ORDER BY id") == before
    assert await school.outbox() == said


async def test_who_left_and_who_is_no_longer_in_the_file_are_deactivated(school: School, servers: Servers) -> None:
    pupils = roster(40)
    await school.imports(pupils)
    left_on = EXPORT_DAY - timedelta(days=3)

    done = await school.imports([pupils[0].leaves(left_on), *pupils[2:]])

    rows = await school.pupils()
    assert done["counts"]["deactivated"] == 2
    assert await school.active() == {pupil.siecle_id for pupil in pupils[2:]}
    assert rows[pupils[0].siecle_id]["leaving_date"] == left_on
    assert rows[pupils[1].siecle_id]["leaving_date"] is None
    left = [e for e in await pupil_events(servers, school.uai, 42) if isinstance(e, PupilDeactivated)]
    assert {(e.match_key, e.left_at.date() if e.left_at else None) for e in left} == {
        (school.key(pupils[0].ine), left_on),
        (school.key(pupils[1].ine), None),
    }


async def test_a_class_and_a_leaving_date_to_come_mean_present(school: School) -> None:
    (pupil,) = roster(1)

    await school.imports([pupil.leaves(EXPORT_DAY + timedelta(days=1))])

    assert await school.active() == {pupil.siecle_id}


async def test_a_pupil_with_neither_class_nor_leaving_date_is_left_as_they_are_and_reported(school: School) -> None:
    pupils = roster(6)
    await school.imports(pupils)

    done = await school.imports([replace(pupils[0], division=None), *pupils[1:]])

    assert (done["counts"]["not_arrived"], done["counts"]["deactivated"]) == (1, 0)
    assert await school.active() == {pupil.siecle_id for pupil in pupils}
    assert [f["code"] for f in await school.items(f"{done['id']}/rejections")] == ["not_arrived"]


async def test_a_pupil_who_comes_back_is_reactivated_and_keeps_the_same_row(school: School) -> None:
    pupils = roster(10)
    await school.imports(pupils)
    await school.imports(pupils[1:])
    gone = (await school.pupils())[pupils[0].siecle_id]

    done = await school.imports(pupils)

    back = (await school.pupils())[pupils[0].siecle_id]
    assert (done["counts"]["reactivated"], back["active"], back["id"]) == (1, True, gone["id"])
    assert back["revision"] > gone["revision"]
    assert (await school.said(11)) == [("reactivated", school.key(pupils[0].ine))]


async def test_an_update_of_names_and_class_is_written_and_not_published(school: School) -> None:
    pupils = roster(3)
    await school.imports(pupils)

    done = await school.imports([replace(pupils[0], usage_name="MARTIN", division="T NEUVE"), *pupils[1:]])

    (change,) = await school.items(f"{done['id']}/changes")
    assert (done["counts"]["updated"], done["counts"]["unchanged"]) == (1, 2)
    assert (change["kind"], change["before"]) == ("updated", {"usage_name": None, "division": pupils[0].division})
    assert change["after"] == {"usage_name": "MARTIN", "division": "T NEUVE"}
    assert len(await school.outbox()) == 3


async def test_a_corrected_ine_withdraws_the_old_key_and_announces_the_new_one(school: School) -> None:
    pupils = roster(3)
    await school.imports(pupils)
    corrected = replace(pupils[0], ine=rnie_ine(900_000_002))

    await school.imports([corrected, *pupils[1:]])

    row = (await school.pupils())[corrected.siecle_id]
    assert await school.said(3) == [("withdrawn", school.key(pupils[0].ine)), ("created", school.key(corrected.ine))]
    assert (row["ine"], row["match_key"]) == (corrected.ine, school.key(corrected.ine))
    aliases = await school.rows("SELECT ine FROM pupil_ine_alias WHERE pupil_id = %s", row["id"])
    assert {alias["ine"] for alias in aliases} == {pupils[0].ine}


async def test_an_ine_that_was_missing_is_completed(school: School) -> None:
    pupils = [replace(pupil, ine=None) for pupil in roster(1)]
    await school.imports(pupils)
    (without,) = await school.said()
    completed = replace(pupils[0], ine=rnie_ine(900_000_003))

    await school.imports([completed])

    row = (await school.pupils())[completed.siecle_id]
    assert without == ("created", f"pupil:{school.uai}:{row['id']}")
    assert await school.said(1) == [("withdrawn", without[1]), ("created", school.key(completed.ine))]
    assert row["ine_status"] == "trusted"


async def test_a_file_without_the_ine_takes_none_away(school: School) -> None:
    pupils = roster(2)
    await school.imports(pupils)

    done = await school.imports([replace(pupils[0], ine=None), pupils[1]])

    assert done["counts"]["unchanged"] == 2
    assert (await school.pupils())[pupils[0].siecle_id]["ine"] == pupils[0].ine


async def test_a_pupil_created_again_in_siecle_is_recognised_by_ine_and_birth_date(school: School) -> None:
    pupils = roster(2)
    await school.imports(pupils)
    before = (await school.pupils())[pupils[0].siecle_id]["id"]

    await school.imports([replace(pupils[0], siecle_id="9999999"), pupils[1]])

    assert (await school.pupils())["9999999"]["id"] == before
    assert len(await school.outbox()) == 2


async def test_an_ine_given_to_another_pupil_of_the_school_is_not_believed(school: School) -> None:
    pupils = roster(2)
    await school.imports(pupils)
    homonym = replace(pupils[0], siecle_id="8888888", birth_date=pupils[0].birth_date + timedelta(days=400))

    done = await school.imports([pupils[1], homonym])

    rows = await school.pupils()
    assert (rows["8888888"]["ine"], rows["8888888"]["ine_status"]) == (None, "not_trusted")
    assert rows[pupils[0].siecle_id]["active"] is False
    assert [f["code"] for f in await school.items(f"{done['id']}/rejections")] == ["ine_held_by_another"]
    assert set(await school.said(2)) == {
        ("deactivated", school.key(pupils[0].ine)),
        ("created", f"pupil:{school.uai}:{rows['8888888']['id']}"),
    }


async def test_two_pupils_may_exchange_their_ine(school: School) -> None:
    first, second = roster(2)
    await school.imports([first, second])

    done = await school.imports([replace(first, ine=second.ine), replace(second, ine=first.ine)])

    rows = await school.pupils()
    assert done["state"] == "completed"
    assert (rows[first.siecle_id]["match_key"], rows[second.siecle_id]["match_key"]) == (
        school.key(second.ine),
        school.key(first.ine),
    )
    by_key = {row["key"]: row["type"] for row in sorted(await school.outbox(), key=lambda e: e["payload"]["revision"])}
    assert set(by_key.values()) == {"cpro.pupil.created.v1"}


async def test_a_pupil_created_by_hand_is_left_alone_by_absence_and_adopted_once_in_the_file(school: School) -> None:
    (pupil, other) = roster(2)
    await school.rows(
        """
        INSERT INTO pupil (family_name, first_name, birth_date, source, match_key)
        VALUES (%s, %s, %s, 'manual', 'pupil:' || %s || ':by-hand')
        """,
        pupil.family_name.title(),
        pupil.first_name.upper(),
        pupil.birth_date,
        school.uai,
    )

    await school.imports([other])
    (alone,) = await school.rows("SELECT * FROM pupil WHERE source = 'manual'")
    await school.imports([pupil, other])

    adopted = (await school.pupils())[pupil.siecle_id]
    assert alone["active"] is True
    assert (adopted["id"], adopted["source"], adopted["ine"]) == (alone["id"], "siecle", pupil.ine)
    assert await school.said(1) == [
        ("withdrawn", f"pupil:{school.uai}:by-hand"),
        ("created", school.key(pupil.ine)),
    ]


async def test_a_rejected_line_is_reported_and_protects_the_pupil_whom_it_names(school: School) -> None:
    pupils = roster(10)
    await school.imports(pupils)
    broken = f"<ELEVE ELEVE_ID='{pupils[0].siecle_id}'><NOM_DE_FAMILLE>A</NOM_DE_FAMILLE><PRENOM>B</PRENOM></ELEVE>"
    by_ine = (
        f"<ELEVE ELEVE_ID='5'><ID_NATIONAL>{pupils[1].ine}</ID_NATIONAL><NOM_DE_FAMILLE>A</NOM_DE_FAMILLE>"
        "<PRENOM>B</PRENOM><DATE_NAISS>31/02/2009</DATE_NAISS></ELEVE>"
    )

    done = await school.imports(school.xml(pupils[2:], raw_pupils=[broken, by_ine]))

    found = await school.items(f"{done['id']}/rejections", severity="rejection")
    assert [(f["code"], f["siecle_id"], f["found"]) for f in found] == [
        ("birth_date_missing", pupils[0].siecle_id, None),
        ("birth_date_invalid", "5", "31/02/2009"),
    ]
    assert (done["counts"]["rejected"], done["counts"]["deactivated"]) == (2, 0)
    assert len(await school.active()) == 10


async def test_the_same_ine_on_two_pupils_rejects_both_and_never_chooses(school: School) -> None:
    first, second, third = roster(3)

    done = await school.imports([first, replace(second, ine=first.ine), third])

    assert set(await school.pupils()) == {third.siecle_id}
    assert {f["code"] for f in await school.items(f"{done['id']}/rejections")} == {"ine_repeated"}


async def test_structures_before_the_pupils_are_understood(school: School) -> None:
    pupils = roster(5)

    await school.imports(school.xml(pupils, blocks=("BOURSES", "STRUCTURES", "ADRESSES", "ELEVES", "OPTIONS")))

    assert {row["division"] for row in (await school.pupils()).values()} == {pupil.division for pupil in pupils}


async def test_a_return_after_the_records_moved_is_reactivated_like_any_other(school: School) -> None:
    pupils = roster(8)
    await school.imports(pupils)
    await school.imports(pupils[1:])
    await school.rows(
        "UPDATE pupil SET records_moved_at = now(), records_moved_to = '0750680G' WHERE siecle_id = %s",
        pupils[0].siecle_id,
    )

    done = await school.imports(pupils)

    assert done["counts"]["reactivated"] == 1
    assert await school.said(9) == [("reactivated", school.key(pupils[0].ine))]


async def test_the_birth_date_is_what_makes_an_ine_count(school: School) -> None:
    (pupil,) = roster(1)
    await school.imports([pupil])
    corrected = replace(pupil, birth_date=date(2009, 5, 17))

    done = await school.imports([corrected])

    assert (done["counts"]["created"], done["counts"]["deactivated"]) == (1, 1)
    (created,) = [row for row in await school.rows("SELECT * FROM pupil") if row["birth_date"] == date(2009, 5, 17)]
    assert created["ine_status"] == "not_trusted"
