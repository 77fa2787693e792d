"""Invented schools: the same for the same seed, of any size, and true to what they say of their pupils."""

import tracemalloc
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from typer.testing import CliRunner

from cpro_contracts.identifiers import parse_ine
from cpro_test_support.siecle_samples import (
    RecordStyle,
    SamplePupil,
    generate_pupils,
    siecle_xml,
    write_siecle_xml,
)
from cpro_test_support.siecle_samples.cli import app
from cpro_test_support.siecle_samples.mobility import ChangeKind, Mobility, Round, academy
from cpro_test_support.siecle_samples.variations import ALL

UAI = "0752387M"
HOW_TO = Path(__file__).parents[3] / "docs/how-to/make-sample-files.md"
BUSY = Mobility(leaving=0.25, returning=0.5, changing_name=0.05, with_mistaken_ine=0.05, without_ine=0.1)


class Nowhere(BytesIO):
    """Counts what it is given and keeps nothing."""

    size = 0

    def write(self, chunk: Any) -> int:
        self.size += len(chunk)
        return len(chunk)


def rounds(number: int = 4) -> list[Round]:
    return list(academy(5, 120, 7, mobility=BUSY, rounds=number))


def test_a_full_record_says_what_real_ones_do_and_every_pupil_has_their_own_values() -> None:
    xml = siecle_xml(UAI, list(generate_pupils(60, 1)), style=RecordStyle.FULL, blocks=("ELEVES", "OPTIONS", "BOURSES"))

    root = etree.fromstring(xml)

    pupils = root.findall("DONNEES/ELEVES/ELEVE")
    for tag in (
        "ADRESSE_ID",
        "TEL_PORTABLE",
        "DATE_MODIFICATION",
        "CODE_PAYS_NAT",
        "ADHESION_TRANSPORT",
        "VILLE_NAISS",
    ):
        assert all(pupil.find(tag) is not None for pupil in pupils), tag
    assert all(len(pupil.findall("SCOLARITE_AN_DERNIER/*")) >= 10 for pupil in pupils)
    assert all(len(option.findall("OPTIONS_ELEVE")) > 1 for option in root.findall("DONNEES/OPTIONS/OPTION"))
    assert 0 < len(root.findall("DONNEES/BOURSES/BOURSES_ELEVE")) < len(pupils)
    assert len({pupil.findtext("ADRESSE_ID") for pupil in pupils}) == len(pupils)


@pytest.mark.parametrize("style", list(RecordStyle))
def test_a_file_of_any_length_is_written_in_the_same_memory(style: RecordStyle) -> None:
    def pupils() -> Iterator[SamplePupil]:
        return generate_pupils(5_000, 1)

    sink = Nowhere()
    write_siecle_xml(sink, UAI, lambda: generate_pupils(10, 1), style=style)
    tracemalloc.start()
    write_siecle_xml(sink, UAI, pupils, style=style)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sink.size > 4_000_000
    assert peak < 500_000


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_pupils() -> None:
    def written(seed: int) -> bytes:
        out = BytesIO()
        write_siecle_xml(out, UAI, lambda: generate_pupils(50, seed), style=RecordStyle.FULL)
        return out.getvalue()

    assert written(1) == written(1)
    assert not {pupil.ine for pupil in generate_pupils(50, 1)} & {pupil.ine for pupil in generate_pupils(50, 2)}


def test_the_same_seed_gives_the_same_rounds_of_a_set_of_schools() -> None:
    assert rounds() == rounds()
    assert rounds()[0] != next(academy(5, 120, 8, mobility=BUSY))


