"""Removes the images that a push leaves behind: a few are kept, and whatever something is made from or runs on."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from truss.images import PARENT_LABEL, RELEASE_LABEL
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_images import last_named, names_of, releases_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

KEPT_RELEASES = 2
"""Releases of a model that stay beside those that containers use: to go back to them builds nothing."""

KEPT_SECONDS = 7 * 24 * 3600.0
"""How long an image stays that no release is made from: the next one may be."""

MOST_REMOVED = 20
"""Images that one push removes at most, so that it ends in time; the next one goes on."""

OURS = "truss-"
"""Begins the name of each image that releases are made from."""


def prune(client: docker.APIClient, model: str, now: Callable[[], float] = time.time) -> list[str]:
    """Remove old releases of a model, then what no release of any model is made from any more.

    An image that a container uses, or that has a name of the user's as well, stays as it is.

    Args:
        client: Of the engine.
        model: Whose releases are looked through.
        now: Gives seconds since the epoch.

    Returns:
        The names that were removed.
    """
    removed: list[str] = []
    with engine_errors("remove old images"):
        used = {found["ImageID"] for found in client.containers(all=True)}
        releases = releases_of(client, model)
        releases.sort(key=lambda image: int(image["Labels"].get(RELEASE_LABEL, 0)), reverse=True)
        idle = [image for image in releases[KEPT_RELEASES:] if image["Id"] not in used]
        for image in idle:
            removed += _remove(client, _tags(image, f"truss/{model}:"), MOST_REMOVED - len(removed))
        while stale := stale_images(client, now() - KEPT_SECONDS):
            gone = _remove(client, stale, MOST_REMOVED - len(removed))
            removed += gone
            if not gone:
                break
    return removed


def stale_images(client: docker.APIClient, before: float) -> list[str]:
    """Return the images that nothing is made from and nobody named since a time."""
    images = client.images(filters={"label": PARENT_LABEL})
    needed = {image["Labels"][PARENT_LABEL] for image in images}
    unneeded = (tag for image in images for tag in _tags(image, OURS) if tag not in needed)
    return [tag for tag in unneeded if _last_named(client, tag) < before]


def _tags(image: dict[str, Any], beginning: str) -> list[str]:
    """Return the names of an image that are ours; none where the user gave it another."""
    tags = names_of(image)
    return tags if all(tag.startswith(beginning) for tag in tags) else []


def _last_named(client: docker.APIClient, tag: str) -> float:
    """Return when an image got a name last, seconds since the epoch."""
    with suppress(APIError):
        return last_named(client.inspect_image(tag))  # type: ignore[no-untyped-call]
    return time.time()


def _remove(client: docker.APIClient, tags: list[str], most: int) -> list[str]:
    """Remove names, and images with their last one; return which: the engine keeps what is in use."""
    gone = []
    for tag in tags[: max(0, most)]:
        with suppress(APIError):
            client.remove_image(tag)
            gone.append(tag)
    return gone
