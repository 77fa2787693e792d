"""The configurations of all four services over the running servers, apart from every other test's."""

from dataclasses import dataclass
from uuid import uuid4

import cpro_media.bootstrap
import cpro_media.config
import cpro_settings.bootstrap
import cpro_settings.config
import cpro_siecle_import.config
import cpro_transfer.bootstrap
import cpro_transfer.config
from cpro_platform.database import database_conninfo
from cpro_tenant_db import privileges
from cpro_test_support.import_world import prepared_config
from cpro_test_support.roles import own_database, tenants_of
from cpro_test_support.servers import Servers
from cpro_test_support.transfers import fresh_transfer_config


@dataclass(frozen=True, slots=True)
class Configs:
    """One of each service, for one directory of tenants."""

    settings: cpro_settings.config.Config
    media: cpro_media.config.Config
    siecle_import: cpro_siecle_import.config.Config
    transfer: cpro_transfer.config.Config


async def fresh_configs(servers: Servers, smtp_port: int) -> Configs:
    """Databases, buckets and groups that no other test uses, with a mail server of this machine."""
    imports = await prepared_config(servers)
    transfer = await fresh_transfer_config(servers.endpoints, imports.tenants)
    await cpro_transfer.bootstrap.prepare(transfer)
    north, run = servers.endpoints.postgres_clusters["north"], uuid4().hex[:8]
    settings = cpro_settings.config.Config.model_validate(
        {
            "database": own_database(database_conninfo(north, f"cpro_settings_{run}")),
            "tenants": tenants_of(privileges.Service.SETTINGS, imports.tenants),
            "kafka": imports.kafka,
            "oidc": imports.oidc,
            "smtp": {"host": "127.0.0.1", "port": smtp_port, "security": "none", "sender": "cpro@cpro.example"},
            "notifications": {"list_url": "http://localhost/{uai}", "group": f"notify-{run}", "poll_seconds": 0.5},
        }
    )
    await cpro_settings.bootstrap.prepare(settings)
    media = cpro_media.config.Config(
        database=own_database(database_conninfo(north, f"cpro_media_{run}")),
        object_store=imports.object_store.model_copy(update={"bucket": f"media-{run}"}),
        oidc=imports.oidc,
    )
    await cpro_media.bootstrap.prepare(media)
    return Configs(settings, media, imports, transfer)
