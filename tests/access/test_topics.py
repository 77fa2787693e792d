"""Every topic and every service: who may write and who may read is declared once, and the code does no more.

The embedded broker has no authorizer, so nothing but this keeps a service to the list there. In an installation the
commands that come of the same list do.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpro_contracts import establishments, imports, pupils, topic_access, topics, transfers
from cpro_contracts.envelope import event_types
from cpro_contracts.topic_access import ALL, GROUPS, LETTERS_DESK, WORK, Service

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/restrict-kafka.md"
SERVICES = ("settings", "media", "siecle-import", "transfer")
_NAME_OF = {name: value for name, value in vars(topics).items() if name.isupper() and isinstance(value, str)}
_TOPIC_OF = {model.__name__: model.topic for model in event_types().values()}
assert {establishments, imports, pupils, transfers}, "imported, so that their events are known"


def _nodes(service: str) -> Iterator[ast.AST]:
    for file in sorted((ROOT / "services" / service / "src").rglob("*.py")):
        yield from ast.walk(ast.parse(file.read_text()))


def _topics_in(node: ast.AST) -> set[str]:
    return {
        _NAME_OF[found.attr]
        for found in ast.walk(node)
        if isinstance(found, ast.Attribute)
        and isinstance(found.value, ast.Name)
        and found.value.id == "topics"
        and found.attr in _NAME_OF
    }


def written_by(service: str) -> set[str]:
    """Topics of the events that the code makes, and of the rows that it puts into outboxes."""
    made: set[str] = set()
    for node in _nodes(service):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            made |= {_TOPIC_OF[called]} if called in _TOPIC_OF else set()
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            made |= {
                name for key, value in pairs if ast.unparse(key or value) == "'topic'" for name in _topics_in(value)
            }
    return made


def read_by(service: str) -> set[str]:
    """Topics that a consumer of the code is given."""
    return {
        name
        for node in _nodes(service)
        if isinstance(node, ast.Call)
        for given in node.keywords
        if given.arg == "topics"
        for name in _topics_in(given.value)
    }


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_to_the_topics_that_it_may_write_to(service: str) -> None:
    assert written_by(service) == {name for name, access in WORK.items() if service in access.producers}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_reads_the_topics_that_it_may_read(service: str) -> None:
    assert read_by(service) == {name for name, access in WORK.items() if service in access.consumers}


def test_every_topic_is_in_the_list_and_nothing_else_is() -> None:
    assert set(ALL) == {topic.name for topic in topics.ALL}
    assert all(access.producers for name, access in WORK.items())


def test_only_who_handles_a_topic_puts_letters_aside_and_only_one_service_reads_them() -> None:
    for name, access in WORK.items():
        letters = ALL[topics.dead_letters_of(name)]
        assert letters.producers == access.consumers
        assert letters.consumers == {LETTERS_DESK}


def test_the_groups_are_those_of_the_settings() -> None:
    for service, group in GROUPS.items():
        config = (ROOT / f"services/{service}/src/cpro_{service.replace('-', '_')}/config.py").read_text()
        assert f'"{group}"' in config


def test_media_has_nothing_to_do_with_kafka() -> None:
    assert "media" not in set(Service)


def test_the_commands_for_kafka_allow_what_the_list_says_and_no_more() -> None:
    pattern = r"User:cpro-(\S+) --operation (Write|Read) --operation Describe --topic (\S+)"
    allowed = {match.groups() for line in topic_access.commands() if (match := re.search(pattern, line))}

    assert allowed == {
        (service, operation, name)
        for name, access in ALL.items()
        for operation, services in (("Write", access.producers), ("Read", access.consumers))
        for service in services
    }


def test_the_documented_commands_are_those_of_the_list() -> None:
    block = PAGE.read_text().split("<!-- commands -->")[1]

    assert [line for line in block.splitlines() if line.startswith("kafka-acls.sh")] == list(topic_access.commands())
