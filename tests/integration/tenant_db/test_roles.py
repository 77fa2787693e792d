"""Tenants apart: what a service's login in one school's database can't do, however it is asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from cpro_platform.database import Connection, database_conninfo
from cpro_tenant_db import provisioning, roles
from cpro_tenant_db.connections import TenantConnections
from cpro_tenant_db.directory import Tenant
from cpro_tenant_db.privileges import SEQUENCES, TABLES, Service
from cpro_tenant_db.roles import ServiceLogins, TenantAccess
from cpro_test_support.roles import ACCESS
from cpro_test_support.schools import Schools
from cpro_test_support.transfers import new_uai

SECRET_NAME = "Zéphirine-Canari"
SERVICES = list(Service)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two schools on one cluster: the attacker has a login in `own`, and wants what is in `other`."""

    cluster: str
    own: Tenant
    other: Tenant

    def login(self, service: Service, tenant: Tenant) -> str:
        return ServiceLogins(service, ACCESS.logins[service]).to_tenant(self.owner(tenant), tenant.uai)

    def owner(self, tenant: Tenant) -> str:
        return database_conninfo(self.cluster, tenant.database)


@asynccontextmanager
async def connected(conninfo: str) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=10) as connection:
        yield connection


async def one(connection: Connection, query: str, *arguments: object) -> object:
    row = await (await connection.execute(query.encode(), arguments or None)).fetchone()
    assert row is not None
    return row[0]


async def a_tenant(schools: Schools, access: TenantAccess = ACCESS) -> Tenant:
    return await provisioning.create_tenant(
        schools.directory, schools.endpoints.postgres_clusters, new_uai(), "north", access
    )


@pytest.fixture(scope="module")
async def neighbours(schools: Schools) -> Neighbours:
    cluster = schools.endpoints.postgres_clusters["north"]
    made = Neighbours(cluster, await a_tenant(schools), await a_tenant(schools))
    for tenant in (made.own, made.other):
        async with connected(made.owner(tenant)) as owner:
            # As a careless administrator may have left it: the doors to other databases are installed.
            for extension in ("dblink", "postgres_fdw"):
                await owner.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
            await owner.execute(
                "INSERT INTO pupil (family_name, first_name, birth_date, source, match_key) "
                "VALUES (%s, 'A', '2009-01-02', 'siecle', 'none')",
                (SECRET_NAME,),
            )
    return made


# ------------------------------------------------------------------------------------------------ connecting


@pytest.mark.parametrize("service", SERVICES)
async def test_a_login_opens_its_own_schools_database_and_no_other(neighbours: Neighbours, service: Service) -> None:
    own = neighbours.login(service, neighbours.own)
    async with connected(own) as connection:
        assert await one(connection, "SELECT current_user") == roles.login_of(service, neighbours.own.uai)

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        async with connected(make_conninfo(own, dbname=neighbours.other.database)):
            pass


@pytest.mark.parametrize("service", SERVICES)
async def test_a_login_opens_no_other_schools_database_with_the_other_schools_name(
    neighbours: Neighbours, service: Service
) -> None:
    own = conninfo_to_dict(neighbours.login(service, neighbours.own))
    theirs = neighbours.login(service, neighbours.other)

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        async with connected(make_conninfo(theirs, password=str(own["password"]))):
            pass


async def test_a_login_opens_neither_the_directory_nor_a_services_database(
    neighbours: Neighbours, schools: Schools
) -> None:
    own = neighbours.login(Service.TRANSFER, neighbours.own)
    directory = str(conninfo_to_dict(schools.directory_url)["dbname"])

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        async with connected(make_conninfo(own, dbname=directory)):
            pass


