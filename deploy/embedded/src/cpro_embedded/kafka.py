"""Apache Kafka: one KRaft node, broker and controller in one JVM."""

import base64
import subprocess
import uuid
from pathlib import Path

from cpro_embedded.errors import ServerFailedError
from cpro_embedded.kafka_jars import java, kafka_jars
from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment

# Quick to start rather than quick at full load: no second compiler tier, no concurrent collector.
_JVM_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Xmx512m", "-Djava.awt.headless=true")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=3
# One node: the internal topics can't have more replicas. Few partitions make the first group join quick.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
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


class KafkaServer:
    """A broker on a free local port; topics are made explicitly, never by a stray produce."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / "kafka"
        self._data = self._home / "data"
        self.port, controller_port = free_ports(2)
        self._home.mkdir(parents=True)
        self._properties = self._home / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(host=LOCALHOST, port=self.port, controller_port=controller_port, data=self._data)
        )
        (self._home / "log4j2.properties").write_text(_LOGGING)
        self._java = [java(), *_JVM_OPTIONS, "-cp", f"{kafka_jars()}/*"]
        self._java.append(f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}")
        self._environment = minimal_environment()
        self.process = ServerProcess(
            name="kafka",
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
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatted = subprocess.run(  # noqa: S603 - Kafka's own tool
            [
                *(*self._java, "kafka.tools.StorageTool", "format", f"--config={self._properties}"),
                # In one word: an id may begin with a hyphen.
                f"--cluster-id={cluster_id}",
            ],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode != 0:
            raise ServerFailedError(f"kafka storage could not be formatted\n{formatted.stdout}{formatted.stderr}")
