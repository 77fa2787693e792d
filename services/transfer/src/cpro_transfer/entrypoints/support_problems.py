"""What support is told when a transfer can't be retried, cancelled or undone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cpro_contracts.problems import ESTABLISHMENT_UNKNOWN, ProblemCode
from cpro_platform.errors import RefusedError
from cpro_tenant_db.errors import TenantUnknownError
from cpro_transfer.domain.undoing import Refusal
from cpro_transfer.errors import NotNowError, UndoRefusedError

NOT_RETRYABLE = ProblemCode(
    "transfer_not_waiting",
    409,
    "Ce transfert n'attend pas",
    "This transfer is neither held nor postponed",
)
NOT_CANCELLABLE = ProblemCode(
    "transfer_past_cancelling",
    409,
    "Ce transfert ne peut plus être annulé",
    "This transfer is past cancelling",
)
UNDO_UNDER_WAY = ProblemCode(
    "undo_under_way", 409, "Ce transfert est déjà en train d'être défait", "This transfer is being undone already"
)
UNDO_REFUSED = ProblemCode("undo_refused", 409, "Ce transfert ne peut pas être défait", "This transfer can't be undone")

MOST_TOUCHED = 200
"""So many of the rows in the way are listed; all are counted."""

_WHY: Mapping[Refusal, tuple[str, str]] = {
    Refusal.NOT_COMPLETED: ("Il n'est pas terminé.", "It is not completed."),
    Refusal.ALREADY_UNDONE: ("Il a déjà été défait.", "It has been undone already."),
    Refusal.IS_AN_UNDO: (
        "C'est un retour : il ne se défait pas. Les données repartiront par un nouveau transfert.",
        "It is an undo, which is not undone: the records go again by a new transfer.",
    ),
    Refusal.TOO_LATE: ("Le délai est passé.", "The time for that is over."),
    Refusal.MOVED_ON: (
        "Les données ont quitté l'établissement d'accueil depuis, ou vont le quitter.",
        "The records have left the new school since, or are about to.",
    ),
    Refusal.RECEIPT_MISSING: (
        "L'établissement d'accueil n'a pas le reçu de ce transfert : sa base a été restaurée.",
        "The new school has no receipt of this transfer: its database was restored.",
    ),
    Refusal.RECORDS_EDITED: (
        "L'établissement d'accueil a modifié des données reçues, ou en a ajouté qui en dépendent.",
        "The new school has changed records that it received, or added some that hang from them.",
    ),
}


@contextmanager
def as_problems(not_now: ProblemCode) -> Iterator[None]:
    """What the handlers refuse, as problems; `not_now` for a state in which the act means nothing."""
    try:
        yield
    except NotNowError as error:
        state, reason = error.transfer.state, error.transfer.reason
        raise RefusedError(
            not_now, f"Son état : {state}.", f"Its state: {state}.", state=str(state), reason=reason and str(reason)
        ) from error
    except UndoRefusedError as error:
        touched = [
            {"table": one.table, "id": str(one.row_id), "change": str(one.change)}
            for one in error.touched[:MOST_TOUCHED]
        ]
        raise RefusedError(
            UNDO_REFUSED, *_WHY[error.refusal], reason=str(error.refusal), touched=touched, number=len(error.touched)
        ) from error
    except TenantUnknownError as unknown:
        raise RefusedError(
            ESTABLISHMENT_UNKNOWN,
            f"Aucun établissement {unknown.uai} n'utilise CPro.",
            f"No establishment {unknown.uai} uses CPro.",
        ) from unknown
