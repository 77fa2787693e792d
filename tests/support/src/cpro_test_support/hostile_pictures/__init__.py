"""Pictures that an attacker sends or a broken program makes, each with the outcome that it must have.

All of them are generated; the same ones every time. `ACCEPTED` means accepted and clean: what is kept of it is a plain
picture with nothing else in it. Everything else is the code of a refusal.
"""

from cpro_test_support.hostile_pictures.corpus import hostile_pictures
from cpro_test_support.hostile_pictures.hostile_picture import ACCEPTED, HostilePicture
from cpro_test_support.hostile_pictures.names import HOSTILE_NAMES

__all__ = ["ACCEPTED", "HOSTILE_NAMES", "HostilePicture", "hostile_pictures"]
