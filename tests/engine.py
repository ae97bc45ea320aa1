"""The Docker engine of the tests: what they made on it is found by label and removed, and nothing else."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import uuid
from typing import TYPE_CHECKING

from docker.errors import APIError, NotFound

from truss.targets.docker_engine import connect

if TYPE_CHECKING:
    import docker

MODEL_LABEL = "truss.model"
PARENT_LABEL = "truss.parent"
BUILD_LABEL = "truss.build"

WAY = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "PATH")
"""Variables that lead to the engine, Docker's command line and its plugins."""

OWN = ("truss-packages:", "truss-data:", "truss-user:", "truss-commands:", "truss-environment:")
"""Begin the names of images that a release is made from, and that go with it."""


def way_to_engine(**settings: str) -> dict[str, str]:
    """Return an environment with nothing of the user's but what leads to the engine of the tests.

    Args:
        settings: More variables, which come before those.
    """
    return {**{name: os.environ[name] for name in WAY if name in os.environ}, **settings}


class EngineCleaner:
    """An engine, and the removal of what the tests of one session made on it.

    Images that many models share (those with the server in them) stay until the session ends, so that
    it makes them once; the ones that were there before it stay for good.

    Attributes:
        client: Of the engine that answers.
    """

    def __init__(self) -> None:
        self.client: docker.APIClient = connect(os.environ)
        self._before = self._shared_tags()

    def unused_model_name(self) -> str:
        """Return a name for a model that nobody has on this engine."""
        return f"test-{uuid.uuid4().hex[:8]}"

    def host_address(self) -> str:
        """Return where a container finds servers of this machine."""
        (network, *_) = self.client.inspect_network("bridge")["IPAM"]["Config"]
        first = next(ipaddress.ip_network(network["Subnet"]).hosts())
        return str(network.get("Gateway", first))

    def leftovers(self) -> list[str]:
        """Return what builds left behind: containers, and images without a name."""
        containers = self.client.containers(all=True, filters={"label": BUILD_LABEL})
        images = self.client.images(filters={"label": BUILD_LABEL, "dangling": True})
        builds = [found["Id"] for found in containers if MODEL_LABEL not in found["Labels"]]
        return sorted(builds + [found["Id"] for found in images])

    def image_labels(self, tag: str) -> dict[str, str]:
        """Return the labels of an image."""
        try:
            found = self.client.inspect_image(tag)  # type: ignore[no-untyped-call]
        except NotFound:
            return {}
        labels: dict[str, str] = found["Config"]["Labels"]
        return labels

    def histories(self) -> str:
        """Return all that the engine remembers of how its images were made."""
        images = self.client.images(all=True)
        return json.dumps([self.client.history(image["Id"]) for image in images])  # type: ignore[no-untyped-call]

    def files(self, tag: str, folder: str) -> bytes:
        """Return a folder of an image as a tar."""
        container = self.client.create_container(tag)["Id"]
        try:
            return b"".join(self.client.get_archive(container, folder)[0])
        finally:
            self.client.remove_container(container, v=True)

    def containers(self, model: str) -> list[str]:
        """Return the ids of a model's containers, ended ones included."""
        found = self.client.containers(all=True, filters={"label": f"{MODEL_LABEL}={model}"})
        return [container["Id"] for container in found]

    def tags(self, model: str) -> list[str]:
        """Return the tags of a model's images."""
        found = self.client.images(filters={"label": f"{MODEL_LABEL}={model}"})
        return sorted(tag for image in found for tag in image["RepoTags"] or ())

    def remove_model(self, model: str) -> None:
        """Remove a model's containers and images, and the environments its images were made from."""
        for container in self.containers(model):
            with contextlib.suppress(NotFound):
                self.client.remove_container(container, force=True, v=True)
        for image in self.client.images(filters={"label": f"{MODEL_LABEL}={model}"}):
            parent = image["Labels"].get(PARENT_LABEL, "")
            for tag in image["RepoTags"] or [image["Id"]]:
                self._remove_image(tag)
            while parent.startswith(OWN):
                above = self.image_labels(parent).get(PARENT_LABEL, "")
                self._remove_image(parent)
                parent = above
        for name in self.caches(model):
            with contextlib.suppress(APIError):
                self.client.remove_volume(name)

    def caches(self, model: str) -> list[str]:
        """Return the volumes that keep what a model downloads."""
        found = self.client.volumes(filters={"label": f"truss.cache_of={model}"})["Volumes"]
        return [volume["Name"] for volume in found or ()]

    def finish(self) -> None:
        """Remove what the session's tests shared, and nobody else has built upon."""
        for kind in (
            "truss-packages",
            "truss-data",
            "truss-user",
            "truss-commands",
            "truss-environment",
            "truss-server",
            "truss-uv",
            "truss-system",
        ):
            found = self.client.images(filters={"label": PARENT_LABEL})
            needed = {image["Labels"][PARENT_LABEL] for image in found}
            for tag in self._shared_tags() - self._before - needed:
                if tag.startswith(kind):
                    self._remove_image(tag)
        self.client.close()

    def _shared_tags(self) -> set[str]:
        """Return the tags of the images of truss that belong to no model."""
        found = self.client.images(filters={"label": PARENT_LABEL})
        unowned = (image for image in found if MODEL_LABEL not in image["Labels"])
        return {tag for image in unowned for tag in image["RepoTags"] or ()}

    def _remove_image(self, name: str) -> None:
        """Remove a tag, and the image where it was its last; leave it where something still needs it."""
        with contextlib.suppress(APIError):
            self.client.remove_image(name)
