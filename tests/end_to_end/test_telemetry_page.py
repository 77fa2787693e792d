"""docs/runbook/telemetry.md names every metric and every span, and none that is not there."""

import ast
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from asgi_lifespan import LifespanManager
from fastapi import FastAPI

import cpro_media.bootstrap
import cpro_media.entrypoints.api
import cpro_settings.bootstrap
import cpro_settings.entrypoints.api
import cpro_siecle_import.bootstrap
import cpro_siecle_import.entrypoints.api
import cpro_transfer.bootstrap
import cpro_transfer.entrypoints.api
from cpro_test_support.installations import fresh_configs
from cpro_test_support.mail_server import opened_mailbox
from cpro_test_support.servers import Servers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runbook/telemetry.md").read_text()
SERVICES = ("settings", "media", "siecle-import", "transfer")
UNITS = ("_seconds", "_bytes", "_total", "_messages")
NUMBERS_OF_THINGS = ("_connections", "_requests", "_in_flight", "_files", "_establishments", "cpro_transfers")
BOUNDED = {
    "service", "method", "route", "status", "pool", "state", "topic", "group", "partition", "outcome", "code", "change",
    "severity", "phase", "reason", "fate", "kind",
}  # fmt: skip
"""Labels whose values are a closed list. Whoever adds one says here that he has thought of it."""


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line[:4]]


METRICS = {row[0].strip("`"): row[1:] for row in rows_of("Metrics")}


@pytest.fixture(scope="module")
async def said(servers: Servers) -> AsyncIterator[dict[str, str]]:
    """What `/metrics` of each service says, with all its work going on, once something was asked."""
    async with AsyncExitStack() as running:
        mailbox = await running.enter_async_context(opened_mailbox())
        configs = await fresh_configs(servers, mailbox.port)
        imports = cpro_siecle_import.bootstrap.Service(configs.siecle_import)
        work = cpro_transfer.bootstrap.Work
        transfer = cpro_transfer.bootstrap.Service(configs.transfer, work=work.ALL | work.SWEEP)
        mails = cpro_settings.bootstrap.Work
        settings = cpro_settings.bootstrap.Service(configs.settings, work=mails.RELAY | mails.NOTIFY)
        apps: dict[str, FastAPI] = {
            "settings": cpro_settings.entrypoints.api.create(settings),
            "media": cpro_media.entrypoints.api.create(cpro_media.bootstrap.Service(configs.media)),
            "siecle-import": cpro_siecle_import.entrypoints.api.create(imports),
            "transfer": cpro_transfer.entrypoints.api.create(transfer),
        }
        texts = {}
        for name, app in apps.items():
            await running.enter_async_context(LifespanManager(app))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                await client.request("ANYTHING", "/v1/nowhere/0752387M")
                texts[name] = (await client.get("/metrics")).text
        yield texts


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_the_metrics_that_the_page_gives_it_and_no_other(said: dict[str, str], service: str) -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)$", said[service], re.MULTILINE))
    documented = {
        name: kind for name, (kind, _, services, _) in METRICS.items() if service in services or services == "all"
    }
    assert kinds == documented


@pytest.mark.parametrize("service", SERVICES)
def test_each_metric_has_the_labels_that_the_page_gives_it(said: dict[str, str], service: str) -> None:
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)\{(.*)\} ", said[service], re.MULTILINE):
        metric = next((known for known in METRICS if re.fullmatch(rf"{known}(_bucket|_sum|_count)?", name)), name)
        found[metric] = set(re.findall(r'(\w+)="', labels)) - {"le"}

    assert {name: set(filter(None, METRICS[name][1].split(", "))) for name in found} == found


@pytest.mark.parametrize("service", SERVICES)
def test_no_label_holds_an_establishment_or_what_a_caller_made_up(said: dict[str, str], service: str) -> None:
    assert 'method="other",route="unmatched"' in said[service]
    assert "ANYTHING" not in said[service]
    assert "0752387M" not in said[service]


def test_a_metric_has_its_unit_in_its_name_and_only_labels_with_few_values() -> None:
    for name, (_, labels, _, _) in METRICS.items():
        assert name.removesuffix("_total").endswith((*UNITS, *NUMBERS_OF_THINGS)) or name.endswith("_total"), name
        assert set(filter(None, labels.split(", "))) <= BOUNDED, name


def test_every_metric_that_the_code_makes_is_on_the_page() -> None:
    assert set(first_words({"counter", "gauge", "histogram"}, r"cpro_\w+")) == set(METRICS)


def test_every_span_that_the_code_opens_is_on_the_page_and_no_other() -> None:
    assert set(first_words({"span", "batch", "traced"}, r"\w+\.\w+")) == {
        row[0].strip("`") for row in rows_of("Traces")
    }


def first_words(functions: set[str], form: str) -> list[str]:
    """The names that calls of these methods begin with, in all that runs in production."""
    files = [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
    calls = (node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    names = (
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in functions and call.args
        if isinstance(call.args[0], ast.Constant)
    )
    return [name for name in names if isinstance(name, str) and re.fullmatch(form, name)]
