"""Apache Kafka: one KRaft node, broker and controller in one JVM; or several of them, each with a copy of all."""

import base64
import subprocess
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cpro_embedded.errors import ServerFailedError
from cpro_embedded.kafka_jars import java, kafka_jars
from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment

# Quick to start rather than quick at full load: no second compiler tier, no concurrent collector.
_JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Djava.awt.headless=true")

_PROPERTIES = """\
process.roles=broker,controller
node.id={node_id}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters={voters}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=3
default.replication.factor={replicas}
min.insync.replicas={in_sync}
# No more replicas of the internal topics than there are nodes. Few partitions make the first group join quick.
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# A consumer that was killed is out of its group as soon as a test wants it to be.
group.min.session.timeout.ms=1000
# After a crash the node may not register again before its earlier session lapses: 9 s unless told.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
"""

_LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %-5p %c{1}: %m%n%throwable
"""


@dataclass(frozen=True, slots=True)
class _Quorum:
    """What the nodes of a cluster must agree on: who they are, and its id."""

    controller_ports: tuple[int, ...]
    cluster_id: str

    @classmethod
    def of(cls, nodes: int) -> "_Quorum":
        return cls(free_ports(nodes), base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))

    @property
    def voters(self) -> str:
        return ",".join(f"{number}@{LOCALHOST}:{port}" for number, port in enumerate(self.controller_ports, start=1))

    def properties(self, node_id: int) -> dict[str, object]:
        replicas = len(self.controller_ports)
        return {
            "node_id": node_id,
            "controller_port": self.controller_ports[node_id - 1],
            "voters": self.voters,
            "replicas": replicas,
            # One may be away, and what is acknowledged is then still on all the others.
            "in_sync": max(1, replicas - 1),
        }


class KafkaServer:
    """A broker on a free local port; topics are made explicitly, never by a stray produce."""

    def __init__(
        self, folder: Path, *, node_id: int = 1, quorum: _Quorum | None = None, name: str = "kafka", heap_mb: int = 512
    ) -> None:
        self._quorum = quorum or _Quorum.of(1)
        self._home = folder / name
        self._data = self._home / "data"
        (self.port,) = free_ports(1)
        self._home.mkdir(parents=True)
        self._properties = self._home / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(host=LOCALHOST, port=self.port, data=self._data, **self._quorum.properties(node_id))
        )
        (self._home / "log4j2.properties").write_text(_LOGGING)
        self._java = [java(), *_JVM_OPTIONS, f"-Xmx{heap_mb}m", "-cp", f"{kafka_jars()}/*"]
        self._java.append(f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}")
        self._environment = minimal_environment()
        self.process = ServerProcess(
            name=name,
            command=(*self._java, "kafka.Kafka", str(self._properties)),
            folder=folder,
            cwd=self._home,
            env=self._environment,
        )

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start on the same port as before, formatting the storage the first time.

        Raises:
            ServerFailedError: The broker did not start; the message has the end of its log.
        """
        if not (self._data / "meta.properties").exists():
            self._format()
        self.process.start(lambda broker: broker.printed("Kafka Server started"))

    def stop(self) -> None:
        """End the broker in good order."""
        self.process.stop()

    def kill(self) -> None:
        """End the broker by SIGKILL."""
        self.process.kill()

    def _format(self) -> None:
        formatted = subprocess.run(  # noqa: S603 - Kafka's own tool
            [
                *(*self._java, "kafka.tools.StorageTool", "format", f"--config={self._properties}"),
                # In one word: an id may begin with a hyphen.
                f"--cluster-id={self._quorum.cluster_id}",
            ],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode != 0:
            raise ServerFailedError(f"kafka storage could not be formatted\n{formatted.stdout}{formatted.stderr}")


class KafkaCluster:
    """Several brokers, every topic on all of them: what all but one have is acknowledged, so that one may be away."""

    def __init__(self, folder: Path, *, nodes: int = 3, heap_mb: int = 256) -> None:
        quorum = _Quorum.of(nodes)
        self.brokers: Sequence[KafkaServer] = tuple(
            KafkaServer(folder, node_id=number, quorum=quorum, name=f"kafka-{number}", heap_mb=heap_mb)
            for number in range(1, nodes + 1)
        )

    @property
    def bootstrap(self) -> str:
        """Every broker's `host:port`, for clients: any of them may be away."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> None:
        """Start all of them, side by side: none is ready before most of them are there.

        Raises:
            ServerFailedError: One did not start; those that did are stopped again.
        """
        try:
            self._each(KafkaServer.start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of them in good order."""
        self._each(KafkaServer.stop)

    def _each(self, action: Callable[[KafkaServer], None]) -> None:
        with ThreadPoolExecutor(max_workers=len(self.brokers), thread_name_prefix="kafka") as pool:
            done = [pool.submit(action, broker) for broker in self.brokers]
        for result in done:
            result.result()
