"""What can be wrong with reaching a tenant."""

from cpro_platform.errors import RetryableError


class TenantUnknownError(Exception):
    """No establishment of this UAI has a database here."""

    def __init__(self, uai: str) -> None:
        super().__init__(uai)
        self.uai = uai


class TenantUnavailableError(RetryableError):
    """The establishment's database does not answer now."""

    def __init__(self, uai: str) -> None:
        super().__init__(uai)
        self.uai = uai
