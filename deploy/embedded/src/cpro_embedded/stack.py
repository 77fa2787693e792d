"""All the servers together: started in parallel, stopped together, each also on its own for outage tests."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from cpro_embedded.endpoints import Endpoints
from cpro_embedded.folder import StackFolder
from cpro_embedded.kafka import KafkaServer
from cpro_embedded.object_store import ObjectStoreServer
from cpro_embedded.postgres import PostgresServer
from cpro_embedded.token_signer import AUDIENCE, TokenSigner

S = TypeVar("S")


class _Server(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class EmbeddedStack:
    """PostgreSQL clusters, Kafka, S3 and a token signer on free local ports, in a folder of their own.

    Each start begins empty: what an earlier stack left in the folder is ended and deleted. The servers end with the
    process that started them, however that ends.

        with EmbeddedStack(Path(".run/demo"), clusters=("north", "south")) as stack:
            stack.endpoints
    """

    def __init__(self, data_dir: Path, clusters: tuple[str, ...] = ("main",)) -> None:
        self._folder = StackFolder(data_dir)
        self._clusters = clusters
        self._postgres: dict[str, PostgresServer] = {}
        self._kafka: KafkaServer | None = None
        self._object_store: ObjectStoreServer | None = None
        self._tokens: TokenSigner | None = None
        #: How long each server took, by `start <server>` and `stop <server>`.
        self.seconds: dict[str, float] = {}

    @property
    def folder(self) -> Path:
        """Where data and logs are."""
        return self._folder.path

    @property
    def postgres(self) -> Mapping[str, PostgresServer]:
        """The clusters by name."""
        return self._postgres

    @property
    def kafka(self) -> KafkaServer:
        """The broker of a started stack."""
        return _started(self._kafka)

    @property
    def object_store(self) -> ObjectStoreServer:
        """The S3 server of a started stack."""
        return _started(self._object_store)

    @property
    def tokens(self) -> TokenSigner:
        """The token signer of a started stack."""
        return _started(self._tokens)

    @property
    def endpoints(self) -> Endpoints:
        """Where the servers of a started stack answer."""
        return Endpoints(
            postgres_clusters={name: server.url for name, server in self._postgres.items()},
            kafka_bootstrap=self.kafka.bootstrap,
            s3_endpoint=self.object_store.endpoint,
            s3_access_key=self.object_store.access_key,
            s3_secret_key=self.object_store.secret_key,
            oidc_issuer=self.tokens.issuer,
            oidc_audience=AUDIENCE,
        )

    def start(self) -> Endpoints:
        """Start every server and return once all of them answer.

        Raises:
            FolderInUseError: Another running stack owns the folder.
            MissingPrerequisiteError: Java, Maven or a binary is missing.
            ServerFailedError: One did not start; those that did are stopped again.
        """
        self._folder.take()
        try:
            self._build()
            self._each("start")
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def stop(self) -> None:
        """Stop every server in good order and give the folder back; safe to repeat."""
        try:
            for cluster in self._postgres.values():
                cluster.end_at_once()  # its data is deleted next
            self._each("stop")
            for cluster in self._postgres.values():
                cluster.remove_data()
        finally:
            self._folder.release()

    async def astart(self) -> Endpoints:
        """`start` for a caller on an event loop."""
        return await asyncio.to_thread(self.start)

    async def astop(self) -> None:
        """`stop` for a caller on an event loop."""
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.astop()

    def _build(self) -> None:
        """The servers with their folders and ports, not yet running; in place before any of them starts."""
        folder = self._folder.path
        self._postgres = {}
        self._kafka = KafkaServer(folder)
        self._object_store = ObjectStoreServer(folder)
        self._tokens = TokenSigner()
        for name in self._clusters:
            self._postgres[name] = PostgresServer(name, folder)

    def _servers(self) -> dict[str, _Server]:
        others = {"kafka": self._kafka, "object-store": self._object_store, "tokens": self._tokens}
        servers: dict[str, _Server] = {name: server for name, server in others.items() if server is not None}
        return servers | {f"postgres-{name}": server for name, server in self._postgres.items()}

    def _each(self, action: Literal["start", "stop"]) -> None:
        """On all servers at once; returns when all are done, raising what the first to fail raised."""
        servers = self._servers()

        def timed(name: str) -> None:
            began = time.perf_counter()
            getattr(servers[name], action)()
            self.seconds[f"{action} {name}"] = time.perf_counter() - began

        with ThreadPoolExecutor(max_workers=max(1, len(servers)), thread_name_prefix=f"{action}-server") as pool:
            done = [pool.submit(timed, name) for name in servers]
        for result in done:
            result.result()


def _started(server: S | None) -> S:
    if server is None:
        raise RuntimeError("the stack is not started")
    return server
