"""docs/privacy.md lists every table of every database, and every topic: a new one has to be thought of there."""

import re
from pathlib import Path

import psycopg
import pytest

from cpro_contracts import topics
from cpro_media.bootstrap import MIGRATIONS as MEDIA
from cpro_platform import migrations
from cpro_settings.bootstrap import MIGRATIONS as SETTINGS
from cpro_siecle_import.bootstrap import MIGRATIONS as SIECLE_IMPORT
from cpro_test_support.schools import fresh_database
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import TransferWorld, new_uai
from cpro_transfer.bootstrap import MIGRATIONS as TRANSFER

PAGE = (Path(__file__).parents[3] / "docs/privacy.md").read_text()
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"


def listed(database: str) -> set[str]:
    """The tables that the page lists for a database; `tenant` for an establishment's."""
    own, services = PAGE.split("### The services' own")
    services = services.split("\n## ")[0]
    found: set[str] = set()
    for line in (own if database == "tenant" else services).splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:]]
        if database == "tenant" and line.startswith("| `"):
            found |= set(re.findall(r"`(\w+)`", cells[0]))
        elif cells and {database, "each"} & set(cells[0].split(", ")):
            found |= set(re.findall(r"`(\w+)`", cells[1]))
    return found


async def tables(conninfo: str) -> set[str]:
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        return {row[0] for row in await (await connection.execute(_TABLES)).fetchall()}


@pytest.mark.parametrize(
    ("service", "folder"),
    [("transfer", TRANSFER), ("settings", SETTINGS), ("siecle-import", SIECLE_IMPORT), ("media", MEDIA)],
)
async def test_every_table_of_a_service_is_in_the_page(servers: Servers, service: str, folder: Path) -> None:
    conninfo = await fresh_database(servers.endpoints, f"inventory_{service.replace('-', '_')}")
    migrations.upgrade(conninfo, folder)

    assert await tables(conninfo) - listed(service) == set()


async def test_every_table_of_an_establishment_and_of_the_directory_is_in_the_page(world: TransferWorld) -> None:
    (school,) = await world.schools.create(new_uai())
    (conninfo,) = [found for uai, found in (await world.schools.conninfos()).items() if uai == school.uai]

    assert await tables(conninfo) == listed("tenant")
    assert await tables(world.schools.directory_url) - listed("directory") == set()


def test_every_topic_is_in_the_page_with_the_time_that_it_is_kept() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `cpro.")]
    for topic in topics.ALL:
        (line,) = [line for line in lines if f"`{topic.name}`" in line]
        assert ("for good" if topic.retention_ms is None else str(topic.retention_ms // 86_400_000)) in line


def test_no_compacted_topic_is_keyed_by_a_pupil() -> None:
    assert {topic.name for topic in topics.ALL if topic.retention_ms is None} == {topics.ESTABLISHMENT}
