"""What each service may do in an establishment's database, table by table: the whole list.

A table that is not named for a service can't be read by it. A table that is named for none fails a test
(`tests/integration/tenant_db/test_roles.py`): whoever adds one decides here. The functions of the triggers run with the
rights of whoever sets them off, so what they read and write is part of the list.
"""

from collections.abc import Mapping
from enum import StrEnum

from cpro_tenant_db.catalogue import CATALOGUE


class Service(StrEnum):
    """A service that works in the establishments' databases. media does not."""

    SETTINGS = "settings"
    SIECLE_IMPORT = "siecle_import"
    TRANSFER = "transfer"
    PRIVACY = "privacy"
    """The transfer service where it exports or erases a pupil and lets go of what is old: never a mover."""


WITH_SECRET = (Service.SETTINGS, Service.SIECLE_IMPORT, Service.TRANSFER)
"""Those whose logins come of a secret of their own. The privacy login comes of the transfer service's."""

_READ = ("SELECT",)
_APPEND = ("SELECT", "INSERT")
_CHANGE = ("SELECT", "UPDATE")
_KEEP = ("SELECT", "INSERT", "UPDATE")
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")
_ERASE = ("SELECT", "DELETE")

_SCHEMA_VERSION = {"alembic_version": _READ}

TABLES: Mapping[Service, Mapping[str, tuple[str, ...]]] = {
    Service.SETTINGS: _SCHEMA_VERSION
    | {"transfer_opt_in": _CHANGE, "transfer_opt_in_history": _APPEND, "outbox": _ALL},
    Service.SIECLE_IMPORT: _SCHEMA_VERSION
    # It tells how many records a pupil who leaves has: it counts them, and can't read them.
    | {table.name: (f"SELECT (id, {table.parent_column})",) for table in CATALOGUE}
    | {
        "pupil": _KEEP,
        "pupil_ine_alias": _KEEP,
        "siecle_import_applied": _APPEND,
        # A rotation of the match secret passes over who is held for a transfer.
        "transfer_hold": _READ,
        "siecle_import_finding": _ALL,
        "siecle_import_change": _ALL,
        "outbox": _ALL,
    },
    Service.TRANSFER: _SCHEMA_VERSION
    | {table.name: _ALL for table in CATALOGUE}
    | {
        # Creates a pupil at the destination for an authorised transfer, and marks who has left. Never deletes one.
        "pupil": _KEEP,
        "pupil_ine_alias": _READ,
        "siecle_import_applied": _READ,
        # The mover reads it under lock, which takes the right to change it.
        "transfer_opt_in": _CHANGE,
        # A reconciliation notes that it gave a restored opt-in a newer revision.
        "transfer_opt_in_history": _APPEND,
        "transfer_hold": _ALL,
        "transfer_fence": _ALL,
        # A receipt is proof: nobody changes or deletes one.
        "transfer_receipt": _APPEND,
        "transfer_receipt_chain": _CHANGE,
        "transfer_object_removal": _ALL,
        "outbox": _ALL,
    },
    Service.PRIVACY: _SCHEMA_VERSION
    | {table.name: _ERASE for table in CATALOGUE}
    | {
        # Locked before anything is looked for, which takes the right to change it.
        "pupil": (*_ERASE, "UPDATE"),
        "pupil_ine_alias": _ERASE,
        "siecle_import_finding": _ERASE,
        "siecle_import_change": _ERASE,
        "transfer_hold": _READ,
        "transfer_fence": _READ,
        "transfer_receipt": _ERASE,
        "transfer_receipt_chain": _CHANGE,
        "transfer_object_removal": _ALL,
        # Tells that a pupil goes by no match key any more, and forgets what was told of who is erased.
        "outbox": _ALL,
    },
}

_NEXT = ("USAGE", "SELECT")
SEQUENCES: Mapping[Service, Mapping[str, tuple[str, ...]]] = {
    Service.SETTINGS: {"pupil_revision": _NEXT},
    Service.SIECLE_IMPORT: {"pupil_revision": _NEXT},
    # A reconciliation makes it go on after what a school that was restored had already said.
    Service.TRANSFER: {"pupil_revision": (*_NEXT, "UPDATE")},
    Service.PRIVACY: {"pupil_revision": _NEXT},
}
