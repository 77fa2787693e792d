"""The use cases: what is asked for (`asking`), and how an import is carried out (`importing`)."""

from cpro_siecle_import.handlers.asking import cancel, confirm, found, receive_upload
from cpro_siecle_import.handlers.importing import ImportRules, run_import

__all__ = ["ImportRules", "cancel", "confirm", "found", "receive_upload", "run_import"]
