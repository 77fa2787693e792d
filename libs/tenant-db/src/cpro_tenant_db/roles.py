"""Tenants apart: a database login for each service in each establishment, which opens that one database and no other.

What a service may do is granted to a role of the service that nobody logs in as (`cpro_tenant_transfer`). Who logs in
is a role of the service in one establishment (`cpro_transfer_0752387m`): a member of the first, and allowed to connect
to its own database only. So a connection that was opened for one school can't be used, by whatever mistake in a query,
to reach another's, and credentials that leak open one school.

No password is stored: each is derived from a secret of the service, which is a setting of the service and of
`cpro-tenants`, and of nothing else. Roles are of a cluster; each cluster has those of its own establishments.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from cpro_platform.config import TenantSettings
from cpro_platform.database import Connection, database_conninfo, ensure_login
from cpro_tenant_db.privileges import SEQUENCES, TABLES, Service


def group_of(service: Service) -> str:
    """The role that holds the rights of a service in every establishment of a cluster."""
    return f"cpro_tenant_{service}"


def login_of(service: Service, uai: str) -> str:
    """The role as which a service logs in to one establishment's database."""
    return f"cpro_{service}_{uai.lower()}"


def directory_login_of(service: Service) -> str:
    """The role as which a service reads the directory."""
    return f"cpro_directory_{service}"


def password_of(secret: SecretStr, login: str) -> str:
    """The password of a login: the same for whoever knows the secret."""
    return hmac.new(secret.get_secret_value().encode(), login.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class ServiceLogins:
    """How a service logs in: as itself in one establishment, whatever user the cluster's connection string names."""

    service: Service
    secret: SecretStr | None

    @classmethod
    def of(cls, service: Service, settings: TenantSettings) -> "ServiceLogins":
        """The logins of a service's settings. Without a secret it keeps the users of the connection strings."""
        return cls(service, settings.role_secret)

    def to_tenant(self, conninfo: str, uai: str) -> str:
        """The connection string of an establishment's database, as the service's login there."""
        return self._as(conninfo, login_of(self.service, uai))

    def to_directory(self, conninfo: str) -> str:
        """The directory's connection string, as the service's login there."""
        return self._as(conninfo, directory_login_of(self.service))

    def _as(self, conninfo: str, login: str) -> str:
        if self.secret is None:
            return conninfo
        return make_conninfo(conninfo, user=login, password=password_of(self.secret, login))


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """Who is let in to establishments' databases: services that have a secret, and roles of the core application."""

    secrets: Mapping[Service, SecretStr] = field(default_factory=dict)
    keep_connect: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether databases are closed to everybody else. Without any secret they stay as they are."""
        return bool(self.secrets)

    @property
    def logins(self) -> Mapping[Service, SecretStr]:
        """By whose secret each logs in: the privacy login is the transfer service's second one."""
        if Service.TRANSFER not in self.secrets:
            return self.secrets
        return {**self.secrets, Service.PRIVACY: self.secrets[Service.TRANSFER]}


async def let_in(cluster_conninfo: str, database: str, uai: str, access: TenantAccess) -> None:
    """Close an establishment's database to all but its logins, and give those their rights. Safe to repeat.

    The owner runs it: whoever creates databases and roles on the cluster. A secret that has changed changes passwords.
    """
    async with await _connected(database_conninfo(cluster_conninfo, "postgres")) as connection:
        for service, secret in access.logins.items():
            login = login_of(service, uai)
            await ensure_login(connection, login, password_of(secret, login), member_of=group_of(service))
    logins = (*(login_of(service, uai) for service in access.logins), *access.keep_connect)
    statements = [_closed(database), *(_connecting(database, role) for role in logins)]
    for service in access.logins:
        statements += _rights(service)
    async with await _connected(database_conninfo(cluster_conninfo, database)) as connection:
        await _execute(connection, statements)


async def let_in_to_directory(directory_conninfo: str, database: str, access: TenantAccess) -> None:
    """The same for the directory, which services only read. Safe to repeat."""
    statements: list[sql.Composable] = [_closed(database)]
    async with await _connected(directory_conninfo) as connection:
        for service, secret in access.secrets.items():
            login = directory_login_of(service)
            await ensure_login(connection, login, password_of(secret, login))
            statements += [
                _connecting(database, login), sql.SQL("GRANT SELECT ON tenant TO {}").format(sql.Identifier(login))
            ]  # fmt: skip
        await _execute(connection, statements)


def _closed(database: str) -> sql.Composed:
    return sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))


def _connecting(database: str, login: str) -> sql.Composed:
    return sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
        sql.Identifier(database), sql.Identifier(login)
    )


def _rights(service: Service) -> list[sql.Composed]:
    """Exactly the service's list: what an earlier version granted besides is taken back."""
    group = sql.Identifier(group_of(service))
    first = ("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}", "GRANT USAGE ON SCHEMA public TO {}")
    statements = [sql.SQL(text).format(group) for text in first]
    for table, privileges in TABLES[service].items():
        granted = sql.SQL(", ").join(map(sql.SQL, privileges))
        statements.append(sql.SQL("GRANT {} ON {} TO {}").format(granted, sql.Identifier(table), group))
    for sequence, privileges in SEQUENCES[service].items():
        granted = sql.SQL(", ").join(map(sql.SQL, privileges))
        statements.append(sql.SQL("GRANT {} ON SEQUENCE {} TO {}").format(granted, sql.Identifier(sequence), group))
    return statements


async def _execute(connection: Connection, statements: Sequence[sql.Composable]) -> None:
    """In one transaction and one exchange with the server: there are some forty for each establishment."""
    await connection.execute(sql.SQL("; ").join(statements))


async def _connected(conninfo: str) -> Connection:
    return await AsyncConnection.connect(conninfo, autocommit=True, application_name="cpro-tenants")
