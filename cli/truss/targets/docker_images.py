"""The images of releases that an engine has: which are missing, what is known of one, which number comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truss.errors import EngineError
from truss.images import MODEL_LABEL, RELEASE_LABEL
from truss.targets.docker_engine import engine_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from truss.images import Image
    from truss.release import ReleasePlan


class ReleaseImages:
    """What an engine knows of releases.

    Args:
        client: Of the engine.
        inspect: Returns what the engine knows of an image, None where it has none of that name.
    """

    def __init__(self, client: docker.APIClient, inspect: Callable[[str], dict[str, Any] | None]) -> None:
        self._client = client
        self._inspect = inspect

    def arguments(self, plan: ReleasePlan) -> dict[str, str]:
        """Return what the Dockerfile of a release is given for its labels."""
        return {
            "TRUSS_RELEASE": str(self._next_number(plan.manifest.model)),
            "TRUSS_PACKAGE": plan.package.name,
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
        """Return the images after the last one that the engine has."""
        missing: list[Image] = []
        for image in reversed(images):
            if self._inspect(image.tag) is not None:
                break
            missing.insert(0, image)
        return missing

    def _next_number(self, model: str) -> int:
        """Return one more than the highest number of a model's releases."""
        with engine_errors("list its images"):
            images = self._client.images(filters={"label": f"{MODEL_LABEL}={model}"})
        return 1 + max((int(image["Labels"].get(RELEASE_LABEL, 0)) for image in images), default=0)
