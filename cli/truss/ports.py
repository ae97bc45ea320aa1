"""Ports of the loopback interface: whether one is taken, and by which deployment."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from truss.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from truss.release import Deployment

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_taken(port: int) -> bool:
    """Return whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        # As the engine does it: connections of the past that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
        return False


def check_port(port: int, listed: Iterable[Deployment], place: tuple[str, str]) -> None:
    """Refuse a port that a push would find taken, before anything is built for it.

    Args:
        port: To listen on.
        listed: Deployments of the target.
        place: Model and environment of the push: what runs there makes room for it.

    Raises:
        EngineError: Somebody else has it.
    """
    holder = next((one for one in listed if one.running and one.port == port), None)
    if (holder and (holder.model, holder.environment) == place) or not is_taken(port):
        return
    by = f" by {holder.model} ({holder.environment}, release {holder.release})" if holder else ""
    raise EngineError(f"Port {port} is taken{by}.", hint="Take another one, or leave the choice to truss.")
