"""`deploy/compose.yaml` says what the code can do: commands that exist, settings that exist, every process."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from cpro_test_support import servers

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy/compose.yaml"
EXAMPLE = ROOT / "deploy/compose.env.example"
CONFIG_OF = {
    "cpro-settings": "cpro_settings.config",
    "cpro-media": "cpro_media.config",
    "cpro-siecle-import": "cpro_siecle_import.config",
    "cpro-transfer": "cpro_transfer.config",
    "cpro-tenants": "cpro_tenant_db.cli",
}
_NO_WORK = {"api", "migrate"}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")

Json = dict[str, Any]


def _example() -> dict[str, str]:
    lines = (line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def _document() -> Json:
    """The file as Compose reads it with the example's values."""
    values = _example()

    def value_of(found: re.Match[str]) -> str:
        name, operator, default = found.groups()
        if name in values:
            return values[name]
        assert operator == "-", f"{name} has no value in {EXAMPLE.name} and no default"
        return str(default)

    document: Json = yaml.safe_load(_VARIABLE.sub(value_of, COMPOSE.read_text()))
    return document


SERVICES: Mapping[str, Json] = _document()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("cpro:")}


def _scripts() -> dict[str, str]:
    """Every console script of the packages in the image, with what it runs."""
    projects = (
        tomllib.loads(path.read_text())["project"]
        for folder in ("contracts", "libs/*", "services/*")
        for path in ROOT.glob(f"{folder}/pyproject.toml")
    )
    return {name: target for project in projects for name, target in project.get("scripts", {}).items()}


def _commands(script: str) -> set[str]:
    module, _, attribute = _scripts()[script].partition(":")
    app: typer.Typer = getattr(import_module(module), attribute)
    return {str(command.name or getattr(command.callback, "__name__", "")) for command in app.registered_commands}


def _fields(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, f"{path}{name}__")
        yield f"{path}{name}"


def _config_of(service: Json) -> type[BaseSettings]:
    config: type[BaseSettings] = import_module(CONFIG_OF[service["command"][0]]).Config
    return config


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    script, command, *_options = OURS[name]["command"]

    assert script in _scripts()
    assert command in _commands(script)


_BY_HAND = {"rotate"}
"""What a person runs when there is reason to."""


@pytest.mark.parametrize("script", sorted(CONFIG_OF.keys() - {"cpro-tenants"}))
def test_every_process_of_every_service_is_there(script: str) -> None:
    started = {service["command"][1] for service in OURS.values() if service["command"][0] == script}

    assert started == _commands(script) - _BY_HAND


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    config = _config_of(OURS[name])
    prefix = str(config.model_config["env_prefix"])
    known = {f"{prefix}{field}".upper() for field in _fields(config)}

    assert set(OURS[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_complete(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        assert isinstance(value, str | int), variable
        monkeypatch.setenv(variable, str(value))

    config = _config_of(OURS[name])()

    assert config.model_fields_set


def test_the_processes_of_a_service_share_their_settings() -> None:
    for script in CONFIG_OF:
        environments = [
            {name: value for name, value in service["environment"].items() if not name.endswith("__OWNER_URL")}
            for service in OURS.values()
            if service["command"][0] == script
        ]

        assert all(environment == environments[0] for environment in environments)


def test_only_what_migrates_has_the_credentials_of_the_owner() -> None:
    for service in OURS.values():
        owners = [value for value in service["environment"].values() if "//cpro:" in str(value)]

        assert bool(owners) == (service["command"][1] == "migrate")


def test_the_file_holds_no_secret() -> None:
    text = COMPOSE.read_text()
    secrets = {name: value for name, value in _example().items() if "PASSWORD" in name or "SECRET" in name}

    assert all(len(value) < 4 or value not in text for value in secrets.values())
    assert re.search(r"postgresql://cpro:(?!\$\{)", text) is None


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {found.group(1) for found in _VARIABLE.finditer(COMPOSE.read_text())}

    assert used == set(_example())


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith("-api")])
def test_every_api_is_asked_whether_it_is_ready_and_listens_for_others(name: str) -> None:
    service = OURS[name]

    assert "/readyz" in service["healthcheck"]["test"][-1]
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8080"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert (
        service["environment"][next(key for key in service["environment"] if key.endswith("HTTP__HOST"))] == "0.0.0.0"
    )


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if service["command"][1] not in _NO_WORK])
def test_every_process_that_only_works_is_asked_whether_it_is_ready_and_is_not_seen_from_outside(name: str) -> None:
    service = OURS[name]
    (port,) = (value for key, value in service["environment"].items() if key.endswith("OPERATIONS__PORT"))

    assert f":{port}/readyz" in service["healthcheck"]["test"][-1]
    assert "ports" not in service


def test_only_what_needs_a_mail_server_has_to_be_asked_for() -> None:
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}

    assert asked_for == {"settings-notify": ["notifications"]}


def test_no_two_services_want_the_same_port() -> None:
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(published) == len(set(published))


def test_every_process_waits_for_what_it_needs() -> None:
    for name, service in OURS.items():
        awaited = service["depends_on"]
        if service["command"][1] == "migrate":
            assert all(how["condition"] == "service_healthy" for how in awaited.values()), name
            assert all("healthcheck" in SERVICES[server] for server in awaited), name
        else:
            assert all(how["condition"] == "service_completed_successfully" for how in awaited.values()), name
            assert all(SERVICES[once]["command"][1] == "migrate" for once in awaited), name


def test_the_servers_are_those_of_the_tests() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}

    assert images == {
        "postgres": servers.POSTGRES_IMAGE,
        "kafka": servers.KAFKA_IMAGE,
        "object-store": servers.OBJECT_STORE_IMAGE,
    }
