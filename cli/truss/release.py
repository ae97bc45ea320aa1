"""A release: what a package becomes when it is built. Values only.

A plan is made from a package without touching the machine; a target carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.errors import PackageError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path, PurePosixPath

    from truss.config import TrussConfig
    from truss_server.protocol import Manifest


class FileChangedError(PackageError):
    """A file is not what it was when it was planned: it may still be being written."""


@dataclass(frozen=True)
class PackageFile:
    """A regular file of a package.

    Attributes:
        path: Where it lies in the release, relative.
        source: Where it lies on this machine.
        executable: Whether its owner may run it; all other mode bits are normalised.
        size: Bytes.
        sha256: Of its content, hex.
        link: Whether it is a link on this machine; a release has what that names.
    """

    path: PurePosixPath
    source: Path
    executable: bool
    size: int
    sha256: str
    link: bool = False


@dataclass(frozen=True)
class ReleasePlan:
    """Everything a target needs to build a release.

    Attributes:
        package: Folder the plan was made from.
        config: The package's configuration.
        manifest: Goes into the release as `release.json`; holds model name and digest.
        files: The package's files, sorted by path.
        requirements: What the model's environment is to hold, as pip requirement lines.
        constraints: Lines of a pip constraints file for that.
        wheels: Files of the package that requirements name; they are installed and no part of the release.
        settings: Paths, in the package, of the files beside config.yaml that say what the environment is to hold.
        doubts: What of these does not fit together, each a sentence.
    """

    package: Path
    config: TrussConfig
    manifest: Manifest
    files: tuple[PackageFile, ...]
    requirements: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    wheels: tuple[PackageFile, ...] = ()
    settings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def environment(self) -> tuple[object, ...]:
        """All that decides what the model's environment holds; the order of lines does not."""
        wheels = sorted((str(wheel.path), wheel.sha256) for wheel in self.wheels)
        return sorted(self.requirements), sorted(self.constraints), wheels


@dataclass(frozen=True)
class Release:
    """A built release.

    Attributes:
        model: Name of the model (a slug: lower case letters, digits, `.`, `_`, `-`).
        number: 1, 2, ... for each model on each target.
        digest: Of the plan it was built from.
        reference: Where the target keeps it: an image's tag, a folder.
    """

    model: str
    number: int
    digest: str
    reference: str


@dataclass(frozen=True)
class Deployment:
    """A release running in an environment.

    Attributes:
        model: Name of the model.
        environment: `production`, `development` or a name of the user's.
        release: Number of the release.
        target: `local` or `docker`.
        url: Where it answers, no trailing slash.
        id: The target's own name for it: container id, process id.
        started: When (UTC).
        running: Whether its server lives; a stopped one is listed until it is replaced or removed.
    """

    model: str
    environment: str
    release: int
    target: str
    url: str
    id: str
    started: datetime
    running: bool = True

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])
