"""What an authorisation is worth, on which day."""

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest

from cpro_contracts.establishments import RosterSource
from cpro_contracts.identifiers import IneStatus
from cpro_contracts.pupils import EnrolmentSource
from cpro_contracts.transfers import Reason
from cpro_transfer.domain.authorisations import (
    Authorisation,
    AuthorisationState,
    CollectedBy,
    Doors,
    Ended,
    GivenBy,
    Outlook,
    Terms,
    TermsRefusal,
    is_automatic,
    is_minor,
    outlook,
    refusal_of_terms,
    told,
)

NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)
TERMS = Terms("0750680G", GivenBy.BOTH, date(2026, 9, 14), CollectedBy.HEAD)
ON_SIECLE, BY_HAND = Doors(True, RosterSource.SIECLE), Doors(True, RosterSource.MANUAL)


def an_authorisation(**changes: object) -> Authorisation:
    """One that waits for support."""
    fresh = Authorisation(uuid4(), "0752387M", uuid4(), TERMS, "head", NOON, date(2027, 9, 14))
    return replace(fresh, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("born", "on", "minor"),
    [
        (date(2008, 9, 14), date(2026, 9, 13), True),
        (date(2008, 9, 14), date(2026, 9, 14), False),
        (date(2008, 2, 29), date(2026, 2, 28), True),
        (date(2008, 2, 29), date(2026, 3, 1), False),
        (date(2008, 12, 31), date(2026, 9, 14), True),
    ],
)
def test_somebody_is_a_minor_until_the_day_of_eighteen(born: date, on: date, minor: bool) -> None:
    assert is_minor(born, on) is minor


@pytest.mark.parametrize(
    ("hour", "given_on", "refusal"),
    [
        (datetime(2026, 9, 14, 11, 59, tzinfo=UTC), date(2026, 9, 15), TermsRefusal.DATE_IN_FUTURE),
        (datetime(2026, 9, 14, 12, 1, tzinfo=UTC), date(2026, 9, 15), None),  # in Wallis-et-Futuna it is the 15th
        (datetime(2026, 9, 14, 12, 1, tzinfo=UTC), date(2026, 9, 16), TermsRefusal.DATE_IN_FUTURE),
    ],
)
def test_a_day_is_in_the_future_when_it_is_so_in_every_school(
    hour: datetime, given_on: date, refusal: TermsRefusal | None
) -> None:
    terms = replace(TERMS, given_on=given_on)

    assert refusal_of_terms("0752387M", terms, born=date(2000, 1, 1), now=hour, lifetime_days=365) is refusal


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, AuthorisationState.AWAITING_SUPPORT),
        ({"replayed_at": NOON}, AuthorisationState.REPLAYED),
        ({"replayed_at": NOON, "transfer_id": uuid4()}, AuthorisationState.EXECUTING),
        ({"expires_on": date(2026, 9, 13)}, AuthorisationState.EXPIRED),
        ({"expires_on": date(2026, 9, 13), "transfer_id": uuid4()}, AuthorisationState.EXECUTING),
        ({"ended_as": Ended.REVOKED}, AuthorisationState.REVOKED),
        ({"ended_as": Ended.REPLACED}, AuthorisationState.REVOKED),
        ({"ended_as": Ended.EXPIRED}, AuthorisationState.EXPIRED),
        ({"ended_as": Ended.EXECUTED, "transfer_id": uuid4()}, AuthorisationState.EXECUTED),
    ],
)
def test_where_an_authorisation_stands(changes: dict[str, object], state: AuthorisationState) -> None:
    assert an_authorisation(**changes).state(NOON) is state


def test_an_authorisation_holds_until_its_last_day_is_over_in_every_school() -> None:
    given = an_authorisation(expires_on=date(2026, 9, 13))

    assert given.state(datetime(2026, 9, 14, 9, 59, tzinfo=UTC)) is AuthorisationState.AWAITING_SUPPORT  # Tahiti
    assert given.state(datetime(2026, 9, 14, 10, 1, tzinfo=UTC)) is AuthorisationState.EXPIRED


@pytest.mark.parametrize(
    ("source", "status", "origin", "destination", "reason", "automatic"),
    [
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, ON_SIECLE, Reason.NOT_ARRIVED, True),
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, ON_SIECLE, None, True),
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, BY_HAND, Reason.NOT_ARRIVED, False),
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, BY_HAND, ON_SIECLE, Reason.NOT_ARRIVED, False),
        (EnrolmentSource.SIECLE, IneStatus.ABSENT, ON_SIECLE, ON_SIECLE, Reason.NO_INE, False),
        (EnrolmentSource.MANUAL, IneStatus.TRUSTED, ON_SIECLE, ON_SIECLE, Reason.NOT_FROM_SIECLE, False),
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, ON_SIECLE, Reason.UNDONE, False),
        (EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, ON_SIECLE, Reason.IDENTITY_MISMATCH, False),
        (
            EnrolmentSource.SIECLE, IneStatus.TRUSTED, ON_SIECLE, Doors(False, RosterSource.SIECLE),
            Reason.DESTINATION_NOT_OPTED_IN, False,
        ),
    ],
)  # fmt: skip
def test_automatic_is_what_needs_no_authorisation(
    source: EnrolmentSource,
    status: IneStatus,
    origin: Doors,
    destination: Doors,
    reason: Reason | None,
    automatic: bool,
) -> None:
    assert is_automatic(source, status, origin, destination, reason) is automatic


def test_every_reason_has_an_outlook_and_what_authorisations_say_is_never_automatic() -> None:
    assert {reason: outlook(reason) for reason in Reason if reason.startswith("authorisation_")} == {
        Reason.AUTHORISATION_AWAITING_SUPPORT: Outlook.IMPOSSIBLE,
        Reason.AUTHORISATION_REVOKED: Outlook.IMPOSSIBLE,
        Reason.AUTHORISATION_EXPIRED: Outlook.IMPOSSIBLE,
    }
    assert outlook(Reason.IN_PROGRESS) is Outlook.UNDER_WAY
    assert outlook(Reason.NOT_ARRIVED) is Outlook.EXPECTED


def test_what_is_under_way_is_told_rather_than_an_authorisation() -> None:
    assert told(Reason.IN_PROGRESS, NOON, an_authorisation(), NOON) == (Reason.IN_PROGRESS, NOON)
    assert told(Reason.NO_INE, NOON, an_authorisation(), NOON)[0] is Reason.AUTHORISATION_AWAITING_SUPPORT
    assert told(Reason.NOT_ARRIVED, NOON, an_authorisation(replayed_at=NOON), NOON) == (Reason.NOT_ARRIVED, NOON)
    executed = an_authorisation(ended_as=Ended.EXECUTED, transfer_id=uuid4())
    assert told(Reason.NO_INE, NOON, executed, NOON) == (Reason.NO_INE, NOON)
