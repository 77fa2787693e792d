"""Free local ports."""

import secrets
import socket
import threading

# Below the ports that the kernel gives to outgoing connections (32768 and up): while a server is down, in an outage
# test, a client that retries must not be given the server's own port and end up connected to itself.
FIRST_PORT = 15000
LAST_PORT = 32000

LOCALHOST = "127.0.0.1"


_given: set[int] = set()
_giving = threading.Lock()


def free_ports(count: int) -> tuple[int, ...]:
    """`count` ports on 127.0.0.1 where nothing listens, drawn at random so that two stacks don't collide.

    None is given twice by one process: between the choice and the server's start nothing listens there.
    """
    chosen: list[int] = []
    with _giving:
        while len(chosen) < count:
            port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
            if port not in _given and _is_free(port):
                _given.add(port)
                chosen.append(port)
    return tuple(chosen)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    """Whether something accepts connections on this local port."""
    try:
        socket.create_connection((LOCALHOST, port), timeout=1).close()
    except OSError:
        return False
    return True
