"""Builds one image after the other, by BuildKit where that is better at it; removes what a build leaves behind."""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from contextlib import closing, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, ImageNotFound

from truss.errors import BuildError, EngineError
from truss.images import BUILD_LABEL, RELEASE_LABEL
from truss.indexes import redactor
from truss.pip_settings import pip_settings, proxies
from truss.secrets import needed_secrets
from truss.stages import BUILD_ARG
from truss.targets.build_output import SHOWN_LINES, Lines, could_not, failure
from truss.targets.buildkit import SILENCE_LIMIT_SECONDS, BuildKit
from truss.targets.docker_commands import run_commands
from truss.targets.docker_engine import engine_errors, explanation, is_podman, with_address
from truss.targets.docker_owned import clear_build, owner
from truss.targets.docker_store import in_containerd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import docker

    from truss.images import Image
    from truss.pip_settings import PipSettings
    from truss.progress import Progress

MOST_SECRET_BYTES = 500 * 1024
"""What BuildKit mounts of a file at most; with a larger bundle of certificates the first builder does the work."""

MOST_COPIED_BYTES = 64 * 1024 * 1024
"""Of files that BuildKit copies, where it is faster at that; with more of them the classic builder is."""

CLEAN_LIMIT_SECONDS = 10.0
POLL_SECONDS = 0.1

STALE = "1h"
"""Age of what a push left behind that was killed; a build that still runs holds on to its images."""

STEP = re.compile(r"Step \d+/\d+ : ")
NOISE = re.compile(r" ---> |Removing intermediate container |Successfully (built|tagged) ")


class ImageBuilder:
    """Builds images on an engine.

    Args:
        client: Of the engine.
        environ: The user's environment: settings of pip and of the network.
        buildkit: Finds BuildKit when it is the better builder of an image.
    """

    def __init__(
        self,
        client: docker.APIClient,
        environ: Mapping[str, str],
        buildkit: Callable[[Mapping[str, str]], BuildKit | None] = BuildKit.find,
    ) -> None:
        self._client = client
        self._environ = environ
        self._buildkit = cache(lambda: None if is_podman(client) else buildkit(with_address(environ)))

    def inspect(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image, None where it has none of that name."""
        with engine_errors(f"look for the image {name}"):
            found: dict[str, Any] | None = None
            with suppress(ImageNotFound):
                found = self._client.inspect_image(name)  # type: ignore[no-untyped-call]
            return found

    def base_id(self, name: str, progress: Progress) -> str:
        """Return the id of a base image, which is pulled where the engine does not have it.

        Raises:
            BuildError: It cannot be pulled.
        """
        found = self.inspect(name) or self._pull(name, progress)
        return str(found["Id"])

    def build(self, image: Image, progress: Progress, arguments: Mapping[str, str]) -> None:
        """Build an image and tag it.

        Args:
            image: What to build.
            progress: Is told what is installed.
            arguments: For its Dockerfile: what is known of the image and no part of it.

        Raises:
            BuildError: A step failed; its last lines are shown. Nothing is left behind.
        """
        build_id = uuid.uuid4().hex
        settings = pip_settings(self._environ, image.context.members if image.installs else ())
        settings = settings.giving(needed_secrets(image.secrets, self._environ))
        given = {BUILD_ARG: build_id, **arguments, **proxies(self._environ)}
        progress.detail(image.purpose)
        fits = settings.largest <= MOST_SECRET_BYTES if image.installs else self._copies_by_buildkit(image)
        with owner(self._environ) as mine:
            mine.build.write_text(build_id, encoding="utf-8")
            try:
                if buildkit := self._buildkit() if fits else None:
                    buildkit.build(image, settings, given, progress, mine.folder)
                elif image.commands:
                    run_commands(self._client, image, settings, given, progress, mine=mine)
                else:
                    self._build_classic(image, settings, given, progress)
            finally:
                self._clean(build_id)

    def _copies_by_buildkit(self, image: Image) -> bool:
        """Return whether BuildKit is the better one to make an image of files that are only copied.

        It stores the context and the files in it beside the image. The classic builder does not, but in containerd's
        store packs each step of the Dockerfile, which takes seconds.
        """
        return image.context.size <= MOST_COPIED_BYTES and in_containerd(self._client)

    def _build_classic(
        self, image: Image, settings: PipSettings, arguments: Mapping[str, str], progress: Progress
    ) -> None:
        """Build an image by the engine's first builder, which every engine has."""
        sent = (*settings.members, *settings.wheels) if image.installs else ()
        with engine_errors(image.purpose):
            stream = self._client.build(
                fileobj=image.context.tar(sent),  # type: ignore[arg-type]
                custom_context=True,
                tag=image.tag,
                buildargs=dict(arguments),
                rm=True,
                forcerm=True,
                # There a step is an image, which goes after the build: it must not be another build's, too.
                nocache=in_containerd(self._client),
                decode=True,
                timeout=SILENCE_LIMIT_SECONDS,
            )
            with closing(stream):
                _follow(stream, image, settings, progress)

    def _pull(self, name: str, progress: Progress) -> dict[str, Any]:
        """Pull an image and return what the engine knows of it."""
        failure = f"The base image {name} is not on this engine and could not be pulled."
        hint = (
            "Check its name and the engine's way to the registry; a private one needs `docker login`. "
            "`base_image.image` names another one."
        )
        with engine_errors(f"pull {name}"):
            try:
                for event in self._client.pull(name, stream=True, decode=True):
                    if "error" in event:
                        raise BuildError(failure, details=event["error"], hint=hint)
                    if not event.get("progressDetail"):
                        progress.detail(" ".join([event.get("id", ""), event.get("status", "")]).strip())
            except APIError as exc:
                raise BuildError(failure, details=explanation(exc), hint=hint) from exc
        found = self.inspect(name)
        if found is None:
            raise BuildError(failure, hint=hint)
        return found

    def _clean(self, build_id: str) -> None:
        """Remove what a build leaves: its stages with the user's settings, and all of it where it was interrupted.

        The engine ends an interrupted build a moment after its client went away. What a killed one left goes, too.
        """
        deadline = time.monotonic() + CLEAN_LIMIT_SECONDS
        with suppress(EngineError), engine_errors("clean up after the build"):
            while clear_build(self._client, build_id) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            # Of others, too. A user's own image upon a release has all labels of it.
            filters = {"dangling": True, "label": BUILD_LABEL, "label!": RELEASE_LABEL, "until": STALE}
            self._client.prune_images(filters)  # type: ignore[no-untyped-call]


def _follow(
    stream: Iterator[dict[str, Any]], image: Image, settings: PipSettings, progress: Progress
) -> None:
    """Read a build's output to its end.

    Raises:
        BuildError: With the last lines of the step that failed.
    """
    shown: deque[str] = deque(maxlen=SHOWN_LINES)
    lines = Lines(redactor(settings.secrets))
    try:
        for event in stream:
            if "error" in event:
                code = event.get("errorDetail", {}).get("code")
                raise failure(image, settings, [*shown, *lines.rest()] or [event["error"]], code)
            for line in lines.feed(event.get("stream", "")):
                if STEP.match(line):
                    shown.clear()
                elif line and not NOISE.match(line):
                    shown.append(line)
                    progress.detail(line)
    except APIError as exc:
        raise BuildError(could_not(image), details=explanation(exc)) from exc
