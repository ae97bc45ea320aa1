"""The images of releases that an engine has: which are missing, what is known of one, which number comes next."""

from __future__ import annotations

import io
import re
import tarfile
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from docker.errors import NotFound

from truss.errors import EngineError
from truss.images import MODEL_LABEL, RELEASE_LABEL
from truss.stages import LOCK
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_owned import owner
from truss.targets.docker_store import in_containerd, name_again
from truss.variables import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import docker

    from truss.images import Image
    from truss.release import ReleasePlan

FRACTION = re.compile(r"\.\d+")
"""Of a second: the engine writes more digits than a time has here."""

RECENT_SECONDS = 3600.0
"""In containerd's store an image that was named since then is not named again, as that takes a tenth of a second."""


def releases_of(client: docker.APIClient, model: str) -> list[dict[str, Any]]:
    """Return the releases of a model on an engine: what a user makes from one has its labels and another name."""
    images: list[dict[str, Any]] = client.images(filters={"label": f"{MODEL_LABEL}={model}"})
    return [one for one in images if any(name.startswith(f"truss/{model}:") for name in names_of(one))]


def names_of(image: Mapping[str, Any]) -> list[str]:
    """Return the names of an image; Podman begins them with the registry that Docker leaves out."""
    found: list[str] = image["RepoTags"] or []
    return [name.removeprefix("docker.io/").removeprefix("library/") for name in found]


def last_named(image: Mapping[str, Any]) -> float:
    """Return when an image got a name last, seconds since the epoch: a build names again what it uses.

    Args:
        image: What the engine says of it; where it does not say when, that is now.
    """
    with suppress(KeyError, ValueError):
        text = FRACTION.sub("", image["Metadata"]["LastTagTime"])
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return time.time()


class ReleaseImages:
    """What an engine knows of releases.

    Args:
        client: Of the engine.
        environ: The user's environment.
        inspect: Returns what the engine knows of an image, None where it has none of that name.
    """

    def __init__(
        self,
        client: docker.APIClient,
        environ: Mapping[str, str],
        inspect: Callable[[str], dict[str, Any] | None],
    ) -> None:
        self._client = client
        self._environ = environ
        self._inspect = inspect

    def arguments(self, plan: ReleasePlan, images: tuple[Image, ...]) -> dict[str, str]:
        """Return what the Dockerfile of a release is given for its labels, once what it is made from is there."""
        return {
            "TRUSS_RELEASE": str(self._next_number(plan.manifest.model)),
            "TRUSS_PACKAGE": plan.package.name,
            "TRUSS_REQUIREMENTS": self._installed(images[-1].parent) if plan.requirements else "",
        }

    def labels_of(self, tag: str) -> dict[str, str]:
        """Return the labels of an image of ours.

        Raises:
            EngineError: It is not there any more.
        """
        found = self._inspect(tag)
        if found is None:
            raise EngineError(f"The image {tag} was removed.", hint="Push again.")
        labels: dict[str, str] = found["Config"]["Labels"]
        return labels

    def missing(self, images: tuple[Image, ...]) -> list[Image]:
        """Return the images that have to be built: a release that is there needs nothing of what it was made from."""
        missing: list[Image] = []
        wanted = {images[-1].tag}
        for image in reversed(images):
            if image.tag in wanted and self._inspect(image.tag) is None:
                missing.insert(0, image)
                wanted.update(image.needs)
        return missing

    def touch(self, images: tuple[Image, ...]) -> None:
        """Give images their names once more, where they are there: when that was last decides how long they stay."""
        if in_containerd(self._client):
            before = time.time() - RECENT_SECONDS
            known = {image.tag: self._inspect(image.tag) for image in images}
            name_again(
                self._client,
                {tag: found for tag, found in known.items() if found and last_named(found) < before},
            )
            return
        for image in images:
            with engine_errors(f"name {image.tag}"), suppress(NotFound):
                self._client.tag(image.tag, image.tag.partition(":")[0], image.tag.partition(":")[2])

    def _next_number(self, model: str) -> int:
        """Return one more than the highest number of a model's releases."""
        with engine_errors("list its images"):
            images = releases_of(self._client, model)
        return 1 + max((int(image["Labels"].get(RELEASE_LABEL, 0)) for image in images), default=0)

    def _installed(self, tag: str) -> str:
        """Return what the requirements of an image came to: pins, one a line, without what is secret in their URLs."""
        with owner(self._environ) as mine, engine_errors("read what was installed"):
            container = self._client.create_container(tag, name=mine.container, labels=mine.labels)["Id"]
            try:
                pieces, _ = self._client.get_archive(container, str(LOCK))
                content = io.BytesIO(b"".join(pieces))
            finally:
                self._client.remove_container(container, v=True)
        with tarfile.open(fileobj=content) as tar:
            file = tar.extractfile(LOCK.name)
            text = file.read().decode() if file else ""
        return without_secrets(text).strip()
