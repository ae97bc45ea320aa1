"""Secrets of a container: a folder of this machine for it alone, mounted read-only where models look for them.

The user of a container is nobody here, so the files may be read by all; the folder around them is its user's alone,
and whoever cannot pass through it cannot reach them. In a container there is nothing around them.
"""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.types import Mount

from truss.secrets import READABLE, find_secrets, write_secrets
from truss.state import state_folder
from truss_server.protocol import SECRETS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INNER = "secrets"


class MountedSecrets:
    """The secrets of containers that belong together.

    Args:
        environ: The user's environment.
        folder: Where they are kept; nothing else is.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._environ = environ
        self._folder = folder

    @classmethod
    def of(cls, environ: Mapping[str, str], model: str, environment: str) -> MountedSecrets:
        """Return those of the deployments of a model in an environment."""
        words = re.sub(r"[^A-Za-z0-9_.-]", "-", environment)
        return cls(environ, state_folder(environ) / "docker" / model / f"{words}.secrets")

    @property
    def there(self) -> bool:
        """Whether there ever were any."""
        return self._folder.exists()

    def mount(self, names: Iterable[str]) -> list[Mount]:
        """Write what is set of these for a new container; return how it is mounted.

        Raises:
            EngineError: That cannot be written.
        """
        values = find_secrets(names, self._environ)
        if not values:
            return []
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        folder = self._folder / secrets.token_hex(8) / _INNER
        write_secrets(folder, values, mode=READABLE)
        folder.chmod(0o755)
        return [Mount(SECRETS_FOLDER, str(folder), type="bind", read_only=True)]

    def sweep(self, containers: Iterable[Mapping[str, Any]]) -> None:
        """Remove what no container has: a push was killed.

        Args:
            containers: As the engine describes those that there are.
        """
        used = {source.parent for found in containers if (source := _source(found)) is not None}
        for folder in self._folder.glob("*"):
            if folder not in used:
                shutil.rmtree(folder, ignore_errors=True)


def forget(found: Mapping[str, Any]) -> None:
    """Remove the secrets of a container that is gone; `found` is what the engine said of it."""
    source = _source(found)
    if source is not None and source.name == _INNER and source.parent.parent.name.endswith(".secrets"):
        shutil.rmtree(source.parent, ignore_errors=True)


def _source(found: Mapping[str, Any]) -> Path | None:
    mounts = [Path(mount["Source"]) for mount in found["Mounts"] if mount["Destination"] == SECRETS_FOLDER]
    return mounts[0] if mounts else None
