"""Which service may write to a topic, and which may read it: the whole list. What is not in it is not allowed.

Kafka enforces it where the brokers have an authorizer: `commands` are the ones to give to `kafka-acls.sh`, printed by
`python -m cpro_contracts.topic_access`. Each service then has a user of its own.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cpro_contracts import topics
from cpro_contracts.topics import dead_letters_of


class Service(StrEnum):
    """A service, as it is named in topics and as a user of Kafka (`cpro-<service>`). media has nothing to do there."""

    SETTINGS = "settings"
    SIECLE_IMPORT = "siecle-import"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class TopicAccess:
    """Who writes and who reads one topic."""

    producers: frozenset[Service]
    consumers: frozenset[Service]


GROUPS: Mapping[Service, str] = {
    Service.SETTINGS: "cpro-settings-notify",
    Service.SIECLE_IMPORT: "cpro-siecle-import",
    Service.TRANSFER: "cpro-transfer-join",
}
"""The consumer group of each, unless a setting names another."""

LETTERS_DESK = Service.TRANSFER
"""Reads all dead letters, so that support can, and gives them back to their topics."""


def _access(producers: set[Service], consumers: set[Service]) -> TopicAccess:
    return TopicAccess(frozenset(producers), frozenset(consumers))


WORK: Mapping[str, TopicAccess] = {
    # transfer says what a school's database says, where events were lost.
    topics.PUPIL: _access({Service.SIECLE_IMPORT, Service.TRANSFER}, {Service.TRANSFER}),
    topics.ESTABLISHMENT: _access({Service.SETTINGS, Service.TRANSFER}, {Service.TRANSFER}),
    topics.SIECLE_IMPORT_JOBS: _access({Service.SIECLE_IMPORT}, {Service.SIECLE_IMPORT}),
    topics.SIECLE_IMPORT: _access({Service.SIECLE_IMPORT}, set()),
    topics.TRANSFER: _access({Service.TRANSFER}, {Service.SETTINGS}),
}
"""What the services do with events in their own work."""

ALL: Mapping[str, TopicAccess] = {
    name: TopicAccess(access.producers | {LETTERS_DESK}, access.consumers | {LETTERS_DESK})
    for name, access in WORK.items()
} | {
    # Who could not handle a message puts it there.
    dead_letters_of(name): TopicAccess(access.consumers, frozenset({LETTERS_DESK}))
    for name, access in WORK.items()
}
"""All of it: giving a letter back also takes a look at whether its topic has something newer."""


def commands() -> Iterator[str]:
    """The commands that allow just this, for brokers whose authorizer denies what no rule allows."""
    for name, access in ALL.items():
        for service in sorted(access.producers):
            yield _command(service, f"--operation Write --operation Describe --topic {name}")
        for service in sorted(access.consumers):
            yield _command(service, f"--operation Read --operation Describe --topic {name}")
    for service, group in GROUPS.items():
        yield _command(service, f"--operation Read --operation Describe --group {group}")
    # Support sees how far behind every group is; `migrate` of each service makes topics that are absent.
    yield _command(LETTERS_DESK, "--operation Describe --group cpro- --resource-pattern-type prefixed")
    for service in Service:
        yield _command(service, "--operation Create --topic cpro. --resource-pattern-type prefixed")


def _command(service: Service, what: str) -> str:
    return f"kafka-acls.sh $BROKERS --add --allow-principal User:cpro-{service} {what}"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*commands(), ""]))
