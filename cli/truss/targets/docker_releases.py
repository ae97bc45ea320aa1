"""Releases on an engine: what is there of one, building what is not, and removing what nobody needs any more."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from docker.errors import APIError

from truss.build_report import BuiltImage
from truss.images import RELEASE_LABEL, plan_images
from truss.indexes import read_indexes
from truss.release import Release
from truss.secrets import needed_secrets
from truss.stages import base_image, takes_command
from truss.state import locked, state_folder
from truss.targets.docker_base import check_base, command_of
from truss.targets.docker_build import ImageBuilder
from truss.targets.docker_engine import engine_errors
from truss.targets.docker_images import ReleaseImages
from truss.targets.docker_openapi import openapi_arguments
from truss.targets.docker_owned import sweep
from truss_server.protocol import IMAGE_COMMAND_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import docker

    from truss.images import Image
    from truss.progress import Progress
    from truss.release import ReleasePlan

PATIENCE = 600.0
"""Seconds to wait for another build of the same model: its code is sent, nothing is installed."""


class DockerReleases:
    """The releases on an engine.

    Args:
        client: Of the engine.
        environ: The user's environment: settings of pip and of the network reach builds.
    """

    def __init__(self, client: docker.APIClient, environ: Mapping[str, str]) -> None:
        self._client = client
        self._environ = environ
        self._builder = ImageBuilder(client, environ)
        self._images = ReleaseImages(client, environ, self._builder.inspect)

    def preview(self, plan: ReleasePlan) -> list[tuple[Image, bool]]:
        """Return the images of a release, each with whether building the release would build it."""
        base = self._builder.inspect(base_image(plan))
        images = plan_images(plan, str(base["Id"]) if base else "", read_indexes(self._environ))
        missing = self._images.missing(images)
        return [(image, image in missing) for image in images]

    def build(self, plan: ReleasePlan, progress: Progress) -> Release:
        """Build the images of a release that the engine does not have yet; see `Target.build`."""
        sweep(self._client, self._environ)
        base_id = self._builder.base_id(base_image(plan), progress)
        images = plan_images(plan, base_id, read_indexes(self._environ))
        seconds: dict[str, float] = {}
        missing = self._images.missing(images)
        if missing:
            # Somebody else's push may be about to remove what nobody has used for long: from now on it is used.
            self._images.touch(images)
            missing = self._images.missing(images)
        needed_secrets((name for image in missing for name in image.secrets), self._environ)
        if plan.config.base_image.image and any(not image.needs for image in missing):
            check_base(self._client, self._environ, base_image(plan))
        for image in missing:
            begin = time.monotonic()
            if image is not images[-1]:
                self._builder.build(image, progress, {})
            elif not self._build_release(plan, images, progress):
                continue
            seconds[image.tag] = time.monotonic() - begin
        if seconds:
            progress.built(self._report(images, seconds))
        release = images[-1]
        labels = self.labels_of(release.tag)
        return Release(plan.manifest.model, int(labels[RELEASE_LABEL]), plan.manifest.digest, release.tag)

    def _build_release(self, plan: ReleasePlan, images: tuple[Image, ...], progress: Progress) -> bool:
        """Build a release under the next number, which is nobody else's; return whether there was none yet."""
        model = plan.manifest.model
        folder = state_folder(self._environ) / "docker"
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"Another build of {model} is under way."
        with locked(folder / f"{model}.lock", timeout=PATIENCE, busy=busy):
            if lacking := self._builder.inspect(images[-1].tag) is None:
                given = self._images.arguments(plan, images)
                if takes_command(plan):
                    base = base_image(plan)
                    given[IMAGE_COMMAND_VARIABLE] = command_of(self._builder.inspect(base) or {}, base)
                given |= openapi_arguments(self._client, self._environ, plan, images[-1], progress)
                self._builder.build(images[-1], progress, given)
        return lacking

    def labels_of(self, reference: str) -> dict[str, str]:
        """Return the labels of a release."""
        return self._images.labels_of(reference)

    def tag(self, release: Release, name: str) -> None:
        """Give a release a name of the user's.

        Raises:
            EngineError: It is no name of an image.
        """
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
        with engine_errors(f"name the image {name}"):
            self._client.tag(release.reference, repository, tag or "latest")

    def _report(self, images: tuple[Image, ...], seconds: Mapping[str, float]) -> list[BuiltImage]:
        """Return what became of each image."""
        parents = {image.parent for image in images}
        return [
            BuiltImage(
                image.kind,
                image.tag,
                image.tag not in seconds,
                seconds.get(image.tag, 0.0),
                self._size(image.tag) - self._size(image.parent)
                if image.tag in parents or image is images[-1]
                else 0,
            )
            for image in images
        ]

    def _size(self, tag: str) -> int:
        """Return the bytes of an image's files, 0 where it is not there: a release does without those it is made from.

        In containerd's store the size of an image is that of its packed layers; the history has what they unpack to.
        """
        history: list[dict[str, Any]] = []
        with suppress(APIError):  # of a base image whose history is wrong, say: no build fails for that
            history = self._client.history(tag) or []  # type: ignore[no-untyped-call]
        return sum(step["Size"] for step in history)
