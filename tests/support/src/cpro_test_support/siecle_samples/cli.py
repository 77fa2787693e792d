"""`cpro-siecle-samples`: write the pupil files of invented schools."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cpro_contracts.identifiers import parse_uai
from cpro_test_support.siecle_samples.files import EXPORTED_AT, ZIP_NAME, SampleFile
from cpro_test_support.siecle_samples.mobility import Mobility, academy
from cpro_test_support.siecle_samples.pupils import SamplePupil, generate_pupils
from cpro_test_support.siecle_samples.records import RecordStyle
from cpro_test_support.siecle_samples.variations import ALL, BY_NAME, Variation, vary

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Write the national pupil files of invented schools."
)
Seed = Annotated[int, typer.Option(min=0, max=499, help="the same seed gives the same pupils")]
Style = Annotated[RecordStyle, typer.Option(help="how much each record says")]
SchoolYear = Annotated[int, typer.Option(help="2026 for 2026-2027")]
ExportedAt = Annotated[datetime, typer.Option(help="when the file says it was made (UTC)")]
_EXPORTED_AT = EXPORTED_AT.replace(tzinfo=None)


def _list_variations(asked: bool) -> None:
    if not asked:
        return
    widest = max(len(variation.name) for variation in ALL)
    for variation in ALL:
        typer.echo(f"{variation.name:{widest}}  {variation.says}: {_ends(variation)}")
    raise typer.Exit


ListVariations = Annotated[
    bool,
    typer.Option(
        "--list-variations",
        callback=_list_variations,
        is_eager=True,
        help="list what --with takes, and what the import makes of each",
    ),
]


@app.callback()
def _options(*, list_variations: ListVariations = False) -> None:
    """Only invented names and numbers; the keys of the INE are right."""


@app.command()
def school(
    uai: Annotated[str, typer.Argument(help="the school's UAI")],
    destination: Annotated[Path, typer.Argument(help="a .zip or .xml file")],
    *,
    pupils: Annotated[int, typer.Option(min=0, help="how many pupils")] = 300,
    seed: Seed = 1,
    leavers: Annotated[int, typer.Option(min=0, help="how many of them, the first ones, have left")] = 0,
    missing: Annotated[int, typer.Option(min=0, help="how many of them, the last ones, the file no longer names")] = 0,
    without_ine: Annotated[float, typer.Option(min=0, max=1, help="share of pupils without an INE")] = 0.03,
    school_year: SchoolYear = 2026,
    exported_at: ExportedAt = _EXPORTED_AT,
    style: Style = RecordStyle.FULL,
    variations: Annotated[
        list[str] | None, typer.Option("--with", help="a variation of --list-variations; as often as you like")
    ] = None,
    list_variations: ListVariations = False,
) -> None:
    """Write the file of one school: zipped as the ministry's application does, or bare where the name ends in .xml."""
    chosen = [_variation(name) for name in variations or ()]
    moment = exported_at.replace(tzinfo=UTC)
    left_on = (moment - timedelta(days=1)).date()
    number = max(pupils - missing, 0)

    def roster() -> Iterator[SamplePupil]:
        every = generate_pupils(number, seed, school_year=school_year, without_ine_ratio=without_ine)
        for position, pupil in enumerate(every):
            yield pupil.leaves(left_on) if position < leavers else pupil

    file = SampleFile(parse_uai(uai), roster, school_year=school_year, exported_at=moment, style=style)
    _write(vary(file, chosen), destination)
    typer.echo(f"{destination}: {number} pupils, {destination.stat().st_size} bytes")


@app.command(name="academy")
def _academy(
    destination: Annotated[Path, typer.Argument(help="a folder; each school gets one inside")],
    *,
    schools: Annotated[int, typer.Option(min=1, help="how many schools")] = 5,
    pupils: Annotated[int, typer.Option(min=1, help="how many pupils each has at first")] = 300,
    mobility: Annotated[float, typer.Option(min=0, max=1, help="share of pupils who leave between two exports")] = 0.10,
    exports: Annotated[int, typer.Option(min=1, help="how many files each school makes")] = 2,
    seed: Seed = 1,
    school_year: SchoolYear = 2026,
    exported_at: ExportedAt = _EXPORTED_AT,
    days_between: Annotated[int, typer.Option(min=1, help="from one export to the next")] = 21,
    style: Style = RecordStyle.FULL,
) -> None:
    """Write the files of a set of schools, before and after: pupils leave, arrive, return and are corrected."""
    rounds = academy(
        schools, pupils, seed,
        mobility=Mobility(leaving=mobility), rounds=exports, school_year=school_year,
        first_export=exported_at.replace(tzinfo=UTC), days_between=days_between,
    )  # fmt: skip
    for number, made in enumerate(rounds):
        for export in made.exports:
            path = destination / export.uai / f"{_of_round(number, exports)}-{ZIP_NAME}"
            path.parent.mkdir(parents=True, exist_ok=True)
            file = export.file(school_year=school_year, exported_at=made.exported_at, style=style)
            _write(file, path)
        kinds = [str(change.kind) for change in made.changes]
        happened = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))) or "as they begin"
        typer.echo(f"{made.exported_at:%d/%m/%Y}: {len(made.exports)} schools, {happened}")


def main() -> None:
    """The console script."""
    app()


def _of_round(number: int, exports: int) -> str:
    return ("before", "after")[number] if exports == 2 else f"{number + 1:02d}"


def _write(file: SampleFile, destination: Path) -> None:
    with destination.open("wb") as out:
        if destination.suffix == ".xml" and file.packing is None:
            file.write_xml(out)
        else:
            file.write_packed(out)


def _variation(name: str) -> Variation:
    if name not in BY_NAME:
        raise typer.BadParameter(f"{name}: --list-variations shows what there is", param_hint="--with")
    return BY_NAME[name]


def _ends(variation: Variation) -> str:
    expected = variation.expected
    said = [expected.code] if expected.code else list(expected.findings)
    return f"{expected.end} {', '.join(said)}".rstrip()
