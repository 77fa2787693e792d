"""The services on the embedded servers: configured, prepared, and run as two processes.

One process answers on HTTP (all services on one port, as `make run` promises), the other imports, joins and moves. An
installation has a process for each; two are enough here, and keep an upload or a poll of the API from sharing an event
loop with a move, whose latency the demo reports. One process more for each service would cost a second of start-up and
80 MB each on a small machine, and show nothing more.
"""

import asyncio
import hashlib
import hmac
import http.client
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from fastapi import FastAPI
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

import cpro_media.bootstrap
import cpro_media.config
import cpro_media.entrypoints.api
import cpro_settings.bootstrap
import cpro_settings.config
import cpro_settings.entrypoints.api
import cpro_siecle_import.bootstrap
import cpro_siecle_import.config
import cpro_siecle_import.entrypoints.api
import cpro_transfer.bootstrap
import cpro_transfer.config
import cpro_transfer.entrypoints.api
from cpro_embedded.endpoints import Endpoints
from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment
from cpro_platform import logs, tracing
from cpro_platform.config import (
    DatabaseSettings,
    HttpSettings,
    KafkaSettings,
    ObjectStoreSettings,
    OidcSettings,
    TelemetrySettings,
    TenantSettings,
)
from cpro_platform.database import database_conninfo
from cpro_platform.http import combine
from cpro_platform.metrics import Metrics
from cpro_platform.process import serve
from cpro_tenant_db import directory, provisioning
from cpro_tenant_db.privileges import WITH_SECRET, Service
from cpro_tenant_db.roles import TenantAccess

RECORDS_BUCKET = "cpro-records"
_DIRECTORY = "cpro_directory"
_VARIABLE = "CPRO_EMBEDDED_SERVICES"
_START_SECONDS = 60
_STOP_SECONDS = 10


