"""The use cases: what is asked for, how an import is carried out, what is let go."""

from cpro_siecle_import.handlers.asking import cancel, confirm, found, received, request_import
from cpro_siecle_import.handlers.following import Followers
from cpro_siecle_import.handlers.importing import ImportRules, run_import
from cpro_siecle_import.handlers.rotating import rotate
from cpro_siecle_import.handlers.sweeping import sweep

__all__ = [
    "Followers",
    "ImportRules",
    "cancel",
    "confirm",
    "found",
    "received",
    "request_import",
    "rotate",
    "run_import",
    "sweep",
]
