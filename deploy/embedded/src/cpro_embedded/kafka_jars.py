"""The Kafka broker's jars: fetched once by Maven into the repository's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cpro_embedded.errors import MissingPrerequisiteError

_DISTRIBUTION = Path(__file__).resolve().parents[2]
POM = _DISTRIBUTION / "kafka" / "pom.xml"
CACHE = _DISTRIBUTION.parents[1] / ".cache" / "kafka"


def kafka_jars() -> Path:
    """Folder of the jars of `POM`, fetched when absent. Safe to call from several processes at once.

    Raises:
        MissingPrerequisiteError: Maven is not there, or could not fetch them.
    """
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPrerequisiteError("Maven (mvn) is needed to fetch the Kafka broker: run `make setup`")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(maven, folder)
    return folder


def _fetch(maven: str, folder: Path) -> None:
    """Into a folder beside it first, then renamed: a fetch that was cut short is never taken for a whole one."""
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=CACHE))
    try:
        fetched = subprocess.run(  # noqa: S603 - Maven from PATH on this repository's own file
            [
                *(maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
                *(f"-DoutputDirectory={draft}", "-DincludeScope=runtime"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode != 0:
            raise MissingPrerequisiteError(f"Maven could not fetch the Kafka broker:\n{fetched.stdout}{fetched.stderr}")
        draft.chmod(0o755)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def java() -> str:
    """The `java` program: of JAVA_HOME when set, else from PATH.

    Raises:
        MissingPrerequisiteError: There is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise MissingPrerequisiteError("Java 17 or later is needed to run Kafka: run `make setup`")
    return found


if __name__ == "__main__":
    try:
        kafka_jars()
    except MissingPrerequisiteError as missing:
        sys.exit(str(missing))
