"""What a model downloads stays: its `~/.cache` is a volume that all releases of the model share on an engine.

On `local` it is the user's own. Without one, a push would have every checkpoint downloaded again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from docker.errors import APIError
from docker.types import Mount

from truss.stages import CACHE
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_images import releases_of

if TYPE_CHECKING:
    import docker

    from truss.release import Release

CACHE_LABEL = "truss.cache_of"
"""Of a volume: the model it is for."""

COMMANDS_LABEL = "truss.cache"
"""Of an image: what tells its cache from others of the model, where build commands may have filled it."""


def cache_mount(client: docker.APIClient, release: Release) -> Mount:
    """Return how the cache of a release's model is mounted; it is made if it is not there.

    Raises:
        EngineError: The engine refuses to make it.
    """
    with engine_errors("make a volume for the model's cache"):
        config = client.inspect_image(release.reference)["Config"]  # type: ignore[no-untyped-call]
        user = config["User"].partition(":")[0]  # another one could not write to it
        words = ["truss-cache", release.model, user, *filter(None, [config["Labels"].get(COMMANDS_LABEL)])]
        name = "-".join(words)
        client.create_volume(name, labels={CACHE_LABEL: release.model})
    return Mount(str(CACHE), name, type="volume")


def prune_caches(client: docker.APIClient) -> None:
    """Remove the caches of models that have no release any more."""
    with engine_errors("remove old volumes"):
        for volume in client.volumes(filters={"label": CACHE_LABEL})["Volumes"] or ():
            if not releases_of(client, volume["Labels"][CACHE_LABEL]):
                with suppress(APIError):  # a container has it
                    client.remove_volume(volume["Name"])