def test_who_arrives_from_a_school_of_the_set_is_the_person_who_left_it() -> None:
    before, after = rounds(2)
    was = {(export.uai, pupil.siecle_id): pupil for export in before.exports for pupil in export.pupils}
    leaving = {
        (change.uai, change.other_uai): change.siecle_id for change in after.changes if change.kind is ChangeKind.LEFT
    }
    known = {(pupil.family_name, pupil.first_name, pupil.birth_date) for pupil in was.values()}
    arrived = [
        (change, pupil)
        for change in after.changes
        if change.kind is ChangeKind.ARRIVED and change.other_uai is not None
        for export in after.exports
        if export.uai == change.uai
        for pupil in export.pupils
        if pupil.siecle_id == change.siecle_id
    ]

    assert len(arrived) > 50
    for change, pupil in arrived:
        assert (change.other_uai, change.uai) in leaving
        assert (pupil.family_name, pupil.first_name, pupil.birth_date) in known
        assert pupil.division is not None
        assert pupil.leaving_date is None
        assert pupil.previous_uai in {None, change.other_uai}
    assert len({pupil.previous_uai for _, pupil in arrived} - {None}) == 5


def test_leavers_are_said_with_a_date_and_a_reason_or_are_no_longer_in_the_file() -> None:
    _, after = rounds(2)
    now = {(export.uai, pupil.siecle_id): pupil for export in after.exports for pupil in export.pupils}
    last_day = after.exported_at.date()

    left = [now.get((change.uai, change.siecle_id)) for change in after.changes if change.kind is ChangeKind.LEFT]

    dated = [pupil for pupil in left if pupil is not None]
    assert 0 < len(dated) < len(left)
    for pupil in dated:
        assert pupil.leaving_date is not None
        assert pupil.leaving_reason is not None
        assert pupil.division is not None
        assert (pupil.entry_date or pupil.leaving_date) <= pupil.leaving_date <= last_day


def test_over_a_few_rounds_everything_happens_and_schools_keep_their_size() -> None:
    made = rounds()

    assert {change.kind for each in made for change in each.changes} == set(ChangeKind)
    for export in made[-1].exports:
        present = [pupil for pupil in export.pupils if pupil.leaving_date is None]
        assert len(present) >= 120
        assert all(pupil.ine is None or parse_ine(pupil.ine) for pupil in export.pupils)
        numbers = [pupil.ine for pupil in present if pupil.ine]
        assert len(set(numbers)) == len(numbers)
        assert len({pupil.siecle_id for pupil in export.pupils}) == len(export.pupils)


def test_the_command_line_writes_a_school_with_variations(tmp_path: Path) -> None:
    path = tmp_path / "eleves.xml"

    result = CliRunner().invoke(app, ["school", UAI, str(path), "--pupils", "5", "--with", "utf-8", "--with", "no-ine"])

    assert (result.exit_code, "5 pupils" in result.output) == (0, True)
    pupils = etree.fromstring(path.read_bytes()).findall("DONNEES/ELEVES/ELEVE")
    assert [pupil.find("ID_NATIONAL") is None for pupil in pupils] == [False, False, True, False, False]
    assert path.read_bytes().startswith(b'<?xml version="1.0" encoding="UTF-8"?>')


def test_the_command_line_writes_a_set_of_schools_before_and_after(tmp_path: Path) -> None:
    arguments = ["academy", str(tmp_path), "--schools", "3", "--pupils", "40", "--mobility", "0.25", "--seed", "4"]

    result = CliRunner().invoke(app, arguments)

    names = sorted(path.name for path in tmp_path.rglob("*.zip"))
    assert result.exit_code == 0
    assert names == ["after-ExportXML_ElevesSansAdresses.zip"] * 3 + ["before-ExportXML_ElevesSansAdresses.zip"] * 3


def test_the_commands_of_the_how_to_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [line.split()[1:] for line in HOW_TO.read_text().splitlines() if line.startswith("cpro-siecle-samples ")]

    ended = [CliRunner().invoke(app, command).exit_code for command in commands]

    assert ended == [0] * 6
    assert len(list(tmp_path.rglob("*.zip"))) == 3 + 2 * 20 + 6 * 4


def test_the_command_line_lists_every_variation_with_its_end_and_knows_no_other(tmp_path: Path) -> None:
    listed = CliRunner().invoke(app, ["--list-variations"])
    unknown = CliRunner().invoke(app, ["school", UAI, str(tmp_path / "x.zip"), "--with", "nothing"])

    assert (listed.exit_code, unknown.exit_code) == (0, 2)
    assert [line.split()[0] for line in listed.output.splitlines()] == [variation.name for variation in ALL]
    assert "failed no_structures" in listed.output
