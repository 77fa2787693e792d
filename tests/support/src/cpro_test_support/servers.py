"""The real servers for the tests: containers where a Docker engine answers, the embedded stack where none does."""

import contextlib
import json
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import CompositeWaitStrategy, HttpWaitStrategy, LogMessageWaitStrategy

from cpro_embedded.endpoints import Endpoints
from cpro_embedded.ports import free_ports
from cpro_embedded.stack import EmbeddedStack
from cpro_embedded.token_signer import AUDIENCE, TokenSigner

# The same versions as the embedded stack runs.
POSTGRES_IMAGE = "postgres:18"
KAFKA_IMAGE = "apache/kafka:4.3.1"
OBJECT_STORE_IMAGE = "chrislusf/seaweedfs:4.48"

_DOCKER_ANSWER_SECONDS = 5
_START_SECONDS = 120
_S3_PORT = 8333


class Servers(Protocol):
    """A running set of servers."""

    @property
    def endpoints(self) -> Endpoints:
        """Where they answer."""

    @property
    def tokens(self) -> TokenSigner:
        """Signs tokens that the services accept."""

    def stop(self) -> None:
        """Stop them all."""


def start_servers(data_dir: Path, clusters: tuple[str, ...] = ("main",)) -> Servers:
    """Start PostgreSQL clusters of these names, Kafka, S3 and a token signer.

    Args:
        data_dir: Folder for the data and the logs of embedded servers; containers keep theirs.
        clusters: Names of the PostgreSQL clusters.
    """
    servers = ContainerServers(clusters) if docker_answers() else EmbeddedStack(data_dir, clusters)
    servers.start()
    return servers


def docker_answers() -> bool:
    """Whether a Docker engine answers; the command line alone, without an engine behind it, does not count."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        asked = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DOCKER_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0 and bool(asked.stdout.strip())


class ContainerServers:
    """The servers in containers, with the same settings as the embedded ones."""

    def __init__(self, clusters: tuple[str, ...]) -> None:
        self.tokens = TokenSigner()
        self._password = secrets.token_urlsafe(24)
        self._secret_key = secrets.token_urlsafe(24)
        self._postgres = {name: _postgres(self._password) for name in clusters}
        # Brokers tell clients where to find them, so the port on the host must be known before the start.
        (self._kafka_port,) = free_ports(1)
        self._kafka = _kafka(self._kafka_port)
        self._object_store = _object_store(self._secret_key)
        self._running = contextlib.ExitStack()

    def start(self) -> Endpoints:
        """Start every container and return once all of them answer; those that did are stopped if one does not."""
        with contextlib.ExitStack() as starting:
            for container in (self._kafka, self._object_store, *self._postgres.values()):
                starting.enter_context(container)
            starting.callback(self.tokens.stop)
            self.tokens.start()
            self._running = starting.pop_all()
        return self.endpoints

    def stop(self) -> None:
        """Remove the containers; safe to repeat."""
        self._running.close()

    @property
    def endpoints(self) -> Endpoints:
        """Where the containers answer, as seen from here."""
        return Endpoints(
            postgres_clusters={
                name: f"postgresql://{container.username}:{container.password}@{_address(container, container.port)}"
                for name, container in self._postgres.items()
            },
            kafka_bootstrap=_address(self._kafka, self._kafka_port),
            s3_endpoint=_address(self._object_store, _S3_PORT),
            s3_access_key="cpro",
            s3_secret_key=self._secret_key,
            oidc_issuer=self.tokens.issuer,
            oidc_audience=AUDIENCE,
        )


def _address(container: DockerContainer, port: int) -> str:
    return f"{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


def _postgres(password: str) -> PostgresContainer:
    container = PostgresContainer(POSTGRES_IMAGE, username="cpro", password=password, dbname="postgres", driver=None)
    container.with_env(
        "POSTGRES_INITDB_ARGS",
        "--encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 --auth-host=scram-sha-256",
    )
    container.with_command(["-c", "max_connections=300", "-c", "jit=off", "-c", "timezone=UTC"])
    return container


def _kafka(port: int) -> DockerContainer:
    container = DockerContainer(KAFKA_IMAGE)
    container.with_envs(
        KAFKA_NODE_ID="1",
        KAFKA_PROCESS_ROLES="broker,controller",
        KAFKA_LISTENERS=f"PLAINTEXT://:{port},CONTROLLER://:9093",
        KAFKA_ADVERTISED_LISTENERS=f"PLAINTEXT://{container.get_docker_client().host()}:{port}",
        KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
        KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9093",
        KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS="4",
        KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
        KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
        KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR="1",
        KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR="1",
        KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
    )
    container.with_bind_ports(port, port)
    return container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_START_SECONDS))


def _object_store(secret_key: str) -> DockerContainer:
    identity = {
        "name": "cpro",
        "credentials": [{"accessKey": "cpro", "secretKey": secret_key}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    container = DockerContainer(OBJECT_STORE_IMAGE)
    container.with_copy_into_container(json.dumps({"identities": [identity]}).encode(), "/tmp/s3.json")
    container.with_env("WEED_MASTER_VOLUME_GROWTH_COPY_1", "1")
    container.with_command(
        [
            *("server", "-dir=/data", "-master.peers=none", "-master.telemetry=false"),
            *("-master.volumeSizeLimitMB=128", "-volume.max=200"),
            *("-s3", "-s3.config=/tmp/s3.json", "-s3.iam=false", "-s3.autoCreateBucket=false"),
        ]
    )
    container.with_exposed_ports(_S3_PORT)
    # Writes work once a volume server has joined, which may be after S3 answers.
    joined = LogMessageWaitStrategy("added volume server")
    ready = CompositeWaitStrategy(joined, HttpWaitStrategy(_S3_PORT, "/status"))
    return container.waiting_for(ready.with_startup_timeout(_START_SECONDS))