async def test_the_directory_is_read_by_the_services_and_changed_by_none(schools: Schools) -> None:
    for service in ACCESS.secrets:
        login = ServiceLogins(service, ACCESS.secrets[service]).to_directory(schools.directory_url)
        async with connected(login) as connection:
            await connection.execute("SELECT uai, cluster, database FROM tenant")
            for change in ("UPDATE tenant SET database = 'postgres'", "DELETE FROM tenant", "TRUNCATE tenant"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(change.encode())


# ------------------------------------------------------------------------------------------------ attacks

ATTACKS = {
    # To another database of the cluster.
    "name the other database": "SELECT family_name FROM {other}.public.pupil",
    "dblink without a password": "SELECT * FROM dblink('dbname={other}', 'SELECT family_name FROM pupil') AS t (x text)",
    "dblink with its own password": "SELECT * FROM dblink('{own_elsewhere}', 'SELECT family_name FROM pupil') AS t (x text)",
    "dblink as somebody else's operating system user": "SELECT dblink_connect_u('x', 'dbname={other}')",
    "a foreign server": "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '{other}')",
    "another extension": "CREATE EXTENSION file_fdw",
    "a copy of the other database": "CREATE DATABASE stolen TEMPLATE {other}",
    "a database of its own": "CREATE DATABASE mine",
    # To the server's files and programs.
    "copy to a program": "COPY (SELECT 1) TO PROGRAM 'cat'",
    "copy from a program": "COPY pg_temp.nowhere FROM PROGRAM 'id'",
    "copy from a file": "DO $$ BEGIN CREATE TEMP TABLE f (x text); COPY f FROM '/etc/passwd'; END $$",
    "read a file": "SELECT pg_read_file('PG_VERSION')",
    "read a file in bytes": "SELECT pg_read_binary_file('global/pg_control')",
    "list a folder": "SELECT pg_ls_dir('base')",
    "import a file": "SELECT lo_import('/etc/passwd')",
    "a function in C": "CREATE FUNCTION pg_temp.f() RETURNS int AS 'libc', 'getpid' LANGUAGE c",
    "a server's setting": "ALTER SYSTEM SET log_statement = 'all'",
    # To other roles.
    "become the owner": "SET ROLE {owner}",
    "become the owner for the session": "SET SESSION AUTHORIZATION {owner}",
    "become its own login at the other school": "SET ROLE {other_login}",
    "become another service": "SET ROLE cpro_tenant_{another}",
    "become another service in a block": "DO $$ BEGIN EXECUTE 'SET ROLE cpro_tenant_{another}'; END $$",
    "be a member of another service": "GRANT cpro_tenant_{another} TO CURRENT_USER",
    "make itself a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "make a role": "CREATE ROLE accomplice LOGIN",
    "change another's password": "ALTER ROLE {other_login} PASSWORD 'known'",
    "read the passwords": "SELECT rolpassword FROM pg_authid",
    "let others in": "GRANT CONNECT ON DATABASE {own} TO PUBLIC; SELECT 1 / (SELECT count(*)::int FROM pg_database d"
    " WHERE datname = '{own}' AND array_to_string(datacl, ',') LIKE '%=c%')",
    # Around the guards.
    "a schema before ours": "CREATE SCHEMA mine",
    "a table of its own": "CREATE TABLE public.mine (x int)",
    "a function of its own": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a trigger of its own": "CREATE TRIGGER t BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse_truncate()",
    "switch triggers off": "ALTER TABLE report DISABLE TRIGGER ALL",
    "be a replica, which sets off no trigger": "SET session_replication_role = replica",
    "empty a table": "TRUNCATE report",
    "drop a table": "DROP TABLE report",
    "change the schema's version": "UPDATE alembic_version SET version_num = '0'",
    "end somebody's session": "SELECT pg_terminate_backend({owner_pid})",
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_from_within_a_school_is_refused(neighbours: Neighbours, attack: str, service: Service) -> None:
    own, other = neighbours.own, neighbours.other
    login = neighbours.login(service, own)
    async with connected(neighbours.owner(own)) as owner, connected(login) as connection:
        statement = ATTACKS[attack].format(
            own=own.database,
            other=other.database,
            own_elsewhere=make_conninfo(login, dbname=other.database),
            other_login=roles.login_of(service, other.uai),
            another=next(one for one in SERVICES if one is not service),
            owner=await one(owner, "SELECT current_user"),
            owner_pid=owner.info.backend_pid,
        )

        with pytest.raises(psycopg.Error) as refused:
            await connection.execute(statement.encode())

        assert refused.value.sqlstate in _REFUSALS, refused.value
        assert SECRET_NAME not in str(refused.value)
        assert await one(owner, "SELECT count(*) FROM pupil") == 1


_REFUSALS = {
    "42501",  # insufficient privilege
    "0A000",  # references to other databases are not implemented
    "08001",  # dblink: the other database let nobody in
    "2F003",  # dblink: a password is required
    "42P01",  # the temporary table of "copy from a program" is looked up first
    "22012",  # "let others in": the GRANT is only a warning; nothing was granted, so that the division is by zero
}


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        (Service.SETTINGS, "SELECT family_name FROM pupil"),
        (Service.SETTINGS, "SELECT * FROM report"),
        (Service.SETTINGS, "DELETE FROM transfer_opt_in_history"),
        (Service.SETTINGS, "SELECT * FROM transfer_receipt"),
        (Service.SIECLE_IMPORT, "SELECT * FROM report"),
        (Service.SIECLE_IMPORT, "DELETE FROM report"),
        (Service.SIECLE_IMPORT, "UPDATE transfer_opt_in SET enabled = true"),
        (Service.SIECLE_IMPORT, "DELETE FROM pupil"),
        (Service.SIECLE_IMPORT, "DELETE FROM transfer_hold"),
        (Service.TRANSFER, "DELETE FROM pupil"),
        (Service.TRANSFER, "UPDATE transfer_receipt SET hash = 'forged'"),
        (Service.TRANSFER, "DELETE FROM transfer_receipt"),
        (Service.TRANSFER, "UPDATE transfer_opt_in_history SET changed_by = 'nobody'"),
        (Service.TRANSFER, "INSERT INTO siecle_import_applied DEFAULT VALUES"),
    ],
)
async def test_a_service_does_not_do_what_is_not_its_work(
    neighbours: Neighbours, service: Service, statement: str
) -> None:
    async with connected(neighbours.login(service, neighbours.own)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


async def test_a_session_does_not_see_what_others_ask(neighbours: Neighbours) -> None:
    async with (
        connected(neighbours.owner(neighbours.own)) as owner,
        connected(neighbours.login(Service.TRANSFER, neighbours.own)) as connection,
    ):
        await owner.execute("SELECT 'what the owner looks for'")
        seen = await one(connection, "SELECT query FROM pg_stat_activity WHERE pid = %s", owner.info.backend_pid)

    assert seen == "<insufficient privilege>"


# ------------------------------------------------------------------------------------------------ the list of rights


async def test_the_rights_in_the_database_are_those_of_the_list(neighbours: Neighbours) -> None:
    async with connected(neighbours.owner(neighbours.own)) as owner:
        for service in SERVICES:
            rows = await (
                await owner.execute(
                    "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = %s",
                    (roles.group_of(service),),
                )
            ).fetchall()

            columns = await (
                await owner.execute(
                    "SELECT table_name, 'SELECT (' || string_agg(column_name, ', ' ORDER BY column_name) || ')' "
                    "FROM information_schema.role_column_grants WHERE grantee = %s AND NOT table_name = ANY (%s) "
                    "GROUP BY table_name",
                    (roles.group_of(service), [table for table, _ in rows]),
                )
            ).fetchall()

            expected = {(table, right) for table, rights in TABLES[service].items() for right in rights}
            assert {*rows, *columns} == expected


async def test_every_table_is_in_the_list_of_a_service(neighbours: Neighbours) -> None:
    async with connected(neighbours.owner(neighbours.own)) as owner:
        live = {
            row[0]
            for row in await (
                await owner.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            ).fetchall()
        }

    assert live == {table for tables in TABLES.values() for table in tables}
    assert set(SEQUENCES) == set(TABLES) == set(SERVICES)


async def test_the_roles_by_themselves_may_nothing(neighbours: Neighbours) -> None:
    names = [roles.group_of(service) for service in SERVICES]
    names += [roles.login_of(service, neighbours.own.uai) for service in SERVICES]
    async with connected(neighbours.cluster + "/postgres") as owner:
        rows = await (
            await owner.execute(
                "SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolcanlogin "
                "FROM pg_roles WHERE rolname = ANY (%s)",
                (names,),
            )
        ).fetchall()

    assert {(name, powerful, logs_in) for name, powerful, logs_in in rows} == {
        (name, False, not name.startswith("cpro_tenant_")) for name in names
    }


# ------------------------------------------------------------------------------------------------ over time


async def _granted(schools: Schools, tenant: Tenant, access: TenantAccess) -> None:
    """What `cpro-tenants grant` does, of one tenant."""
    await provisioning.migrate_tenant(schools.directory, schools.endpoints.postgres_clusters, tenant, access)


async def test_an_installation_from_before_is_closed_by_granting(schools: Schools) -> None:
    tenant = await a_tenant(schools, provisioning.NO_ACCESS)
    cluster = schools.endpoints.postgres_clusters["north"]
    stranger = make_conninfo(
        database_conninfo(cluster, tenant.database), user=f"stranger_{uuid4().hex[:8]}", password="x"
    )
    name = sql.Identifier(str(conninfo_to_dict(stranger)["user"]))
    async with connected(database_conninfo(cluster, "postgres")) as owner:
        await owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(name))
    async with connected(stranger):
        pass  # anybody could

    await _granted(schools, tenant, ACCESS)
    await _granted(schools, tenant, ACCESS)

    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        async with connected(stranger):
            pass
    await _granted(
        schools, tenant, TenantAccess(ACCESS.secrets, keep_connect=(str(conninfo_to_dict(stranger)["user"]),))
    )
    async with connected(stranger):
        pass  # a role of the core application


