"""What a mover or support can meet, named by what they do then."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from cpro_contracts.transfers import Reason
from cpro_platform.errors import RetryableError
from cpro_transfer.domain.authorisations import Authorisation
from cpro_transfer.domain.subjects import ErasurePlan
from cpro_transfer.domain.transfers import Transfer
from cpro_transfer.domain.undoing import Refusal, Touched


class RecordsBusyError(RetryableError):
    """Another transfer holds the records of a pupil there. It will end."""


class PreflightError(Exception):
    """This database must not be moved into or out of now, whoever the pupil is. The transfers are held."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TenantInTroubleError(PreflightError, RetryableError):
    """This establishment's database is away or full, whoever the pupil is. It is waited for.

    Before the landing the transfers are set aside, so that the school can work on its records meanwhile; after it they
    are tried again with growing delays, as after any other error that passes.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.TENANT_UNAVAILABLE, detail)


class LandingRefusedError(Exception):
    """The destination refuses some of the transfers; nothing was written. They are held, the others tried again."""

    def __init__(self, reasons: Mapping[UUID, Reason]) -> None:
        super().__init__(", ".join(sorted({str(reason) for reason in reasons.values()})))
        self.reasons = reasons


class SupersededError(Exception):
    """A later epoch has taken some of the transfers over. The mover drops everything it has of them."""


class RecordsChangedError(Exception):
    """At the origin, the rows are not those that landed. Nothing was deleted; a person must look."""


class NotNowError(Exception):
    """The transfer is in a state in which what support asks for means nothing. Nothing was changed."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(transfer.state)
        self.transfer = transfer


class UndoRefusedError(Exception):
    """This transfer is not undone, and why: with the rows in the way, where rows are. Nothing was changed."""

    def __init__(self, refusal: Refusal, transfer: Transfer, touched: Sequence[Touched] = ()) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        self.transfer = transfer
        self.touched = touched


class _AboutAuthorisationError(Exception):
    def __init__(self, authorisation: Authorisation) -> None:
        super().__init__(str(authorisation.id))
        self.authorisation = authorisation


class AuthorisationBegunError(_AboutAuthorisationError):
    """The records move, or have moved, under this authorisation: it can't be taken back or changed."""


class AuthorisationEndedError(_AboutAuthorisationError):
    """This authorisation was taken back, or has expired."""


class AuthorisationTakenError(_AboutAuthorisationError):
    """Support has this authorisation in hand already, under another ticket or for another pupil."""


class ReplayRefusedError(Exception):
    """The establishment's own database says that this can't be replayed. Nothing was published there."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class SubjectUnknownError(Exception):
    """Nothing is held of such a pupil."""


class TransferUnderWayError(Exception):
    """A transfer of this pupil is in a mover's hands. Once it has ended, the pupil can be erased."""


class ErasurePlanChangedError(Exception):
    """What is held of the pupil is not what was confirmed."""

    def __init__(self, plan: ErasurePlan) -> None:
        super().__init__(plan.digest)
        self.plan = plan