class Part(StrEnum):
    """What one of the two processes does."""

    API = "api"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class Installation:
    """All that the services are configured from. `match_secret` makes the match keys of pupils.

    With the port of a mail server on this machine, establishments that want it are told of transfers by e-mail.
    """

    endpoints: Endpoints
    match_secret: str
    smtp_port: int | None = None

    @classmethod
    def fresh(cls, endpoints: Endpoints, smtp_port: int | None = None) -> Self:
        """An installation with a secret of its own."""
        return cls(endpoints, secrets.token_urlsafe(48), smtp_port)

    def to_json(self) -> str:
        """For another process."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Self:
        """What `to_json` said."""
        said = json.loads(text)
        return cls(Endpoints(**said["endpoints"]), said["match_secret"], said["smtp_port"])

    @property
    def settings(self) -> cpro_settings.config.Config:
        """The configuration of the settings service."""
        return cpro_settings.config.Config(
            database=self._database("cpro_settings"),
            tenants=self.tenants_of(Service.SETTINGS),
            kafka=self._kafka,
            oidc=self._oidc,
            telemetry=_TELEMETRY,
            smtp=self._smtp,
            notifications=_NOTIFICATIONS,
            transfer_service=cpro_settings.config.TransferServiceSettings(url="http://transfer"),
        )

    @property
    def media(self) -> cpro_media.config.Config:
        """The configuration of the media service."""
        return cpro_media.config.Config(
            database=self._database("cpro_media"),
            object_store=self.object_store("cpro-media"),
            oidc=self._oidc,
            telemetry=_TELEMETRY,
        )

    @property
    def siecle_import(self) -> cpro_siecle_import.config.Config:
        """The configuration of the import."""
        return cpro_siecle_import.config.Config(
            database=self._database("cpro_siecle_import"),
            tenants=self.tenants_of(Service.SIECLE_IMPORT),
            kafka=self._kafka,
            object_store=self.object_store("cpro-siecle-uploads"),
            oidc=self._oidc,
            telemetry=_TELEMETRY,
            match_secret=SecretStr(self.match_secret),
        )

    @property
    def transfer(self) -> cpro_transfer.config.Config:
        """The configuration of the transfers."""
        return cpro_transfer.config.Config(
            database=self._database("cpro_transfer"),
            tenants=self.tenants_of(Service.TRANSFER),
            kafka=self._kafka,
            object_store=self.object_store(RECORDS_BUCKET),
            oidc=self._oidc,
            telemetry=_TELEMETRY,
        )

    @property
    def tenants(self) -> TenantSettings:
        """The directory and the clusters of the establishments' databases."""
        return TenantSettings(
            directory_url=self._on_first_cluster(_DIRECTORY),
            clusters={name: SecretStr(url) for name, url in self.endpoints.postgres_clusters.items()},
        )

    def tenants_of(self, service: Service) -> TenantSettings:
        """The same for a service, which logs in as itself."""
        return self.tenants.model_copy(update={"role_secret": self.access.secrets[service]})

    @property
    def access(self) -> TenantAccess:
        """The services that are let in to the establishments' databases."""
        return TenantAccess({service: self._secret_for(f"tenants of {service}") for service in WITH_SECRET})

    def _secret_for(self, purpose: str) -> SecretStr:
        # One secret is enough here: whoever has this process has all of them.
        return SecretStr(hmac.new(self.match_secret.encode(), purpose.encode(), hashlib.sha256).hexdigest())

    def object_store(self, bucket: str) -> ObjectStoreSettings:
        """A bucket on the S3 server."""
        return ObjectStoreSettings(
            endpoint=self.endpoints.s3_endpoint,
            access_key=SecretStr(self.endpoints.s3_access_key),
            secret_key=SecretStr(self.endpoints.s3_secret_key),
            secure=self.endpoints.s3_secure,
            bucket=bucket,
        )

    @property
    def _kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.endpoints.kafka_bootstrap)

    @property
    def _smtp(self) -> cpro_settings.config.SmtpSettings:
        if self.smtp_port is None:
            return cpro_settings.config.SmtpSettings()
        return cpro_settings.config.SmtpSettings(
            host=LOCALHOST, port=self.smtp_port, security="none", sender="ne-pas-repondre@cpro.example"
        )

    @property
    def _oidc(self) -> OidcSettings:
        return OidcSettings(issuer=self.endpoints.oidc_issuer, audience=self.endpoints.oidc_audience)

    def _database(self, name: str) -> DatabaseSettings:
        owner = self._on_first_cluster(name)
        password = self._secret_for(f"database {name}").get_secret_value()
        login = make_conninfo(owner.get_secret_value(), user=name, password=password)
        return DatabaseSettings(url=SecretStr(login), owner_url=owner)

    def _on_first_cluster(self, name: str) -> SecretStr:
        first = next(iter(self.endpoints.postgres_clusters.values()))
        return SecretStr(database_conninfo(first, name))


_TELEMETRY = TelemetrySettings()
_NOTIFICATIONS = cpro_settings.config.NotificationSettings(
    list_url="http://localhost/etablissements/{uai}/transferts", poll_seconds=2
)


async def prepare(installation: Installation) -> None:
    """Create the directory and every service's databases, topics and buckets, as each service's `migrate` does.

    One after the other: a process runs one Alembic migration at a time.
    """
    await provisioning.prepare_directory(installation.tenants.directory_conninfo, installation.access)
    await cpro_settings.bootstrap.prepare(installation.settings)
    await cpro_media.bootstrap.prepare(installation.media)
    await cpro_siecle_import.bootstrap.prepare(installation.siecle_import)
    await cpro_transfer.bootstrap.prepare(installation.transfer)


async def create_tenants(installation: Installation, clusters_by_uai: Mapping[str, str]) -> None:
    """Create the establishments' databases on their clusters, as `cpro-tenants create` does."""
    tenants = installation.tenants
    async with directory.opened(tenants.directory_conninfo) as opened:
        for uai, cluster in clusters_by_uai.items():
            await provisioning.create_tenant(opened, tenants.cluster_conninfos, uai, cluster, installation.access)


