"""What is still in use of what was made for models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from truss.targets.local_releases import Releases
from truss_server.protocol import CONTROL_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from truss.targets.local_place import Place


def environments_in_use(models: Path, places: Iterable[Place]) -> set[Path]:
    """Return the environments that a release of any model needs, or an edit of one that runs.

    Args:
        models: The folder with a folder for each model.
        places: The environments that models are deployed to.
    """
    found = [Releases(folder) for folder in models.glob("*/releases")]
    used = {Path(release.python).parents[1] for releases in found for release in releases.all()}
    servers = [server for place in places for server in place.servers()]
    edited = [server.control / CONTROL_PYTHON for server in servers]
    return used | {Path(file.read_text()).parents[1] for file in edited if file.exists()}
