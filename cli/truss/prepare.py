"""What comes before the plan of a release, and what is said once there is one: the same for a push and for an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from truss.config import load_config
from truss.config_values import CONFIG
from truss.external_data import fetch
from truss.plan import plan_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from truss.client import HttpClient
    from truss.progress import Progress
    from truss.release import ReleasePlan


def prepare(package: Path, client: Callable[[], HttpClient], progress: Progress) -> None:
    """Check the configuration of a package, and download what it names.

    Args:
        package: Its folder.
        client: Gives what downloads.
        progress: Told of each step.

    Raises:
        PackageError: The configuration is wrong.
        BuildError: A download failed.
    """
    with progress.step("load config"):
        config = load_config(package)
    if config.external_data:
        with progress.step("external data"):
            fetch(config.external_data, client(), progress)


def plan_aloud(package: Path, progress: Progress) -> ReleasePlan:
    """Return the plan of a package's release, and tell what in it has no effect or may be meant otherwise.

    Raises:
        PackageError: The package is wrong.
    """
    plan = plan_release(package)
    if unused := plan.config.listed_unused():
        progress.note(f"{CONFIG}: not used here: {unused}")
    for doubt in plan.doubts:
        progress.note(doubt)
    return plan
