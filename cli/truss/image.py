"""The image of a package: built, looked at while it runs, written as what it is built from, or only foretold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from truss.context import write_context
from truss.errors import EngineError, UsageError
from truss.images import whole_context, whole_dockerfile
from truss.prepare import plan_aloud, prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.client import HttpClient
    from truss.images import Image
    from truss.progress import Progress
    from truss.release import Release
    from truss.targets.docker_works import DockerWorks


@dataclass(frozen=True)
class Foretold:
    """What a push to docker would build.

    Attributes:
        dockerfile: All of it in one.
        images: In order, each with whether it would be built; nobody knows without an engine.
    """

    dockerfile: str
    images: tuple[tuple[Image, bool], ...]

    def format(self) -> str:
        """Return it for people: the Dockerfile, then the plan as comments of it."""
        width = max((len(image.kind) for image, _ in self.images), default=0)
        lines = [
            f"# {image.kind:<{width}}  {'build ' if built else 'cached'}  {image.tag}  ({image.purpose})"
            for image, built in self.images
        ]
        return "\n".join([self.dockerfile, *lines, ""])

    def format_json(self) -> str:
        """Return it as one JSON object."""
        images = [
            {"image": image.kind, "tag": image.tag, "cached": not built, "purpose": image.purpose}
            for image, built in self.images
        ]
        return json.dumps({"dockerfile": self.dockerfile, "images": images}) + "\n"


def build_image(
    package: Path, tag: str | None, works: DockerWorks, client: Callable[[], HttpClient], progress: Progress
) -> Release:
    """Build the image of a package, and give it a name of the user's.

    Args:
        package: Its folder.
        tag: The name, if it is to get one.
        works: Build it.
        client: Gives what downloads external data.
        progress: Told of each step.

    Raises:
        TrussError: The package is wrong, or a step failed.
    """
    prepare(package, client, progress)
    with progress.step("plan"):
        plan = plan_aloud(package, progress)
    with progress.step("build"):
        release = works.releases.build(plan, progress)
        if tag is not None:
            works.releases.tag(release, tag)
    return release


def write_build_context(
    package: Path, folder: Path, client: Callable[[], HttpClient], progress: Progress
) -> None:
    """Write what `docker build` alone makes the image of a package from.

    Args:
        package: Its folder.
        folder: Is made.
        client: Gives what downloads external data.
        progress: Told of each step.

    Raises:
        UsageError: The folder is there already.
        TrussError: The package is wrong, or the machine refuses to write.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already.", hint="Remove it, or name another folder.")
    prepare(package, client, progress)
    with progress.step("plan"):
        plan = plan_aloud(package, progress)
    with progress.step("write"):
        write_context(whole_context(plan), folder)


def foretell(
    package: Path, works: Callable[[], DockerWorks], client: Callable[[], HttpClient], progress: Progress
) -> Foretold:
    """Return what a push of a package to docker would build; downloads what the package names, builds nothing.

    Args:
        package: Its folder.
        works: Gives what knows an engine's images; raises EngineError where none answers.
        client: Gives what downloads external data.
        progress: Told of each step.

    Raises:
        PackageError: The package is wrong.
        BuildError: A download failed.
    """
    prepare(package, client, progress)
    with progress.step("plan"):
        plan = plan_aloud(package, progress)
    dockerfile = whole_dockerfile(plan)
    try:
        return Foretold(dockerfile, tuple(works().releases.preview(plan)))
    except EngineError as exc:
        progress.note(f"What an engine would have to build is not known: {exc.message}")
        return Foretold(dockerfile, ())