async def test_a_new_secret_shuts_out_the_old_one(schools: Schools) -> None:
    tenant = await a_tenant(schools)
    conninfo = database_conninfo(schools.endpoints.postgres_clusters["north"], tenant.database)
    renewed = SecretStr("another secret, which is new, for tests only")
    old = ServiceLogins(Service.TRANSFER, ACCESS.secrets[Service.TRANSFER]).to_tenant(conninfo, tenant.uai)

    await _granted(schools, tenant, TenantAccess({**ACCESS.secrets, Service.TRANSFER: renewed}))

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        async with connected(old):
            pass
    async with connected(ServiceLogins(Service.TRANSFER, renewed).to_tenant(conninfo, tenant.uai)):
        pass


async def test_a_right_that_is_no_longer_in_the_list_is_taken_back(neighbours: Neighbours, schools: Schools) -> None:
    group = sql.Identifier(roles.group_of(Service.SETTINGS))
    async with connected(neighbours.owner(neighbours.own)) as owner:
        await owner.execute(sql.SQL("GRANT SELECT ON pupil TO {}").format(group))

    await _granted(schools, neighbours.own, ACCESS)

    async with connected(neighbours.login(Service.SETTINGS, neighbours.own)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("SELECT 1 FROM pupil")


async def test_connections_of_a_service_are_the_tenants_own(neighbours: Neighbours, schools: Schools) -> None:
    logins = ServiceLogins(Service.TRANSFER, ACCESS.secrets[Service.TRANSFER])
    lent = TenantConnections(
        schools.directory, schools.endpoints.postgres_clusters, application_name="tests", logins=logins
    )
    try:
        for tenant in (neighbours.own, neighbours.other):
            async with lent.begin(tenant.uai) as tx:
                found = (await one(tx, "SELECT current_user"), await one(tx, "SELECT current_database()"))
            assert found == (roles.login_of(Service.TRANSFER, tenant.uai), tenant.database)
    finally:
        await lent.close()