def applications(installation: Installation, part: Part) -> Sequence[FastAPI]:
    """The services' applications, with their background work or without."""
    metrics = Metrics()
    works = part is Part.WORK
    media = cpro_media.bootstrap.Service(installation.media, metrics=metrics, background=works)
    imports = cpro_siecle_import.bootstrap.Service(
        installation.siecle_import,
        metrics=metrics,
        work=cpro_siecle_import.bootstrap.Work.ALL if works else cpro_siecle_import.bootstrap.Work.NOTHING,
    )
    transfer = cpro_transfer.bootstrap.Service(
        installation.transfer,
        metrics=metrics,
        work=cpro_transfer.bootstrap.Work.ALL if works else cpro_transfer.bootstrap.Work.NOTHING,
    )
    transfers = cpro_transfer.entrypoints.api.create(transfer)
    settings = cpro_settings.bootstrap.Service(
        installation.settings,
        metrics=metrics,
        transfer_transport=httpx.ASGITransport(transfers),
        work=settings_work(installation) if works else cpro_settings.bootstrap.Work.NOTHING,
    )
    return (
        cpro_settings.entrypoints.api.create(settings),
        cpro_media.entrypoints.api.create(media),
        cpro_siecle_import.entrypoints.api.create(imports),
        transfers,
    )


def settings_work(installation: Installation) -> cpro_settings.bootstrap.Work:
    """What the settings service does in the process that works: mails only where a mail server is named."""
    work = cpro_settings.bootstrap.Work
    return work.RELAY | work.NOTIFY if installation.smtp_port else work.RELAY


class ReadyProcesses:
    """Processes that say on a port each when they are ready.

    They end with the one that started them, however that ends.
    """

    def __init__(self, by_port: Mapping[int, ServerProcess], *, start_seconds: float = _START_SECONDS) -> None:
        self._processes = by_port
        self._start_seconds = start_seconds

    @property
    def running(self) -> bool:
        """Whether all are there."""
        return all(process.running for process in self._processes.values())

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._processes.values() if process.pid is not None]

    async def __aenter__(self) -> Self:
        starting = asyncio.gather(
            *(
                asyncio.to_thread(process.start, _ready_on(port), within_seconds=self._start_seconds)
                for port, process in self._processes.items()
            ),
            return_exceptions=True,
        )
        try:
            # A start is in a thread that can't be cancelled: whoever gives up waits for it, then stops what came up.
            results = await asyncio.shield(starting)
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
        except BaseException:
            await starting
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in self._processes.values()))


class ServiceProcesses(ReadyProcesses):
    """The two processes."""

    def __init__(self, installation: Installation, folder: Path, *, port: int | None = None) -> None:
        drawn, work_port = free_ports(2)
        self.port = port or drawn
        super().__init__(
            {
                self.port: _process(installation, Part.API, self.port, folder),
                work_port: _process(installation, Part.WORK, work_port, folder),
            }
        )

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{LOCALHOST}:{self.port}"


def _process(installation: Installation, part: Part, port: int, folder: Path) -> ServerProcess:
    handed_over = json.dumps({"installation": installation.to_json(), "part": part, "port": port})
    return ServerProcess(
        name=f"services-{part}",
        command=(sys.executable, "-m", "cpro_embedded.services"),
        folder=folder,
        cwd=folder,
        # In the environment, as an installation has it: secrets on a command line are everybody's to read.
        env=minimal_environment(**{_VARIABLE: handed_over}),
        stop_seconds=_STOP_SECONDS + 5.0,
    )


def _ready_on(port: int) -> Callable[[ServerProcess], bool]:
    def is_ready(_process: ServerProcess) -> bool:
        connection = http.client.HTTPConnection(LOCALHOST, port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

    return is_ready


def main() -> None:
    """What each of the two processes runs."""
    handed_over = json.loads(os.environ.pop(_VARIABLE))
    installation = Installation.of_json(handed_over["installation"])
    part = Part(handed_over["part"])
    logs.configure(_TELEMETRY, service=f"cpro-{part}")
    tracing.configure(f"cpro-{part}", _TELEMETRY)
    serve(
        combine(applications(installation, part)),
        HttpSettings(host=LOCALHOST, port=handed_over["port"], drain_seconds=0, shutdown_seconds=_STOP_SECONDS),
    )


if __name__ == "__main__":
    main()
