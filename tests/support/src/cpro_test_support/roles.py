"""The services' logins in the tests: as an installation has them, so that a right that is missing is seen."""

from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from cpro_platform.config import DatabaseSettings, TenantSettings
from cpro_tenant_db.privileges import WITH_SECRET, Service
from cpro_tenant_db.roles import TenantAccess

ACCESS = TenantAccess({service: SecretStr(f"the secret of {service}, for tests only") for service in WITH_SECRET})
_LOGIN = "cpro_service_under_test"


def tenants_of(service: Service, tenants: TenantSettings) -> TenantSettings:
    """The settings of a service that logs in to establishments as itself; tests themselves are the owner."""
    return tenants.model_copy(update={"role_secret": ACCESS.secrets[service]})


def own_database(owner_conninfo: str) -> DatabaseSettings:
    """A service's own database, with the owner for `prepare` and for tests that do what no service may."""
    login = make_conninfo(owner_conninfo, user=_LOGIN, password="for-tests-only")
    return DatabaseSettings(url=SecretStr(login), owner_url=SecretStr(owner_conninfo))
