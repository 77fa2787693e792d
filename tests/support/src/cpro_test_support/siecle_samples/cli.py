"""`cpro-siecle-samples`: write the pupil file of an invented school."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cpro_contracts.identifiers import parse_uai
from cpro_test_support.siecle_samples.files import EXPORTED_AT, XML_NAME, siecle_xml, zipped
from cpro_test_support.siecle_samples.pupils import generate_pupils
from cpro_test_support.siecle_samples.records import RecordStyle

app = typer.Typer(add_completion=False, help="Write the national pupil file of an invented school.")


@app.command()
def write(
    uai: Annotated[str, typer.Argument(help="the school's UAI")],
    destination: Annotated[Path, typer.Argument(help="a .zip or .xml file")],
    *,
    pupils: Annotated[int, typer.Option(min=0, help="how many pupils")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same pupils")] = 1,
    leavers: Annotated[int, typer.Option(min=0, help="how many of them, the first ones, have left")] = 0,
    missing: Annotated[int, typer.Option(min=0, help="how many of them, the last ones, the file no longer names")] = 0,
    without_ine: Annotated[float, typer.Option(min=0, max=1, help="share of pupils without an INE")] = 0.03,
    school_year: Annotated[int, typer.Option(help="2026 for 2026-2027")] = 2026,
    exported_at: Annotated[datetime, typer.Option(help="when the file says it was made (UTC)")] = EXPORTED_AT.replace(
        tzinfo=None
    ),
    encoding: Annotated[str, typer.Option(help="of the bytes, and declared")] = "ISO-8859-15",
    style: Annotated[RecordStyle, typer.Option(help="how much each record says")] = RecordStyle.FULL,
) -> None:
    """Write the file: zipped as the ministry's application does, or bare where the name ends in .xml."""
    moment = exported_at.replace(tzinfo=UTC)
    roster = list(generate_pupils(pupils, seed, school_year=school_year, without_ine_ratio=without_ine))
    left_on = (moment - timedelta(days=1)).date()
    roster = [pupil.leaves(left_on) for pupil in roster[:leavers]] + roster[leavers:]
    content = siecle_xml(
        parse_uai(uai),
        roster[: max(len(roster) - missing, 0)],
        school_year=school_year,
        exported_at=moment,
        encoding=encoding,
        style=style,
    )
    destination.write_bytes(content if destination.suffix == ".xml" else zipped({XML_NAME: content}))
    typer.echo(f"{destination}: {max(len(roster) - missing, 0)} pupils, {destination.stat().st_size} bytes")


def main() -> None:
    """The console script."""
    app()
