"""What is known on disk of one environment of a model: its servers, and which of them is the deployment."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from truss.state import is_held, locked, read_json, write_json
from truss.targets.local_server import ALIVE, Server

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from truss.state import Lock

CURRENT = "current.json"

WAIT = 10.0
"""Seconds to wait for whoever is changing what is listed: a matter of milliseconds."""


class Place:
    """An environment of a model.

    Args:
        folder: Of the environment; made when something is written into it.

    Attributes:
        name: Of the environment.
        servers_folder: Holds a folder for each server.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = folder.name
        self.servers_folder = folder / "servers"

    def pushing(self, patience: float, busy: str) -> AbstractContextManager[Lock]:
        """Hold the lock that lets one push at a time start and promote servers here; see `truss.state.locked`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return locked(self._folder / "push.lock", timeout=patience, busy=busy)

    def server(self, id_: str) -> Server | None:
        """Return a server by the name of its folder."""
        return Server.read(self.servers_folder / id_)

    def servers(self) -> list[Server]:
        """Return all servers: the deployment, candidates, those that are being ended."""
        folders = self.servers_folder.glob("*")
        return [server for folder in folders if (server := Server.read(folder)) is not None]

    def current(self) -> Server | None:
        """Return the server that is the deployment, alive or not."""
        listed = read_json(self._folder / CURRENT, ("server",))
        return None if listed is None else self.server(listed["server"])

    def is_listed(self, id_: str) -> bool:
        """Return whether a server is the deployment."""
        listed = read_json(self._folder / CURRENT, ("server",))
        return listed is not None and listed["server"] == id_

    def list_server(self, id_: str) -> None:
        """Make a server the deployment."""
        with self._listing():
            write_json(self._folder / CURRENT, {"server": id_})

    def unlist_server(self, id_: str) -> None:
        """Let a server not be the deployment any more; another one stays it."""
        with self._listing():
            if self.is_listed(id_):
                (self._folder / CURRENT).unlink()

    def sweep(self) -> None:
        """End candidates whose push was killed. For the holder of the lock for pushes only.

        Raises:
            EngineError: One of them does not die.
        """
        for folder in list(self.servers_folder.glob("*")):
            if self.is_listed(folder.name):
                continue
            server = Server.read(folder)
            if server is not None:
                server.kill()
            if not is_held(folder / ALIVE):
                shutil.rmtree(folder, ignore_errors=True)

    def _listing(self) -> AbstractContextManager[Lock]:
        busy = f"Another truss is changing {self._folder}."
        return locked(self._folder / "listing.lock", timeout=WAIT, busy=busy)
