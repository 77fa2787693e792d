"""Files that must be refused: what an attacker sends, and what a clumsy hand makes of an export.

All of them are generated; the same ones every time. Each has a name, the code or codes with which it must be refused,
and a function that makes it for a school.
"""

from cpro_test_support.hostile_files.corpus import hostile_files
from cpro_test_support.hostile_files.hostile_file import HostileFile, Target

__all__ = ["HostileFile", "Target", "hostile_files"]
