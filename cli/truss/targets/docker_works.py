"""Images for their own sake: what building a package would build, the image of it, and a look at it running."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from truss.targets.docker_engine import connect
from truss.targets.docker_releases import DockerReleases
from truss.targets.docker_run import DockerRun

if TYPE_CHECKING:
    from collections.abc import Mapping


class DockerWorks:
    """What `truss image` needs of an engine.

    Attributes:
        releases: Builds images.
        run: Runs them.
    """

    def __init__(self, releases: DockerReleases, run: DockerRun) -> None:
        self.releases = releases
        self.run = run

    @classmethod
    def connect(cls, environ: Mapping[str, str] = os.environ) -> DockerWorks:
        """Return the works on the engine that answers.

        Raises:
            EngineError: None does.
        """
        client = connect(environ)
        return cls(DockerReleases(client, environ), DockerRun(client, environ))
