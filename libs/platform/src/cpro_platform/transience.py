"""Tell a dependency that is away from an input that is wrong: the first is waited for, the second set aside."""

import psycopg
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

from cpro_platform.errors import RetryableError


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later without anything being changed.

    psycopg's OperationalError covers lost connections, shutdowns, full disks, lock time-outs, deadlocks and
    serialization failures. A server that has become read-only is on its way to be replaced. One that has ended our
    transaction because we slept in it has done what it was told to: nothing is wrong with what we were doing.
    """
    if isinstance(error, KafkaError):
        return error.retriable or isinstance(error, KafkaConnectionError | KafkaTimeoutError)
    return isinstance(
        error,
        RetryableError
        | psycopg.OperationalError
        | psycopg.InterfaceError
        | psycopg.errors.ReadOnlySqlTransaction
        | psycopg.errors.IdleInTransactionSessionTimeout
        | psycopg.errors.TransactionTimeout
        | OSError
        | TimeoutError,
    )
